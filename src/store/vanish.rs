//! What a key that asked to vanish (NIP-62) has left, and that is not removed yet: nobody finds it any more.

use crate::ledger::READER;
use crate::nostr::kind;

/// Whether the event `e`, a row of `events`, is not among what keys that vanish have left: their own events,
/// and the gift wraps (NIP-59) that are for them. While no key vanishes this costs nothing.
pub fn stays(e: &str) -> String {
    let addressed = format!(
        "vanishing AS w CROSS JOIN tags AS t ON t.tag = unhex('{READER:02x}00' || hex(w.pubkey)) AND t.shelf = {e}.shelf \
           AND t.created_at = {e}.created_at AND t.tie = {e}.tie AND t.seq = {e}.seq"
    );
    stays_unless(e, &addressed)
}

/// The same in a database that has keys as texts.
pub fn stayed(e: &str) -> String {
    let addressed = format!(
        "json_each({e}.keys) AS k CROSS JOIN vanishing AS w ON k.value GLOB '>=*' AND w.pubkey = substr(k.value, 3)"
    );
    stays_unless(e, &addressed)
}

/// `addressed` are the keys `w` that vanish and that the event is for.
fn stays_unless(e: &str, addressed: &str) -> String {
    format!(
        "(NOT EXISTS (SELECT 1 FROM vanishing) \
          OR NOT EXISTS (SELECT 1 FROM vanishing AS w WHERE w.pubkey = {e}.pubkey AND w.until >= {e}.created_at \
            AND {e}.kind <> {vanish}) \
          AND NOT ({e}.kind = {wrap} AND EXISTS (SELECT 1 FROM {addressed} WHERE w.until >= {e}.created_at)))",
        vanish = kind::VANISH,
        wrap = kind::GIFT_WRAP,
    )
}

/// The same of `s`, an entry of the table's own or of another one that has its number.
pub fn entry_stays(table: &str, s: &str) -> String {
    if table == "events" {
        return stays(s);
    }
    let of_event = stays("x");
    format!(
        "(NOT EXISTS (SELECT 1 FROM vanishing) \
          OR EXISTS (SELECT 1 FROM events AS x WHERE x.seq = {s}.seq AND {of_event}))"
    )
}
