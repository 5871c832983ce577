//! Who has worked for whom, and what providers have done together: written with their answers.
//!
//! A dealing has a row from the first result or error on. A customer is known when it has had results of
//! [`KNOWN_AT`] providers: then all its dealings say so, those to come from their beginning.

use super::group::Of;
use crate::market::State;
use crate::market::dealing::{HALF_SPEED_MS, KNOWN_AT, SPEED_MAX};

/// Milliseconds of one unit of `providers.active`.
const SLOT_MS: u64 = 1000 * ACTIVE_SLOT;
/// The same in seconds.
pub const ACTIVE_SLOT: u64 = 300;

/// How active a provider is now.
const ACTIVE: &str = "'active ' || pubkey || ' ' || active AS r";

/// The group's answers to jobs whose request is known, as `e` and `j`. What somebody asks himself says
/// nothing.
pub fn dealt(fresh: &str) -> String {
    format!(
        "{fresh} CROSS JOIN jobs AS j ON j.id = e.job AND j.kind IS NOT NULL \
         WHERE e.job <> e.id AND e.step IS NOT NULL AND e.pubkey <> j.customer"
    )
}

/// The statements for the answers that `dealt` selects, each with the parameters `of`.
pub fn statements(dealt: &str, of: Of) -> [(String, Of); 4] {
    [providers(dealt), active(dealt), dealings(dealt), known(dealt)].map(|sql| (sql, of))
}

/// What answers say of their authors. A row is only written when it has something to say.
fn providers(dealt: &str) -> String {
    format!(
        "INSERT INTO providers (pubkey, results, errors, seen, active) \
         SELECT e.pubkey, sum(e.d IS NOT NULL), sum(e.step = {error}), max(e.came_ms) / 1000, max(e.came_ms) / {SLOT_MS} \
         FROM {dealt} GROUP BY 1 \
         ON CONFLICT (pubkey) DO UPDATE SET results = providers.results + excluded.results, \
           errors = providers.errors + excluded.errors, seen = max(providers.seen, excluded.seen) \
         WHERE excluded.results > 0 OR excluded.errors > 0 RETURNING {ACTIVE}",
        error = State::Error.rank(),
    )
}

/// Notes that the authors of answers are active, once in a while: this column is indexed, and each write
/// to it is a row more.
fn active(dealt: &str) -> String {
    format!(
        "UPDATE providers SET active = n.slot, seen = max(providers.seen, n.seen) FROM ( \
           SELECT e.pubkey, max(e.came_ms) / {SLOT_MS} AS slot, max(e.came_ms) / 1000 AS seen FROM {dealt} GROUP BY 1) AS n \
         WHERE providers.pubkey = n.pubkey AND providers.active < n.slot RETURNING {ACTIVE}"
    )
}

/// What customers had of providers.
fn dealings(dealt: &str) -> String {
    let error = State::Error.rank();
    let speed = format!("{} / ({HALF_SPEED_MS} + max(0, e.came_ms - j.asked_ms))", SPEED_MAX * HALF_SPEED_MS);
    format!(
        "INSERT INTO dealings (customer, provider, results, errors, speed, known) \
         SELECT j.customer, e.pubkey, sum(e.d IS NOT NULL), sum(e.step = {error}), sum(iif(e.d IS NULL, 0, {speed})), \
           EXISTS (SELECT 1 FROM dealings AS o WHERE o.customer = j.customer AND o.known = 1) \
         FROM {dealt} AND (e.d IS NOT NULL OR e.step = {error}) GROUP BY 1, 2 \
         ON CONFLICT (customer, provider) DO UPDATE SET results = dealings.results + excluded.results, \
           errors = dealings.errors + excluded.errors, speed = dealings.speed + excluded.speed"
    )
}

/// Makes customers known who have results of enough providers now.
fn known(dealt: &str) -> String {
    format!(
        "UPDATE dealings SET known = 1 WHERE customer IN ( \
           SELECT c.customer FROM (SELECT DISTINCT j.customer FROM {dealt} AND e.d IS NOT NULL) AS c \
           WHERE NOT EXISTS (SELECT 1 FROM dealings AS o WHERE o.customer = c.customer AND o.known = 1) \
             AND (SELECT count(*) FROM (SELECT 1 FROM dealings AS o WHERE o.customer = c.customer AND o.results > 0 \
               LIMIT {KNOWN_AT})) = {KNOWN_AT})"
    )
}

/// Forgets what is known of keys that vanish, besides their events; `keys` selects them.
pub fn vanish(keys: &str) -> [String; 3] {
    ["providers WHERE pubkey", "dealings WHERE provider", "dealings WHERE customer"]
        .map(|rows| format!("DELETE FROM {rows} IN ({keys})"))
}
