//! What keys say of others by labels (NIP-32): one row of each key, namespace and provider, of its newest label event
//! there. It is written with that event and goes with it.

use crate::market::reputation::MAX_TARGETS;
use crate::nostr::kind;

/// Entries of an event's `keys` that say whom it is about: by name, or by a result.
const TARGETS: &str = "GLOB '[@p]=*'";

/// Takes the votes of the group's labels; those are in the list `g`, with the keys they are about in `keys`.
pub fn take() -> String {
    format!(
        "INSERT INTO votes (provider, voter, namespace, labels, created_at, tie, seq, expires_at) \
         SELECT p.value, e.pubkey, n.value->>0, n.value->1, e.created_at, e.tie, e.seq, e.expires_at \
         FROM g CROSS JOIN events AS e ON e.id = g.v->>'$.id' AND e.seq > (SELECT last_seq FROM totals) \
         CROSS JOIN json_each((SELECT json_group_array(key) FROM (SELECT DISTINCT substr(k.value, 3) AS key \
           FROM json_each(e.keys) AS k WHERE k.value {TARGETS} AND length(k.value) = 66 \
             AND substr(k.value, 3) <> e.pubkey LIMIT {MAX_TARGETS}))) AS p \
         CROSS JOIN json_each(g.v, '$.l.n') AS n \
         WHERE g.v->'$.l' IS NOT NULL \
         ON CONFLICT (provider, voter, namespace) DO UPDATE SET labels = excluded.labels, \
           created_at = excluded.created_at, tie = excluded.tie, seq = excluded.seq, expires_at = excluded.expires_at \
         WHERE excluded.created_at > votes.created_at \
           OR excluded.created_at = votes.created_at AND excluded.tie < votes.tie"
    )
}

/// Takes votes back whose events `victims` selects by number.
pub fn remove(victims: &str) -> String {
    format!(
        "DELETE FROM votes WHERE (provider, voter, namespace) IN (SELECT v.provider, v.voter, v.namespace \
         FROM events AS e CROSS JOIN json_each(e.keys) AS k ON k.value {TARGETS} \
         CROSS JOIN votes AS v ON v.provider = substr(k.value, 3) AND v.voter = e.pubkey AND v.seq = e.seq \
         WHERE e.seq IN ({victims}) AND e.kind = {})",
        kind::LABEL
    )
}

/// Whether the vote `v` stands at `?2` (Unix seconds): its event has not expired, and its author does not vanish.
pub fn stands(v: &str) -> String {
    format!(
        "({v}.expires_at IS NULL OR {v}.expires_at > ?2) \
         AND NOT EXISTS (SELECT 1 FROM vanishing AS w WHERE w.pubkey = {v}.voter AND w.until >= {v}.created_at)"
    )
}
