//! Which of what keys say of others by labels (NIP-32) stands: one row of each key, namespace and provider, of its newest
//! label event there, which goes with that event.

/// Whether the vote `v` stands at `?2` (Unix seconds): its event has not expired, and its author does not vanish.
pub fn stands(v: &str) -> String {
    format!(
        "({v}.expires_at IS NULL OR {v}.expires_at > ?2) \
         AND NOT EXISTS (SELECT 1 FROM vanishing AS w WHERE w.pubkey = {v}.voter AND w.until >= {v}.created_at)"
    )
}
