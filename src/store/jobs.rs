//! What a group of events does to jobs.
//!
//! A job's row lives while some event of it is held, and as long as a result would be kept: so a late
//! answer is held to what was asked, and to who may read it. Its state only grows, so any order of arrival ends
//! in the same one; what came before the request and does not agree with it is no part of the job from then on.
//! An answer with no `step` is held and moves nothing: see [`uncounted`]. `batch` marks the jobs a group has moved and `was` what they counted as before it: the state,
//! 100 more when there was feedback, 1000 more when there was a result; -1 for a new job, -2 for one
//! whose answers were here before its request.

use super::group::Of;
use super::{MAX_INTEGER, PRIVATE, counts, dealings, votes};
use crate::market::State;

/// Feedback of one key that was not asked, that a job holds.
pub const MAX_UNASKED_FEEDBACK: u64 = 3;
/// Keys that were not asked and whose answers a job holds.
pub const MAX_UNASKED_KEYS: u64 = 20;

/// Whether the key `by` was not asked to do the job `j`.
fn unasked(by: &str) -> String {
    format!("(j.providers IS NOT NULL AND NOT EXISTS (SELECT 1 FROM json_each(j.providers) AS p WHERE p.value = {by}))")
}

/// Whether the answer `g` is feedback of the customer of its job `j`.
const BY_CUSTOMER: &str = "(g.v->>'$.j.r' IS NULL AND j.customer = g.v->>'$.pubkey')";

/// Whether the answer `g` to the job `j` moves nothing: its author was not asked, or is the customer who speaks
/// of the work.
pub fn uncounted() -> String {
    format!("{} OR {BY_CUSTOMER}", unasked("g.v->>'$.pubkey'"))
}

/// What keeps an answer from agreeing with its job's request, when that is known: `customer`, `kind`,
/// `provider`, or that keys which were not asked have said enough (`feedbacks`, `keys`); when it is not known, that
/// there are enough answers (`early`). For the answer `g` and its job `j`, if there is one.
pub fn disagrees() -> String {
    format!(
        "CASE WHEN j.kind IS NULL THEN iif(j.held >= {MAX_EARLY}, 'early', NULL) \
           WHEN {BY_CUSTOMER} THEN NULL \
           WHEN j.customer <> g.v->>'$.j.c' THEN 'customer' WHEN j.kind <> g.v->>'$.j.n' THEN 'kind' \
           WHEN {} THEN CASE WHEN j.encrypted THEN 'provider' \
             WHEN g.v->>'$.j.r' IS NULL AND coalesce((SELECT o.value FROM json_each(j.unasked) AS o \
               WHERE o.key = g.v->>'$.pubkey'), 0) >= {MAX_UNASKED_FEEDBACK} THEN 'feedbacks' \
             WHEN (SELECT count(*) FROM json_each(j.unasked)) >= {MAX_UNASKED_KEYS} AND NOT EXISTS ( \
               SELECT 1 FROM json_each(j.unasked) AS o WHERE o.key = g.v->>'$.pubkey') THEN 'keys' END END",
        unasked("g.v->>'$.pubkey'")
    )
}

/// Whether the answer `g` belongs to its job `j`, as far as the job's request is known: [`reconcile`] would leave it
/// there.
pub fn agrees() -> String {
    format!(
        "(j.kind IS NULL OR {BY_CUSTOMER} OR NOT (j.customer <> g.v->>'$.j.c' \
           OR coalesce(j.kind <> g.v->>'$.j.n', false) OR j.encrypted AND {}))",
        unasked("g.v->>'$.pubkey'")
    )
}

/// Whether the customer has cancelled the job of the answer `g`.
pub const CANCELLED: &str =
    "EXISTS (SELECT 1 FROM deletions AS q WHERE q.key = (g.v->>'$.j.c') || ' ' || (g.v->>'$.j.i'))";

/// Whether the job `j` of the answer `g` is encrypted, which the answer does not say; NULL when that is not known.
pub const ENCRYPTED: &str = "j.encrypted AND NOT g.v->>'$.j.y'";

/// What a job counts as, before it is changed.
const MARK: &str = "was = CASE WHEN jobs.batch = (SELECT last_seq FROM totals) THEN jobs.was \
    WHEN jobs.kind IS NULL THEN -2 \
    ELSE jobs.state + (jobs.reported_ms IS NOT NULL) * 100 + (jobs.answered_ms IS NOT NULL) * 1000 END, \
    batch = (SELECT last_seq FROM totals)";

/// `was` of a job whose answers were here before its request.
const LATE: i8 = -2;

/// Whether the event `g` is the request of a job of which nothing was known before the group that stored it, and
/// that no group has moved since.
pub const FIRST_OF_JOB: &str = "(g.v->>'$.j.i') = (g.v->>'$.id') AND EXISTS (SELECT 1 FROM jobs AS o \
    WHERE o.id = g.v->>'$.id' AND o.kind IS NOT NULL AND o.was = -1)";

/// Answers that are looked at for whom to tell that their jobs were cancelled.
const MAX_TOLD: u64 = 1000;
/// Answers that are held of one job whose request is not known.
const MAX_EARLY: u64 = 1000;

/// Of the answers `e`: when the first feedback and the first result came, and whose result that was.
const REPORTED: &str = "min(CASE WHEN e.d IS NULL AND e.step IS NOT NULL THEN e.came_ms END)";
const ANSWERED: &str = "min(CASE WHEN e.d IS NOT NULL AND e.step IS NOT NULL THEN e.came_ms END)";
const FIRST: &str =
    "substr(min(CASE WHEN e.d IS NOT NULL AND e.step IS NOT NULL THEN printf('%016d', e.seq) || e.pubkey END), 17)";

/// Jobs whose requests, of the list `g`, are fresh.
pub fn request() -> String {
    format!(
        "INSERT INTO jobs (id, held, until, state, kind, customer, providers, encrypted, asked_ms, batch, was) \
         SELECT e.id, 1, g.v->>'$.j.u', 0, e.kind, e.pubkey, g.v->>'$.j.p', g.v->>'$.j.y', e.came_ms, \
           (SELECT last_seq FROM totals), -1 \
         FROM g CROSS JOIN events AS e ON e.id = g.v->>'$.id' AND e.seq > (SELECT last_seq FROM totals) \
         WHERE g.v->>'$.j.i' IS NOT NULL \
         ON CONFLICT (id) DO UPDATE SET {MARK}, held = jobs.held + 1, until = excluded.until, kind = excluded.kind, \
           customer = excluded.customer, providers = excluded.providers, encrypted = excluded.encrypted, \
           asked_ms = excluded.asked_ms"
    )
}

/// Jobs that are remembered without their requests; ?1 is a list of [`restore::Job`](super::restore::Job)s. A job whose
/// request is known stays as it is.
pub fn restore() -> String {
    format!(
        "INSERT INTO jobs (id, held, until, state, kind, customer, providers, encrypted, unasked, asked_ms, batch, was) \
         SELECT g.v->>'$.id', 0, max(1, g.v->>'$.until'), g.v->>'$.state', g.v->>'$.kind', g.v->>'$.customer', \
           g.v->'$.providers', g.v->>'$.encrypted', g.v->>'$.unasked', g.v->>'$.asked_ms', \
           (SELECT last_seq FROM totals), -1 \
         FROM (SELECT value AS v FROM json_each(?1)) AS g WHERE true \
         ON CONFLICT (id) DO UPDATE SET {MARK}, until = excluded.until, kind = excluded.kind, \
           customer = excluded.customer, providers = excluded.providers, encrypted = excluded.encrypted, \
           unasked = excluded.unasked, asked_ms = excluded.asked_ms WHERE kind IS NULL"
    )
}

/// For requests that came after answers; ?1 is a list of the requests' ids. Takes the answers that do not agree
/// out of the jobs, hides those of encrypted jobs, works out the state anew, and credits the providers.
pub fn reconcile() -> Vec<(String, Of)> {
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
    let by_customer = "(e.asked IS NULL AND e.pubkey = j.customer)";
    let not_asked = unasked("e.pubkey");
    let mark = format!(
        "UPDATE events SET step = -1 WHERE seq IN (SELECT e.seq FROM {answers} AND NOT {by_customer} AND ( \
           NOT EXISTS (SELECT 1 FROM json_each(e.keys) AS k WHERE k.value = 'p=' || j.customer) \
           OR e.asked <> j.kind OR j.encrypted AND {not_asked}))"
    );
    let leave = [
        "UPDATE jobs SET held = held - v.n FROM (SELECT job, count(*) AS n FROM events WHERE step = -1 GROUP BY job) AS v \
         WHERE jobs.id = v.job"
            .to_owned(),
        "UPDATE events SET job = NULL, step = NULL, asked = NULL WHERE step = -1".to_owned(),
    ];
    let uncount = format!(
        "UPDATE events SET step = NULL WHERE seq IN (SELECT e.seq FROM {answers} AND e.step IS NOT NULL \
           AND ({by_customer} OR {not_asked}))"
    );
    // The other party: of the customer's own feedback the key it names.
    let party = |e: &str| {
        format!(
            "iif({e}.pubkey = j.customer, coalesce((SELECT '>=' || substr(k.value, 3) FROM json_each({e}.keys) AS k \
             WHERE k.value GLOB 'p=*' LIMIT 1), '>=' || j.customer), '>=' || j.customer)"
        )
    };
    let hidden = format!("{answers} AND j.encrypted AND e.shelf < {PRIVATE}");
    let hide = [
        format!(
            "INSERT OR IGNORE INTO tags (tag, shelf, created_at, tie, seq, expires_at) \
             SELECT k.value, n.shelf, n.created_at, n.tie, n.seq, n.expires_at FROM ( \
               SELECT e.shelf + {PRIVATE} AS shelf, e.created_at, e.tie, e.seq, e.expires_at, \
                 json_insert(e.keys, '$[#]', '>=' || e.pubkey, '$[#]', {}) AS keys \
               FROM {hidden}) AS n CROSS JOIN json_each(n.keys) AS k",
            party("e")
        ),
        delete_tags(&format!("SELECT e.seq FROM {hidden}")),
        format!(
            "UPDATE events SET shelf = shelf + {PRIVATE}, keys = (SELECT json_group_array(k) FROM ( \
               SELECT value AS k FROM json_each(events.keys) UNION SELECT '>=' || events.pubkey \
               UNION SELECT {} FROM jobs AS j WHERE j.id = events.job)) \
             WHERE seq IN (SELECT e.seq FROM {hidden}) RETURNING 'hidden ' || seq AS r",
            party("events")
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
    let dealt = format!("{answers} AND e.step IS NOT NULL AND e.pubkey <> j.customer");
    let of_requests = |sql: String| (sql, Of::Requests);
    let mut list = vec![of_requests(mark)];
    list.extend(leave.map(|sql| (sql, Of::Nothing)));
    list.push(of_requests(uncount));
    list.extend(hide.map(of_requests));
    list.push(of_requests(state));
    list.extend(dealings::statements(&dealt, Of::Requests));
    list
}

/// Jobs with answers that are `fresh`.
pub fn answer(fresh: &str) -> String {
    format!(
        "INSERT INTO jobs (id, held, until, state, reported_ms, answered_ms, first, batch, was) \
         SELECT e.job, count(*), 0, coalesce(max(e.step), 0), {REPORTED}, {ANSWERED}, {FIRST}, (SELECT last_seq FROM totals), -1 \
         FROM {fresh} WHERE e.job <> e.id GROUP BY e.job \
         ON CONFLICT (id) DO UPDATE SET {MARK}, held = jobs.held + excluded.held, \
           state = max(jobs.state, excluded.state), \
           reported_ms = coalesce(jobs.reported_ms, excluded.reported_ms), \
           answered_ms = coalesce(jobs.answered_ms, excluded.answered_ms), \
           first = coalesce(jobs.first, excluded.first)"
    )
}

/// Jobs that deletion requests of the group cancel; `requests` selects those as `g`.
pub fn cancel(requests: &str) -> String {
    format!(
        "UPDATE jobs SET {MARK}, state = {cancelled} WHERE kind IS NOT NULL AND (id, customer) IN ( \
         SELECT i.value, g.v->>'$.pubkey' FROM {requests} CROSS JOIN json_each(g.v, '$.i') AS i)",
        cancelled = State::Cancelled.rank(),
    )
}

/// Those who answered the jobs that deletion requests of the group are about to cancel: `cancelled JOB PUBKEY`.
pub fn cancelled(requests: &str) -> String {
    answerers(requests, &format!("j.state < {}", State::Cancelled.rank()), "true")
}

/// The same after the group; ?2 is `totals.last_seq` before it. Who has deleted his answers in the group is not among them.
pub fn cancelled_by_group(requests: &str) -> String {
    let cancelled = State::Cancelled.rank();
    // Each group marks anew the jobs that its deletion requests name.
    let by_group = format!("j.state = {cancelled} AND j.was % 100 < {cancelled}");
    answerers(requests, &by_group, "e.seq <= ?2")
}

/// Those whose answers `e` to the customers' jobs `j` that deletion requests name are held.
fn answerers(requests: &str, job: &str, answer: &str) -> String {
    format!(
        "SELECT DISTINCT 'cancelled ' || id || ' ' || pubkey AS r FROM (SELECT j.id, e.pubkey \
         FROM {requests} CROSS JOIN json_each(g.v, '$.i') AS i CROSS JOIN jobs AS j ON j.id = i.value \
           AND j.customer = g.v->>'$.pubkey' AND {job} \
         CROSS JOIN tags AS t ON t.tag = 'e=' || j.id \
         CROSS JOIN events AS e ON e.seq = t.seq AND e.job = j.id AND e.id <> j.id AND {answer} LIMIT {MAX_TOLD})"
    )
}

/// The answers among `fresh`, as `e`, of keys that their job `j` did not ask.
fn strangers(fresh: &str) -> String {
    format!(
        "{fresh} CROSS JOIN jobs AS j ON j.id = e.job AND e.step IS NULL AND e.job <> e.id AND {} \
         AND NOT (e.asked IS NULL AND e.pubkey = j.customer)",
        unasked("e.pubkey")
    )
}

/// Takes out again what keys that were not asked have said beyond their number, when it came in one group.
pub fn trim(fresh: &str) -> String {
    format!(
        "DELETE FROM events WHERE seq IN (SELECT seq FROM (SELECT e.seq, e.asked, \
             coalesce((SELECT o.value FROM json_each(j.unasked) AS o WHERE o.key = e.pubkey), 0) \
               + sum(e.asked IS NULL) OVER (PARTITION BY e.job, e.pubkey ORDER BY e.seq) AS said, \
             EXISTS (SELECT 1 FROM json_each(j.unasked) AS o WHERE o.key = e.pubkey) AS known, \
             (SELECT count(*) FROM json_each(j.unasked)) + (SELECT count(DISTINCT f.pubkey) FROM \
               (SELECT * FROM events NOT INDEXED WHERE seq > (SELECT last_seq FROM totals)) AS f \
               WHERE f.job = e.job AND f.step IS NULL AND f.seq <= e.seq AND f.pubkey <> j.customer \
                 AND f.pubkey NOT IN (SELECT value FROM json_each(j.providers)) \
                 AND NOT EXISTS (SELECT 1 FROM json_each(j.unasked) AS o WHERE o.key = f.pubkey)) AS keys \
           FROM {}) WHERE asked IS NULL AND said > {MAX_UNASKED_FEEDBACK} OR NOT known AND keys > {MAX_UNASKED_KEYS})",
        strangers(fresh)
    )
}

/// Counts the feedback of each key that was not asked.
pub fn count_unasked(fresh: &str) -> String {
    format!(
        "UPDATE jobs SET unasked = (SELECT json_group_object(key, n) FROM (SELECT key, sum(value) AS n FROM ( \
           SELECT key, value FROM json_each(jobs.unasked) UNION ALL SELECT key, value FROM json_each(v.said)) GROUP BY key)) \
         FROM (SELECT job, json_group_object(pubkey, n) AS said FROM (SELECT e.job, e.pubkey, sum(e.asked IS NULL) AS n \
           FROM {} GROUP BY 1, 2) GROUP BY 1) AS v WHERE jobs.id = v.job",
        strangers(fresh)
    )
}

/// The jobs this group has moved, as counts leave and come: those of its `fresh` events, and when it
/// `deletes` those that ?3, the list of others, may have cancelled.
pub fn moved(fresh: &str, deletes: bool) -> String {
    let cancelled = "UNION SELECT i.value FROM json_each(?3) AS g CROSS JOIN json_each(g.value, '$.i') AS i";
    let cancelled = if deletes { cancelled } else { "" };
    let first = |at: &str, flag: &str| {
        format!("CASE WHEN j.{at} IS NOT NULL AND (j.was < 0 OR NOT {flag}) THEN max(0, j.{at} - j.asked_ms) END")
    };
    let time = |letter: &str| {
        let bucket = counts::bucket(letter);
        format!("SELECT '{letter} ' || {bucket}, NULL, count(*) FROM m WHERE {letter} IS NOT NULL GROUP BY 1")
    };
    let sum =
        |letter: &str| format!("SELECT '{letter} sum' AS k, NULL AS other, sum({letter}) AS n FROM m HAVING n > 0");
    let (was, now) = (state_name("(was % 100)"), state_name("state"));
    format!(
        "SELECT k, other, n FROM (WITH m AS MATERIALIZED (SELECT j.kind, j.was, j.state, {} AS f, {} AS r \
           FROM (SELECT e.job AS id FROM {fresh} WHERE e.job IS NOT NULL {cancelled} GROUP BY 1) AS i \
           CROSS JOIN jobs AS j ON j.id = i.id AND j.kind IS NOT NULL AND j.batch = (SELECT last_seq FROM totals)) \
         SELECT 'j ' || kind || ' ' || {was} AS k, 'j * ' || {was} AS other, -count(*) AS n \
           FROM m WHERE was >= 0 GROUP BY kind, was % 100 \
         UNION ALL SELECT 'j ' || kind || ' ' || {now}, 'j * ' || {now}, count(*) FROM m GROUP BY kind, state \
         UNION ALL {} UNION ALL {} UNION ALL SELECT * FROM ({} UNION ALL {}))",
        first("reported_ms", "(j.was / 100 % 10)"),
        first("answered_ms", "(j.was / 1000)"),
        time("f"),
        time("r"),
        sum("f"),
        sum("r"),
    )
}

/// The word for a state's number.
pub fn state_name(number: &str) -> String {
    let mut states = State::ALL;
    states.sort_by_key(|state| state.rank());
    let names: Vec<String> = states.iter().map(|state| format!("\"{}\"", state.as_str())).collect();
    format!("('[{}]'->>{number})", names.join(","))
}

/// Forgets the jobs of which nothing is held any more and that were to be remembered `until` then, in Unix
/// seconds; 0 is for those whose request was never seen.
pub fn forget(until: &str) -> String {
    format!("DELETE FROM jobs WHERE held <= 0 AND until <= {until}")
}

/// What a provider deletes it cannot give again: a job has one result of each. For the deletion
/// `requests`, before they are carried out.
pub fn spent(requests: &str) -> String {
    format!(
        "INSERT OR IGNORE INTO deletions (key, until) SELECT e.pubkey || ' result ' || e.job, {MAX_INTEGER} \
         FROM {requests} CROSS JOIN json_each(g.v, '$.i') AS i CROSS JOIN events AS e \
         ON e.id = i.value AND e.pubkey = g.v->>'$.pubkey' AND e.asked IS NOT NULL"
    )
}

/// Deletes the events `victims` selects by number, with their tags, their place in their jobs and the votes they are.
pub fn remove(victims: &str) -> [String; 4] {
    [
        votes::remove(victims),
        format!(
            "UPDATE jobs SET held = held - v.n FROM (SELECT job, count(*) AS n FROM events \
             WHERE seq IN ({victims}) AND job IS NOT NULL GROUP BY job) AS v WHERE jobs.id = v.job"
        ),
        delete_tags(victims),
        delete_events(victims),
    ]
}

/// Deletes the events `victims` selects by number, and says so: `removed SEQ`.
pub fn delete_events(victims: &str) -> String {
    format!("DELETE FROM events WHERE seq IN ({victims}) RETURNING 'removed ' || seq AS r")
}

/// Deletes the tags of the events `victims` selects by number.
pub fn delete_tags(victims: &str) -> String {
    format!(
        "DELETE FROM tags WHERE (tag, shelf, created_at, tie, seq) IN (SELECT k.value, e.shelf, e.created_at, e.tie, e.seq \
         FROM events AS e CROSS JOIN json_each(e.keys) AS k WHERE e.seq IN ({victims}))"
    )
}
