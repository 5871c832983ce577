//! What a group of events does to jobs, their providers and who dealt with whom.
//!
//! A job's row lives while some event of it is held, and as long as a result would be kept: so a late
//! answer is held to what was asked, and to who may read it. Its state only grows, so any order of arrival ends
//! in the same one; what came before the request and does not agree with it is removed when the request
//! comes. `batch` marks the jobs a group has moved and `was` what they counted as before it: the state,
//! 100 more when there was feedback, 1000 more when there was a result; -1 for a new job, -2 for one
//! whose answers were here before its request.

use super::{MAX_INTEGER, PRIVATE, Statement, counts, integer, json};
use crate::market::State;
use crate::nostr::EventId;

/// What keeps an answer from agreeing with its job's request, when that is known: `customer`, `kind` or
/// `provider`; when it is not, that there are enough answers (`early`). For the answer `g`.
pub fn disagrees() -> String {
    format!("(SELECT CASE WHEN j.kind IS NULL THEN iif(j.held >= {MAX_EARLY}, 'early', NULL) {DISAGREES})")
}

const DISAGREES: &str = "WHEN j.customer <> g.value->>'$.j.c' THEN 'customer' \
    WHEN j.kind <> g.value->>'$.j.n' THEN 'kind' \
    WHEN j.providers IS NOT NULL AND NOT EXISTS (SELECT 1 FROM json_each(j.providers) AS p \
      WHERE p.value = g.value->>'$.e.pubkey') THEN 'provider' END \
    FROM jobs AS j WHERE j.id = g.value->>'$.j.i'";

/// Whether the customer has cancelled the job of `g`.
pub const CANCELLED: &str = "EXISTS (SELECT 1 FROM deletions AS q WHERE q.key = g.value->>'$.j.q')";

/// Whether the job of the answer `g` is known to be encrypted.
pub const ENCRYPTED: &str =
    "EXISTS (SELECT 1 FROM jobs AS j WHERE j.id = g.value->>'$.j.i' AND j.encrypted AND NOT g.value->>'$.j.y')";

/// What a job counts as, before it is changed.
const MARK: &str = "was = CASE WHEN jobs.batch = (SELECT last_seq FROM totals) THEN jobs.was \
    WHEN jobs.kind IS NULL THEN -2 \
    ELSE jobs.state + (jobs.reported_ms IS NOT NULL) * 100 + (jobs.answered_ms IS NOT NULL) * 1000 END, \
    batch = (SELECT last_seq FROM totals)";

/// `was` of a job whose answers were here before its request.
const LATE: i8 = -2;

/// Milliseconds of one unit of `providers.active`.
const SLOT_MS: u64 = 1000 * ACTIVE_SLOT;
/// The same in seconds.
pub const ACTIVE_SLOT: u64 = 300;
/// Answers that are looked at for whom to tell that their jobs were cancelled.
const MAX_TOLD: u64 = 1000;
/// Answers that are held of one job whose request is not known.
const MAX_EARLY: u64 = 1000;

/// Of the answers `e`: when the first feedback and the first result came, and whose result that was.
const REPORTED: &str = "min(CASE WHEN e.d IS NULL THEN e.came_ms END)";
const ANSWERED: &str = "min(CASE WHEN e.d IS NOT NULL THEN e.came_ms END)";
const FIRST: &str = "substr(min(CASE WHEN e.d IS NOT NULL THEN printf('%016d', e.seq) || e.pubkey END), 17)";

/// Jobs whose requests are fresh; `fresh` are the group's fresh events.
pub fn request(fresh: &str) -> String {
    format!(
        "INSERT INTO jobs (id, held, until, state, kind, customer, providers, encrypted, asked_ms, batch, was) \
         SELECT e.id, 1, g.value->>'$.u', 0, e.kind, e.pubkey, g.value->>'$.j.p', g.value->>'$.j.y', e.came_ms, \
           (SELECT last_seq FROM totals), -1 \
         FROM {fresh} WHERE g.value->>'$.j.i' = e.id \
         ON CONFLICT (id) DO UPDATE SET {MARK}, held = jobs.held + 1, until = excluded.until, kind = excluded.kind, \
           customer = excluded.customer, providers = excluded.providers, encrypted = excluded.encrypted, \
           asked_ms = excluded.asked_ms"
    )
}

/// For `requests` that came after answers. Removes the answers that do not agree, hides those of encrypted
/// jobs, works out the state anew, and credits the providers.
pub fn reconcile(requests: &[EventId]) -> Vec<Statement> {
    // Known by this group, and by no other.
    let late = |job: &str| {
        format!("{job}.was = {LATE} AND {job}.kind IS NOT NULL AND {job}.batch = (SELECT last_seq FROM totals)")
    };
    let of_job = |job: &str| {
        format!(
            "tags AS t CROSS JOIN events AS e ON e.seq = t.seq AND e.job = {job}.id AND e.id <> {job}.id \
             WHERE t.tag = 'e=' || {job}.id"
        )
    };
    let answers = format!(
        "json_each(?1) AS r CROSS JOIN jobs AS j ON j.id = r.value AND {} CROSS JOIN {}",
        late("j"),
        of_job("j")
    );
    let mark = format!(
        "UPDATE events SET step = -1 WHERE seq IN (SELECT e.seq FROM {answers} AND ( \
           NOT EXISTS (SELECT 1 FROM json_each(e.keys) AS k WHERE k.value = 'p=' || j.customer) \
           OR e.asked <> j.kind \
           OR j.providers IS NOT NULL AND e.pubkey NOT IN (SELECT value FROM json_each(j.providers))))"
    );
    let hidden = format!("{answers} AND j.encrypted AND e.shelf < {PRIVATE}");
    let hide = [
        format!(
            "INSERT OR IGNORE INTO tags (tag, shelf, created_at, id, seq, expires_at) \
             SELECT k.value, n.shelf, n.created_at, n.id, n.seq, n.expires_at FROM ( \
               SELECT e.shelf + {PRIVATE} AS shelf, e.created_at, e.id, e.seq, e.expires_at, \
                 json_insert(e.keys, '$[#]', '>=' || e.pubkey, '$[#]', '>=' || j.customer) AS keys \
               FROM {hidden}) AS n CROSS JOIN json_each(n.keys) AS k"
        ),
        delete_tags(&format!("SELECT e.seq FROM {hidden}")),
        format!(
            "UPDATE events SET shelf = shelf + {PRIVATE}, keys = (SELECT json_group_array(k) FROM ( \
               SELECT value AS k FROM json_each(events.keys) UNION SELECT '>=' || events.pubkey \
               UNION SELECT '>=' || j.customer FROM jobs AS j WHERE j.id = events.job)) \
             WHERE seq IN (SELECT e.seq FROM {hidden})"
        ),
    ];
    let anew = |what: &str| format!("(SELECT {what} FROM {})", of_job("jobs"));
    let state = format!(
        "UPDATE jobs SET state = coalesce({}, 0), reported_ms = {}, answered_ms = {}, first = {} \
         WHERE id IN (SELECT value FROM json_each(?1)) AND {}",
        anew("max(e.step)"),
        anew(REPORTED),
        anew(ANSWERED),
        anew(FIRST),
        late("jobs"),
    );
    let dealt = format!("{answers} AND e.pubkey <> j.customer");
    let requests = json(&requests);
    let of_requests = |sql: String| Statement { sql, params: vec![requests.clone()] };
    let mut list = vec![of_requests(mark)];
    let marked = remove("SELECT seq FROM events WHERE step = -1");
    list.extend(marked.map(|sql| Statement { sql, params: vec![] }));
    list.extend(hide.map(of_requests));
    list.extend([state, providers(&dealt), active(&dealt), dealings(&dealt)].map(of_requests));
    list
}

/// Jobs with fresh answers.
pub fn answer(fresh: &str) -> String {
    format!(
        "INSERT INTO jobs (id, held, until, state, reported_ms, answered_ms, first, batch, was) \
         SELECT g.value->>'$.j.i', count(*), 0, \
           max(CASE WHEN {CANCELLED} THEN {cancelled} ELSE e.step END), \
           {REPORTED}, {ANSWERED}, {FIRST}, \
           (SELECT last_seq FROM totals), -1 \
         FROM {fresh} WHERE g.value->>'$.j.a' GROUP BY g.value->>'$.j.i' \
         ON CONFLICT (id) DO UPDATE SET {MARK}, held = jobs.held + excluded.held, \
           state = max(jobs.state, excluded.state), \
           reported_ms = coalesce(jobs.reported_ms, excluded.reported_ms), \
           answered_ms = coalesce(jobs.answered_ms, excluded.answered_ms), \
           first = coalesce(jobs.first, excluded.first)",
        cancelled = State::Cancelled.rank(),
    )
}

/// Jobs that deletion requests of the group cancel; `requests` selects those as `g`.
pub fn cancel(requests: &str) -> String {
    format!(
        "UPDATE jobs SET {MARK}, state = {cancelled} WHERE kind IS NOT NULL AND (id, customer) IN ( \
         SELECT i.value, g.value->>'$.e.pubkey' FROM {requests} CROSS JOIN json_each(g.value, '$.i') AS i)",
        cancelled = State::Cancelled.rank(),
    )
}

/// Those who answered the jobs that deletion requests of the group are about to cancel: `JOB PUBKEY`.
pub fn cancelled(requests: &str) -> String {
    format!(
        "SELECT DISTINCT id || ' ' || pubkey AS r FROM (SELECT j.id, e.pubkey \
         FROM {requests} CROSS JOIN json_each(g.value, '$.i') AS i CROSS JOIN jobs AS j ON j.id = i.value \
           AND j.customer = g.value->>'$.e.pubkey' AND j.state < {cancelled} \
         CROSS JOIN tags AS t ON t.tag = 'e=' || j.id \
         CROSS JOIN events AS e ON e.seq = t.seq AND e.job = j.id AND e.id <> j.id LIMIT {MAX_TOLD})",
        cancelled = State::Cancelled.rank(),
    )
}

/// Forgets what is known of keys that vanish, besides their events.
pub fn vanish() -> [String; 3] {
    // A request that is here already says nothing of what came after it.
    ["providers WHERE pubkey", "dealings WHERE provider", "dealings WHERE customer"].map(|rows| {
        format!(
            "DELETE FROM {rows} IN (SELECT g.value->>'$.e.pubkey' FROM json_each(?1) AS g WHERE g.value->>'$.v' \
             AND NOT EXISTS (SELECT 1 FROM events AS e WHERE e.id = g.value->>'$.e.id'))"
        )
    })
}

/// The group's answers to jobs whose request is known, as `e` and `j`. What somebody asks himself says
/// nothing.
pub fn dealt(fresh: &str) -> String {
    format!(
        "{fresh} CROSS JOIN jobs AS j ON j.id = g.value->>'$.j.i' AND j.kind IS NOT NULL \
         WHERE g.value->>'$.j.a' AND e.pubkey <> j.customer"
    )
}

/// What answers say of their authors; `dealt` selects them. A row is only written when it has something
/// to say.
pub fn providers(dealt: &str) -> String {
    let bucket = counts::bucket("max(0, e.came_ms - j.asked_ms)");
    format!(
        "INSERT INTO providers (pubkey, results, errors, times, seen, active) \
         SELECT pubkey, sum(n * (bucket IS NOT NULL)), sum(errors), \
           json_group_object(CAST(bucket AS TEXT), n) FILTER (WHERE bucket IS NOT NULL), max(ms) / 1000, max(ms) / {SLOT_MS} \
         FROM (SELECT e.pubkey, CASE WHEN e.d IS NOT NULL THEN {bucket} END AS bucket, count(*) AS n, \
             sum(e.step = {error}) AS errors, max(e.came_ms) AS ms \
           FROM {dealt} GROUP BY 1, 2) GROUP BY pubkey \
         ON CONFLICT (pubkey) DO UPDATE SET results = providers.results + excluded.results, \
           errors = providers.errors + excluded.errors, seen = max(providers.seen, excluded.seen), \
           times = (SELECT json_group_object(k, n) FROM (SELECT key AS k, sum(value) AS n FROM ( \
             SELECT key, value FROM json_each(providers.times) UNION ALL \
             SELECT key, value FROM json_each(excluded.times)) GROUP BY key)) \
         WHERE excluded.results > 0 OR excluded.errors > 0",
        error = State::Error.rank(),
    )
}

/// Notes that the authors of answers are active, once in a while: this column is indexed, and each write
/// to it is a row more.
pub fn active(dealt: &str) -> String {
    format!(
        "UPDATE providers SET active = n.slot, seen = max(providers.seen, n.seen) FROM ( \
           SELECT e.pubkey, max(e.came_ms) / {SLOT_MS} AS slot, max(e.came_ms) / 1000 AS seen FROM {dealt} GROUP BY 1) AS n \
         WHERE providers.pubkey = n.pubkey AND providers.active < n.slot"
    )
}

/// Who has become whose customer.
pub fn dealings(dealt: &str) -> String {
    format!(
        "INSERT OR IGNORE INTO dealings (provider, customer) SELECT e.pubkey, j.customer \
         FROM {dealt} AND e.d IS NOT NULL"
    )
}

/// The jobs this group has moved, as counts leave and come.
pub fn moved() -> String {
    let entry = |key: String, other: String, n: &str, when: &str| {
        format!("json_array(CASE WHEN {when} THEN {key} END, {other}, {n})")
    };
    let first = |at: &str, flag: &str| format!("{at} IS NOT NULL AND (j.was < 0 OR NOT {flag})");
    let time = |letter: &str, at: &str, flag: &str| {
        let key = format!("'{letter} ' || {}", counts::bucket(&format!("max(0, {at} - j.asked_ms)")));
        entry(key, "NULL".to_owned(), "1", &first(at, flag))
    };
    let sum = |letter: &str, at: &str, flag: &str| {
        let ms = format!("max(0, {at} - j.asked_ms)");
        entry(format!("'{letter} sum'"), "NULL".to_owned(), &ms, &first(at, flag))
    };
    let (was, now) = (state_name("(j.was % 100)"), state_name("j.state"));
    let entries = [
        entry(format!("'j ' || j.kind || ' ' || {was}"), format!("'j * ' || {was}"), "-1", "j.was >= 0"),
        entry(format!("'j ' || j.kind || ' ' || {now}"), format!("'j * ' || {now}"), "1", "true"),
        time("f", "j.reported_ms", "(j.was / 100 % 10)"),
        time("r", "j.answered_ms", "(j.was / 1000)"),
        sum("f", "j.reported_ms", "(j.was / 100 % 10)"),
        sum("r", "j.answered_ms", "(j.was / 1000)"),
    ];
    format!(
        "SELECT m.value->>0 AS k, m.value->>1 AS other, m.value->>2 AS n FROM ( \
           SELECT g.value->>'$.j.i' AS id FROM json_each(?1) AS g WHERE g.value->>'$.j.i' IS NOT NULL \
           UNION SELECT i.value FROM json_each(?1) AS g CROSS JOIN json_each(g.value, '$.i') AS i) AS n \
         CROSS JOIN jobs AS j ON j.id = n.id AND j.kind IS NOT NULL AND j.batch = (SELECT last_seq FROM totals) \
         CROSS JOIN json_each(json_array({})) AS m WHERE m.value->>0 IS NOT NULL",
        entries.join(", ")
    )
}

/// The word for a state's number.
pub fn state_name(number: &str) -> String {
    let states: Vec<String> =
        State::ALL.iter().map(|state| format!("WHEN {} THEN '{}'", state.rank(), state.as_str())).collect();
    format!("CASE {number} {} END", states.join(" "))
}

/// Forgets the jobs of which nothing is held any more and that were to be remembered `until` then, in Unix
/// seconds; 0 is for those whose request was never seen.
pub fn forget(until: u64) -> Statement {
    let sql = "DELETE FROM jobs WHERE held <= 0 AND until <= ?1".to_owned();
    Statement { sql, params: vec![integer(until)] }
}

/// What a provider deletes it cannot give again: a job has one result of each. For the deletion
/// `requests`, before they are carried out.
pub fn spent(requests: &str) -> String {
    format!(
        "INSERT OR IGNORE INTO deletions (key, until) SELECT e.pubkey || ' result ' || e.job, {MAX_INTEGER} \
         FROM {requests} CROSS JOIN json_each(g.value, '$.i') AS i CROSS JOIN events AS e \
         ON e.id = i.value AND e.pubkey = g.value->>'$.e.pubkey' AND e.asked IS NOT NULL"
    )
}

/// Deletes the events `victims` selects by number, with their tags and their place in their jobs.
pub fn remove(victims: &str) -> [String; 3] {
    [
        format!(
            "UPDATE jobs SET held = held - v.n FROM (SELECT job, count(*) AS n FROM events \
             WHERE seq IN ({victims}) AND job IS NOT NULL GROUP BY job) AS v WHERE jobs.id = v.job"
        ),
        delete_tags(victims),
        format!("DELETE FROM events WHERE seq IN ({victims})"),
    ]
}

/// Deletes the tags of the events `victims` selects by number.
pub fn delete_tags(victims: &str) -> String {
    format!(
        "DELETE FROM tags WHERE (tag, shelf, created_at, id) IN (SELECT k.value, e.shelf, e.created_at, e.id \
         FROM events AS e CROSS JOIN json_each(e.keys) AS k WHERE e.seq IN ({victims}))"
    )
}
