//! The statements that store a group. They depend on the group's [`Shape`] alone, so each list is written
//! once and kept.
//!
//! A group travels as two lists of [`Item`](super::item::Item)s: answers to jobs, and the other events,
//! which are stored first, job requests among them. A statement that reads one sees it as `g`, whose `v` is
//! the item. Once events are in, the statements that follow know them by their numbers: [`FRESH`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::counts;
use super::{PRIVATE, dealings, jobs, votes};

/// What the statements of a group depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Some events do not answer jobs.
    pub others: bool,
    /// Some are labels (NIP-32).
    pub labels: bool,
    /// Some request jobs.
    pub requests: bool,
    /// Answers to these requests may be here already.
    pub early: bool,
    /// Some answer jobs.
    pub answers: bool,
    /// Some are deletion requests (NIP-09).
    pub deletes: bool,
    /// Some are requests to vanish (NIP-62).
    pub vanishes: bool,
    /// Some replace others (NIP-01).
    pub replaces: bool,
    /// They were taken once already, here or by another relay of the operator's: what limits the answers to a
    /// job keeps none out, and one that does not agree with its job is stored as no part of it.
    pub restores: bool,
}

/// The parameters of a statement, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// None.
    Nothing,
    /// The list of others.
    Others,
    /// That list and the texts of its events.
    OthersTexts,
    /// The list of answers and their texts.
    AnswersTexts,
    /// Both lists.
    Both,
    /// The list of others, and the last number before the group.
    OthersBefore,
    /// The ids of the job requests.
    Requests,
    /// What the engine has counted, and the write's name.
    Flush,
    /// These, and the list of others.
    FlushOthers,
}

/// A list of statements without their parameters.
pub type Plan = Rc<[(Arc<str>, Of)]>;

thread_local! {
    static PLANS: RefCell<BTreeMap<Shape, Plan>> = const { RefCell::new(BTreeMap::new()) };
}

/// The statements for groups of a shape.
pub fn plan(shape: Shape) -> Plan {
    PLANS.with_borrow_mut(|plans| plans.entry(shape).or_insert_with(|| write(shape).into()).clone())
}

/// The statements that say what groups of a shape have done.
pub fn fates(shape: Shape) -> Vec<(Arc<str>, Of)> {
    let mut list: Vec<(Arc<str>, Of)> = Vec::new();
    if shape.deletes {
        let cancelled = jobs::cancelled_by_group(&requests());
        list.push((format!("{LISTED}{cancelled}").into(), Of::OthersBefore));
    }
    list.extend(said(shape));
    list
}

/// What is asked last of a group: what became of its events, and the counts.
fn said(shape: Shape) -> [(Arc<str>, Of); 2] {
    let outcomes = outcomes(shape.requests, shape.answers && !shape.restores);
    [(outcomes.into(), Of::Both), (counts::READ_COUNTS.into(), Of::Nothing)]
}

/// The first list as `g`, with every item taken apart once.
const LISTED: &str = "WITH g AS MATERIALIZED (SELECT jsonb(value) AS v FROM json_each(?1)) ";

/// Whether a deletion keeps the group's event out.
const BLOCKED: &str = "EXISTS (SELECT 1 FROM json_each(g.v, '$.b') AS b CROSS JOIN deletions AS t \
    ON t.key = b.value AND t.until >= g.v->>'$.created_at')";

/// The events that those of the group replace (NIP-01: older, or as old with a larger id).
const REPLACED: &str = "SELECT e.seq FROM g CROSS JOIN events AS e \
    ON e.pubkey = g.v->>'$.pubkey' AND e.kind = g.v->>'$.kind' AND e.d = g.v->>'$.d' \
    AND (e.created_at < g.v->>'$.created_at' OR e.created_at = g.v->>'$.created_at' AND e.id > g.v->>'$.id')";

/// The events that this batch has put in: above every number given before it.
const FRESH: &str = "(SELECT * FROM events NOT INDEXED WHERE seq > (SELECT last_seq FROM totals)) AS e";

/// The deletion requests of the group that nothing keeps out, as `g`.
fn requests() -> String {
    format!("(SELECT g.v FROM g WHERE json_array_length(g.v, '$.t') AND NOT {BLOCKED}) AS g")
}

/// The events that deletion requests of the group delete: by id, the author's own or gift wraps to
/// them; or by coordinates.
fn deleted() -> String {
    let requests = requests();
    format!(
        "SELECT e.seq FROM {requests} CROSS JOIN json_each(g.v, '$.i') AS i CROSS JOIN events AS e \
         ON e.id = i.value AND e.kind NOT IN (5, 62) AND (e.pubkey = g.v->>'$.pubkey' \
           OR e.kind = 1059 AND EXISTS (SELECT 1 FROM json_each(e.keys) AS k \
             WHERE k.value = 'p=' || (g.v->>'$.pubkey'))) \
         UNION ALL \
         SELECT e.seq FROM {requests} CROSS JOIN json_each(g.v, '$.a') AS a CROSS JOIN events AS e \
         ON e.pubkey = g.v->>'$.pubkey' AND e.kind = a.value->>0 AND e.d = a.value->>1 \
         AND e.created_at <= g.v->>'$.created_at'"
    )
}

/// Remembers the deletions that the group's requests ask for, of those `which` selects.
fn remember(which: &str) -> String {
    format!(
        "INSERT INTO deletions (key, until) SELECT t.value->>0, max(t.value->>1) \
         FROM g CROSS JOIN json_each(g.v, '$.t') AS t WHERE {which} GROUP BY t.value->>0 \
         ON CONFLICT (key) DO UPDATE SET until = excluded.until WHERE excluded.until > until"
    )
}

/// Puts events in. The winner among replaceable events of one group comes first, and of results of one
/// provider the one that came first; the unique index ignores the rest. `part` is what they are to their job:
/// its id, the state they bring it to, the kind of request they answer.
fn insert(part: [&str; 3], keys: &str, private: &str, from: &str, order: &str) -> String {
    let [job, step, asked] = part;
    format!(
        "INSERT OR IGNORE INTO events \
         (seq, id, tie, pubkey, kind, shelf, created_at, expires_at, d, keys, job, step, asked, came_ms, json) \
         SELECT t.last_seq + (g.v->>'$.n'), g.v->>'$.id', g.v->>'$.o', g.v->>'$.pubkey', g.v->>'$.kind', \
           (g.v->>'$.s') + ({private}) * {PRIVATE}, g.v->>'$.created_at', g.v->>'$.x', g.v->>'$.d', \
           {keys}, {job}, {step}, {asked}, g.v->>'$.m', \
           CAST(substr(CAST(?2 AS BLOB), g.v->>'$.f[0]', g.v->>'$.f[1]') AS TEXT) \
         FROM g CROSS JOIN totals AS t {from} AND NOT {BLOCKED} ORDER BY {order}"
    )
}

/// What an event says that it is to a job.
const PART: [&str; 3] = ["g.v->>'$.j.i'", "g.v->>'$.j.z'", "iif(g.v->>'$.j.r', g.v->>'$.j.n', NULL)"];

/// A label (NIP-32) of a result that is held gets a tag `@=PUBKEY` for the result's author.
const LABEL_KEYS: &str = "CASE WHEN g.v->'$.l' IS NULL THEN g.v->'$.k' ELSE (SELECT json_group_array(k) FROM ( \
    SELECT value AS k FROM json_each(g.v, '$.k') UNION \
    SELECT '@=' || r.pubkey FROM json_each(g.v, '$.l.e') AS l CROSS JOIN events AS r \
      ON r.id = l.value AND r.asked IS NOT NULL)) END";

fn insert_others(labels: bool) -> String {
    let keys = if labels { LABEL_KEYS } else { "g.v->'$.k'" };
    // Newest first, but of requests in the order they came.
    let order = "iif(g.v->>'$.j.i' IS NULL, -(g.v->>'$.created_at'), g.v->>'$.n'), g.v->>'$.id'";
    insert(PART, keys, "false", "WHERE true", order)
}

/// Answers are held to what their job's request says, if that is known. Of those that are `restored` the ones that
/// do not agree with it are no part of the job.
fn insert_answers(restored: bool) -> String {
    let private = format!("(coalesce({}, false))", jobs::ENCRYPTED);
    let keys = format!(
        "CASE WHEN {private} THEN (SELECT json_group_array(k) FROM (SELECT value AS k \
           FROM json_each(g.v, '$.k') UNION SELECT '>=' || (g.v->>'$.pubkey') UNION SELECT '>=' || (g.v->>'$.j.c'))) \
         ELSE g.v->'$.k' END"
    );
    let [job, step, asked] = PART;
    let step = format!("iif({}, NULL, {step})", jobs::uncounted());
    if restored {
        let of_job = |what: &str| {
            format!("iif(j.id IS NULL AND EXISTS (SELECT 1 FROM jobs AS o WHERE o.id = g.v->>'$.j.i'), NULL, {what})")
        };
        let (job, step, asked) = (of_job(job), of_job(&step), of_job(asked));
        let from = format!("LEFT JOIN jobs AS j ON j.id = g.v->>'$.j.i' AND {} WHERE true", jobs::agrees());
        return insert([&job, &step, &asked], &keys, &private, &from, "g.v->>'$.n'");
    }
    let from = format!(
        "LEFT JOIN jobs AS j ON j.id = g.v->>'$.j.i' WHERE {} IS NULL AND NOT (g.v->>'$.j.r' IS TRUE AND {})",
        jobs::disagrees(),
        jobs::CANCELLED
    );
    insert([job, &step, asked], &keys, &private, &from, "g.v->>'$.n'")
}

/// What became of each event: `ID FATE`, as [`decode`](super::write::decode) reads it.
fn outcomes(requests: bool, answers: bool) -> String {
    let first = if requests { format!("WHEN {} THEN e.seq || ' first'", jobs::FIRST_OF_JOB) } else { String::new() };
    let (refused, of_job) = if answers {
        let disagrees = jobs::disagrees();
        let refused = format!(
            "WHEN e.seq IS NULL AND g.answer AND {disagrees} IS NOT NULL THEN {disagrees} \
             WHEN e.seq IS NULL AND g.v->>'$.j.r' IS TRUE AND {} THEN 'cancelled'",
            jobs::CANCELLED
        );
        (refused, "LEFT JOIN jobs AS j ON j.id = g.v->>'$.j.i'")
    } else {
        (String::new(), "")
    };
    format!(
        "WITH g AS MATERIALIZED (SELECT jsonb(value) AS v, false AS answer FROM json_each(?1) \
           UNION ALL SELECT jsonb(value), true FROM json_each(?2)) \
         SELECT (g.v->>'$.id') || ' ' || CASE WHEN {BLOCKED} THEN 'deleted' {refused} \
         WHEN e.seq IS NULL THEN 'superseded' {first} WHEN e.shelf < {PRIVATE} THEN e.seq ELSE e.seq || ' private' END AS r \
         FROM g LEFT JOIN events AS e ON e.id = g.v->>'$.id' {of_job}"
    )
}

/// Keys of the list vanish, those whose `v` is set.
fn vanishing() -> Vec<String> {
    // A request that is here already says nothing of what came after it.
    let from = "FROM g WHERE g.v->>'$.v' AND NOT EXISTS (SELECT 1 FROM events AS e WHERE e.id = g.v->>'$.id')";
    let insert = format!(
        "INSERT INTO vanishing (pubkey, until) SELECT g.v->>'$.pubkey', max(g.v->>'$.created_at') \
         {from} GROUP BY g.v->>'$.pubkey' \
         ON CONFLICT (pubkey) DO UPDATE SET until = max(until, excluded.until), shelf = 0"
    );
    [insert].into_iter().chain(dealings::vanish(&format!("SELECT g.v->>'$.pubkey' {from}"))).collect()
}

/// What deletions do whose requests are not there; ?1 is their list.
pub fn deletions() -> Vec<String> {
    let requests = requests();
    let own = [remember("true"), jobs::cancel(&requests), jobs::spent(&requests)];
    let all = own.into_iter().chain(jobs::remove(&deleted())).chain(vanishing());
    all.map(|sql| format!("{LISTED}{sql}")).collect()
}

fn write(shape: Shape) -> Vec<(Arc<str>, Of)> {
    let listed = |sql: String| (Arc::from(format!("{LISTED}{sql}")), Of::Others);
    let plain = |sql: String| (Arc::from(sql), Of::Nothing);
    let mut list: Vec<(Arc<str>, Of)> = Vec::new();
    // Who vanishes takes his deletion requests with him, so these come second and only if they stand.
    if shape.vanishes {
        list.push(listed(remember("g.v->>'$.v'")));
    }
    if shape.deletes {
        list.push(listed(jobs::cancelled(&requests())));
        list.push(listed(remember(&format!("g.v->>'$.v' IS NULL AND NOT {BLOCKED}"))));
        list.push(listed(jobs::cancel(&requests())));
        list.push(listed(jobs::spent(&requests())));
        list.extend(jobs::remove(&deleted()).map(listed));
    }
    if shape.vanishes {
        list.extend(vanishing().into_iter().map(listed));
    }
    if shape.replaces {
        let replaced = format!("{REPLACED} WHERE NOT {BLOCKED}");
        list.push(listed(jobs::delete_tags(&replaced)));
        list.push(listed(jobs::delete_events(&replaced)));
    }
    if shape.others {
        let (sql, _) = listed(insert_others(shape.labels));
        list.push((sql, Of::OthersTexts));
    }
    if shape.labels {
        list.push(listed(votes::take()));
    }
    if shape.requests {
        list.push(listed(jobs::request()));
    }
    if shape.requests && shape.early {
        list.extend(jobs::reconcile().into_iter().map(|(sql, of)| (Arc::from(sql), of)));
    }
    if shape.answers {
        let (sql, _) = listed(insert_answers(shape.restores));
        list.push((sql, Of::AnswersTexts));
        // Of what is restored nothing is too much, and nothing is counted again.
        list.extend((!shape.restores).then(|| plain(jobs::trim(FRESH))));
        list.push(plain(jobs::answer(FRESH)));
        list.extend((!shape.restores).then(|| plain(jobs::count_unasked(FRESH))));
        let dealt = dealings::statements(&dealings::dealt(FRESH), Of::Nothing);
        list.extend(dealt.map(|(sql, of)| (Arc::from(sql), of)));
    }
    list.push(plain(format!(
        "INSERT OR IGNORE INTO tags (tag, shelf, created_at, tie, seq, expires_at) \
         SELECT k.value, e.shelf, e.created_at, e.tie, e.seq, e.expires_at \
         FROM {FRESH} CROSS JOIN json_each(e.keys) AS k"
    )));
    let moved = (shape.requests || shape.answers || shape.deletes).then(|| jobs::moved(FRESH, shape.deletes));
    let counted = counts::count_group(FRESH, moved.as_deref(), shape.answers);
    list.push((Arc::from(counted), if shape.deletes { Of::FlushOthers } else { Of::Flush }));
    if shape.deletes || shape.requests && shape.early {
        list.push(plain(jobs::forget("0")));
    }
    list.extend(said(shape));
    list
}
