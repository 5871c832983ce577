//! Reading what a decision needs: [`Needed`] becomes statements, and their rows become [`Facts`].
//!
//! Whatever is needed is looked up by an index, so what is read follows the group and what its events are about, never
//! the size of the table.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::jobs::each_key;
use super::{PRIVATE, Param, Rows, Statement, StoreError, form, hex, hex_or_null, is_by, is_id, json, vanish};
use crate::ledger::{Answer, Assumed, Facts, Held, Job, MAX_EARLY, Needed, Place, Provider, Request, Served};
use crate::market::State;
use crate::market::dealing::{Dealing, KNOWN_AT};
use crate::nostr::{EventId, PublicKey, Tag, kind};
use crate::trees::Gather;

/// Answers that came before their requests, of all these of a group: those of one job always fit.
const MAX_ANSWERS: u64 = MAX_EARLY;
/// Answers that are looked at for whom to tell that their jobs were cancelled.
const MAX_TOLD: u64 = 1000;
/// Bytes of what is long in the rows that one statement reads, where it reads several: of tags, or of who was asked. In
/// memory short tags take fifteen times that.
const MAX_BYTES: usize = 1_000_000;
/// Bytes of the searchable tags of an answer that came before its request: of all answers of one job they fit.
const MAX_ANSWER_BYTES: usize = MAX_BYTES / MAX_EARLY as usize;
/// Tags of such an answer, and their bytes, among which those that can be searched for are looked for.
const MAX_ANSWER_TAGS: usize = MAX_ANSWER_BYTES / 10;
const MAX_ANSWER_TEXT: usize = 16 * MAX_ANSWER_BYTES;

/// What is asked for together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    ById,
    ByTarget,
    ByPlace,
    ByNumber,
    Vanishing,
    Deletions,
    Jobs,
    Answers,
    Answered,
    Dealt,
}

impl Part {
    const ALL: [Self; 10] = [
        Self::ById,
        Self::ByTarget,
        Self::ByPlace,
        Self::ByNumber,
        Self::Vanishing,
        Self::Deletions,
        Self::Jobs,
        Self::Answers,
        Self::Answered,
        Self::Dealt,
    ];

    /// Whether anything of it is needed; `early` says whether answers may be there whose request is not known.
    fn is_needed(self, needed: &Needed, early: bool) -> bool {
        match self {
            Self::ById => known(needed).next().is_some(),
            Self::ByTarget => !needed.cancels.is_empty(),
            Self::ByPlace => !needed.places.is_empty(),
            Self::ByNumber | Self::Vanishing => !needed.seqs.is_empty(),
            Self::Deletions => !needed.deletions.is_empty(),
            Self::Jobs => !needed.jobs.is_empty() || !needed.seqs.is_empty() || !needed.cancels.is_empty(),
            Self::Answers => early && !needed.requests.is_empty(),
            Self::Answered => !needed.cancels.is_empty(),
            Self::Dealt => !needed.dealings.is_empty() || early && !needed.requests.is_empty(),
        }
    }

    fn statement(self, needed: &Needed) -> Statement {
        match self {
            Self::ById => {
                let ids: Vec<&EventId> = known(needed).collect();
                let sql = format!("SELECT json_array({}) AS r FROM {}", event_that_stays(), events_that(&by_id()));
                Statement::new(sql, vec![json(&ids)])
            }
            Self::ByTarget => events(&is_target(), &may_delete(), json(&needed.cancels)),
            Self::ByPlace => {
                let place = |((author, kind, key), until): (&'_ Place, &'_ u64)| (*author, *kind, key.clone(), *until);
                let places: Vec<_> = needed.places.iter().map(place).collect();
                events(&at_place(), "e.created_at <= v.value->>3", json(&places))
            }
            Self::ByNumber => events("e.seq = v.value", "true", json(&needed.seqs)),
            Self::Vanishing => Statement::new(
                format!(
                    "SELECT DISTINCT {} AS r FROM json_each(?1) AS v CROSS JOIN events AS e ON e.seq = v.value \
                     CROSS JOIN vanishing AS w ON w.pubkey = e.pubkey",
                    hex("w.pubkey")
                ),
                vec![json(&needed.seqs)],
            ),
            Self::Deletions => Statement::new(
                "SELECT t.until || ' ' || t.key AS r FROM json_each(?1) AS v CROSS JOIN deletions AS t ON t.key = v.value",
                vec![json(&needed.deletions)],
            ),
            Self::Jobs => jobs(needed),
            Self::Answers => answers(needed),
            Self::Answered => Statement::new(
                format!(
                    "SELECT DISTINCT {id} || ' ' || {pubkey} AS r FROM (SELECT j.id, e.pubkey \
                     FROM json_each(?1) AS v CROSS JOIN jobs AS j \
                       ON j.id = unhex(v.value->>0) AND {customers} AND j.state < {cancelled} \
                     CROSS JOIN {ANSWERS} LIMIT {MAX_TOLD})",
                    id = hex("id"),
                    pubkey = hex("pubkey"),
                    customers = is_customers("j"),
                    cancelled = State::Cancelled.rank()
                ),
                vec![json(&needed.cancels)],
            ),
            Self::Dealt => dealt(needed),
        }
    }
}

/// The events that may be removed by their id: of these alone the tags are needed, which may be long.
fn targets(needed: &Needed) -> BTreeSet<&EventId> {
    needed.cancels.iter().map(|(id, _)| id).gather()
}

/// The others.
fn known(needed: &Needed) -> impl Iterator<Item = &EventId> {
    let targets = targets(needed);
    needed.ids.iter().filter(move |id| !targets.contains(id))
}

/// Whether the event `e` has the id `v`.
fn by_id() -> String {
    is_id("e", "unhex(v.value)")
}

/// Whether the event `e` is the one that `v` deletes: an id, and whose deletion it is.
fn is_target() -> String {
    is_id("e", "unhex(v.value->>0)")
}

/// Whether a job is of who deletes it; the operator is nobody, and all are his.
fn is_customers(job: &str) -> String {
    format!("({job}.customer = unhex(v.value->>1) OR v.value->>1 IS NULL)")
}

/// Whether who deletes it may: the author of any but a deletion, whom a gift wrap names, and the operator.
fn may_delete() -> String {
    format!(
        "(v.value->>1 IS NULL OR e.kind NOT IN ({deletion}, {vanish}) AND (e.pubkey = unhex(v.value->>1) OR e.kind = {wrap} AND EXISTS ( \
           SELECT 1 FROM tags AS t WHERE t.tag = unhex('{p:02x}00' || (v.value->>1)) AND t.shelf = e.shelf \
             AND t.created_at = e.created_at AND t.tie = e.tie AND t.seq = e.seq)))",
        deletion = kind::DELETION,
        vanish = kind::VANISH,
        wrap = kind::GIFT_WRAP,
        p = b'p',
    )
}

/// Whether the event `e` has the place `v`: an author, a kind and an index key.
fn at_place() -> String {
    format!("{} AND e.kind = v.value->>1 AND e.place = unhex(v.value->>2)", is_by("e", "unhex(v.value->>0)"))
}

/// The answers `e` of the job `j` that are held.
const ANSWERS: &str = "tags AS t ON t.tag = unhex('6500' || hex(j.id)) \
    CROSS JOIN events AS e ON e.seq = t.seq AND e.job = j.id AND e.id <> j.id";

/// The answers `e` to the requests ?1, each with who asks and when, that are held and whose job `j` is not known by its
/// request; none that vanishes, and none to a request that its author has deleted.
fn early() -> String {
    format!(
        "json_each(?1) AS v CROSS JOIN jobs AS j ON j.id = unhex(v.value->>0) AND j.kind IS NULL \
           AND NOT EXISTS (SELECT 1 FROM deletions AS x WHERE x.until >= v.value->>2 \
             AND x.key IN ((v.value->>1) || ' *', (v.value->>1) || ' ' || (v.value->>0))) \
         CROSS JOIN {ANSWERS} AND {}",
        vanish::stays("e")
    )
}

/// The event `e`, as far as a decision needs it that does not remove it.
fn event_that_stays() -> String {
    event_with("json_array()", "NULL")
}

/// The same with its tags and its other index keys, as JSON.
fn event_with(tags: &str, extra: &str) -> String {
    let ([id, pubkey], [job, place]) = (["e.id", "e.pubkey"].map(hex), ["e.job", "e.place"].map(hex_or_null));
    format!(
        "e.seq, {id}, {pubkey}, e.kind, e.created_at, e.shelf >= {PRIVATE}, {job}, e.asked IS NOT NULL, {place}, \
         {tags}, {extra}"
    )
}

/// Asks for what `needed` names; `early` says whether answers may be held whose request is not known
/// ([`Totals::early`](super::counts::Totals::early)). Decode the answer with [`decode`].
pub fn statements(needed: &Needed, early: bool) -> Vec<Statement> {
    parts(needed, early).map(|part| part.statement(needed)).collect()
}

fn parts(needed: &Needed, early: bool) -> impl Iterator<Item = Part> {
    Part::ALL.into_iter().filter(move |part| part.is_needed(needed, early))
}

/// Reads `columns` of each row, unless `bytes` of all rows together are more than [`MAX_BYTES`]: then rows are empty. What
/// one row has is always read.
fn bounded(columns: &str, bytes: &str, from: &str) -> String {
    let fits = format!("(SELECT count(nullif({bytes}, 0)) < 2 OR sum({bytes}) <= {MAX_BYTES} FROM {from})");
    format!("SELECT iif({fits}, json_array({columns}), '') AS r FROM {from}")
}

/// The events `e` that one of the list `v` is.
fn events_that(is: &str) -> String {
    format!("json_each(?1) AS v CROSS JOIN events AS e ON {is}")
}

/// What is to be known of them if they may be removed; those that `goes` does not hold for stay.
fn events(is: &str, goes: &str, which: Param) -> Statement {
    let bytes = format!("iif({goes}, octet_length(e.tags) + ifnull(octet_length(e.extra), 0), 0)");
    let event = event_with(
        &format!("json(iif({goes}, {}, '[]'))", form::tags("e")),
        &format!("iif({goes}, json(e.extra), NULL)"),
    );
    Statement::new(bounded(&event, &bytes, &events_that(is)), vec![which])
}

/// Answers that came before the requests that are here.
fn answers(needed: &Needed) -> Statement {
    // What is long is not parsed to learn that it is.
    let searchable = format!(
        "iif(octet_length(e.tags) <= {MAX_ANSWER_TEXT} AND json_array_length({tags}) <= {MAX_ANSWER_TAGS}, \
           (SELECT json_group_array(json_array(t.value->>0, t.value->>1)) FROM json_each({tags}) AS t \
             WHERE length(t.value->>0) = 1 AND t.value->>1 IS NOT NULL), NULL)",
        tags = form::tags("e")
    );
    // An answer has one, and no string has an unescaped quote in it.
    let named = "substr(e.tags, nullif(instr(e.tags, '[\"p\",\"'), 0) + 6, 64)";
    let key = "iif(a.named NOT GLOB '*[^0-9a-f]*' AND length(a.named) = 64, a.named, NULL)";
    let (is_short, event) = (format!("octet_length(a.tags) <= {MAX_ANSWER_BYTES}"), event_that_stays());
    let sql = format!(
        "SELECT json_array(json(a.event), a.came_ms, a.step, a.asked, {key}, iif({is_short}, json(a.tags), NULL)) AS r \
         FROM (SELECT json_array({event}) AS event, e.created_at * 1000 + e.delay_ms AS came_ms, e.step, e.asked, \
             {named} AS named, {searchable} AS tags \
           FROM (SELECT e.seq FROM {} LIMIT {}) AS n CROSS JOIN events AS e ON e.seq = n.seq ORDER BY e.seq) AS a",
        early(),
        MAX_ANSWERS + 1,
    );
    Statement::new(sql, vec![json(&needed.requests)])
}

/// Jobs by id, and those of events that may be removed.
fn jobs(needed: &Needed) -> Statement {
    let mut which = "SELECT unhex(value) AS id FROM json_each(?1)".to_owned();
    let mut params = vec![json(&needed.jobs)];
    let mut and = |id: &str, of: &str, list: Param| {
        params.push(list);
        which.push_str(&format!(" UNION SELECT {id} FROM json_each(?{}) AS v CROSS JOIN {of}", params.len()));
    };
    let of_event = |is: &str, goes: &str| format!("events AS e ON {is} WHERE e.job IS NOT NULL AND {goes}");
    if !needed.cancels.is_empty() {
        let own = format!("jobs AS c ON c.id = unhex(v.value->>0) AND {}", is_customers("c"));
        and("c.id", &own, json(&needed.cancels));
        and("e.job", &of_event(&is_target(), &may_delete()), json(&needed.cancels));
    }
    if !needed.seqs.is_empty() {
        and("e.job", &of_event("e.seq = v.value", "true"), json(&needed.seqs));
    }
    let [customer, providers, first] = ["j.customer", "j.providers", "j.first"].map(hex_or_null);
    let columns = format!(
        "{}, j.held, j.until, j.state, j.kind, {customer}, {providers}, j.encrypted, json(j.unasked), \
         j.asked_ms, j.reported_ms, j.answered_ms, {first}",
        hex("j.id")
    );
    let bytes = "ifnull(2 * octet_length(j.providers), 0) + octet_length(j.unasked)";
    Statement::new(bounded(&columns, bytes, &format!("({which}) AS n CROSS JOIN jobs AS j ON j.id = n.id")), params)
}

/// What providers have done for customers, and how well these are known.
fn dealt(needed: &Needed) -> Statement {
    Statement::new(
        format!(
            "WITH p (customer, provider) AS MATERIALIZED ( \
               SELECT unhex(value->>0), unhex(value->>1) FROM json_each(?2) \
               UNION SELECT unhex(v.value->>1), e.pubkey FROM {early} AND e.step IS NOT NULL) \
             SELECT json_array('provider', {provider}, o.results, o.errors, o.seen, o.active) AS r \
               FROM (SELECT DISTINCT provider FROM p) AS n CROSS JOIN providers AS o ON o.pubkey = n.provider \
             UNION ALL SELECT json_array('dealing', {of}, {by}, d.results, d.errors, d.speed, d.known) \
               FROM p CROSS JOIN dealings AS d ON d.customer = p.customer AND d.provider = p.provider \
             UNION ALL SELECT json_array('served', {customer}, EXISTS (SELECT 1 FROM dealings AS d \
                 WHERE d.customer = n.customer AND d.known = 1), (SELECT json_group_array({by}) FROM ( \
                   SELECT d.provider FROM dealings AS d WHERE d.customer = n.customer AND d.results > 0 LIMIT {KNOWN_AT}) AS d)) \
               FROM (SELECT DISTINCT customer FROM p) AS n",
            early = early(),
            provider = hex("o.pubkey"),
            of = hex("d.customer"),
            by = hex("d.provider"),
            customer = hex("n.customer"),
        ),
        vec![json(&needed.requests), json(&needed.dealings)],
    )
}

/// Makes sure of what is assumed, if something is: fails, and with it the whole batch, where some of it is there
/// ([`StoreError::is_surprise`]).
pub fn assume(assumed: &Assumed) -> Option<Statement> {
    let mut terms: Vec<String> = Vec::new();
    let mut params: Vec<Param> = Vec::new();
    let mut none = |is_empty: bool, list: Param, found: &str| {
        if !is_empty {
            params.push(list);
            terms.push(format!("EXISTS (SELECT 1 FROM json_each(?{}) AS v CROSS JOIN {found})", params.len()));
        }
    };
    let Assumed { ids, places, deletions, jobs, providers, dealings, customers } = assumed;
    none(ids.is_empty(), json(ids), &format!("events AS e ON {}", by_id()));
    none(places.is_empty(), json(places), &format!("events AS e ON {}", at_place()));
    none(deletions.is_empty(), json(deletions), "deletions AS t ON t.key = v.value");
    none(jobs.is_empty(), json(jobs), "jobs AS j ON j.id = unhex(v.value)");
    none(providers.is_empty(), json(providers), "providers AS p ON p.pubkey = unhex(v.value)");
    let pair = "dealings AS d ON d.customer = unhex(v.value->>0) AND d.provider = unhex(v.value->>1)";
    none(dealings.is_empty(), json(dealings), pair);
    none(customers.is_empty(), json(customers), "dealings AS d ON d.customer = unhex(v.value)");
    let sql = || format!("UPDATE totals SET writer = NULL WHERE {}", terms.join(" OR "));
    (!terms.is_empty()).then(|| Statement::new(sql(), params))
}

/// What the answer to [`statements`] says; none when it is more than is read at once. What concerns one event always can
/// be read, unless it deletes others, or an import has brought more answers to its job than are taken before a request.
pub fn decode(needed: &Needed, early: bool, rows: &Rows) -> Result<Option<Facts>, StoreError> {
    let parts: Vec<Part> = parts(needed, early).collect();
    if parts.len() != rows.len() {
        return Err(StoreError::new("facts were answered with another number of results"));
    }
    let mut facts = Facts::default();
    for (part, rows) in parts.into_iter().zip(rows) {
        let too_many = part == Part::Answers && rows.len() as u64 > MAX_ANSWERS;
        if too_many || rows.first().is_some_and(String::is_empty) {
            return Ok(None);
        }
        for row in rows {
            take(part, row, &mut facts).ok_or_else(|| StoreError::new(format!("facts row: {row}")))?;
        }
    }
    Ok(Some(facts))
}

fn array<T: DeserializeOwned>(row: &str) -> Option<T> {
    serde_json::from_str(row).ok()
}

fn take(part: Part, row: &str, facts: &mut Facts) -> Option<()> {
    match part {
        Part::ById | Part::ByTarget | Part::ByPlace | Part::ByNumber => take_event(row, facts),
        Part::Vanishing => {
            facts.vanishing.insert(PublicKey::parse(row)?);
            Some(())
        }
        Part::Deletions => {
            let (until, key) = row.split_once(' ')?;
            facts.deletions.insert(key.to_owned(), until.parse().ok()?);
            Some(())
        }
        Part::Jobs => take_job(row, facts),
        Part::Answers => {
            type Row = (EventRow, u64, Option<u8>, Option<u16>, Option<PublicKey>, Option<Vec<Tag>>);
            let (held, came_ms, state, kind, names, tags) = array::<Row>(row)?;
            let (mut held, is_long): (Held, bool) = (held.into(), tags.is_none());
            held.tags = tags.unwrap_or_default();
            let (job, answer) = (held.job?, Answer { held, came_ms, state, kind, names, is_long });
            facts.answers.entry(job).or_default().push(answer);
            Some(())
        }
        Part::Answered => {
            let (job, key) = row.split_once(' ')?;
            facts.answered.entry(EventId::parse(job)?).or_default().insert(PublicKey::parse(key)?);
            Some(())
        }
        Part::Dealt => take_dealt(row, facts),
    }
}

/// What [`event`] selects.
#[derive(Deserialize)]
struct EventRow(
    u64,
    EventId,
    PublicKey,
    u16,
    u64,
    u8,
    Option<EventId>,
    u8,
    Option<String>,
    Vec<Tag>,
    Option<Vec<String>>,
);

impl From<EventRow> for Held {
    fn from(row: EventRow) -> Self {
        let EventRow(seq, id, pubkey, kind, created_at, private, job, is_result, place, tags, extra) = row;
        let (private, is_result, extra) = (private == 1, is_result == 1, extra.unwrap_or_default());
        Self { seq, id, pubkey, kind, created_at, private, job, is_result, place, tags, extra }
    }
}

fn take_event(row: &str, facts: &mut Facts) -> Option<()> {
    let held: Held = array::<EventRow>(row)?.into();
    if let Some(place) = &held.place {
        facts.places.insert((held.pubkey, held.kind, place.clone()), held.id);
    }
    // One that is asked for in several ways may come with its tags and without.
    let known = facts.events.get(&held.id);
    if known.is_none_or(|known| known.tags.is_empty() && known.extra.is_empty()) {
        facts.events.insert(held.id, held);
    }
    Some(())
}

fn take_job(row: &str, facts: &mut Facts) -> Option<()> {
    #[derive(Deserialize)]
    struct Row(
        EventId,
        u64,
        u64,
        u8,
        Option<u16>,
        Option<PublicKey>,
        Option<String>,
        Option<u8>,
        BTreeMap<PublicKey, u64>,
        Option<u64>,
        Option<u64>,
        Option<u64>,
        Option<PublicKey>,
    );
    let Row(
        id,
        held,
        until,
        state,
        kind,
        customer,
        providers,
        encrypted,
        unasked,
        asked_ms,
        reported_ms,
        answered_ms,
        first,
    ) = array(row)?;
    let asked = kind.zip(customer).map(|(kind, customer)| Request {
        kind,
        customer,
        providers: providers.map(|all| each_key(&all).collect()),
        encrypted: encrypted == Some(1),
        came_ms: asked_ms.unwrap_or_default(),
    });
    facts.jobs.insert(id, Job { held, until, state, asked, unasked, reported_ms, answered_ms, first });
    Some(())
}

fn take_dealt(row: &str, facts: &mut Facts) -> Option<()> {
    if row.starts_with("[\"provider\"") {
        let (_, key, results, errors, seen, active) = array::<(String, PublicKey, u64, u64, u64, u64)>(row)?;
        facts.providers.insert(key, Provider { results, errors, seen, active });
    } else if row.starts_with("[\"dealing\"") {
        type Row = (String, PublicKey, PublicKey, u64, u64, u64, u8);
        let (_, customer, provider, results, errors, speed, known) = array::<Row>(row)?;
        facts.dealings.insert((customer, provider), Dealing { known: known == 1, results, errors, speed });
    } else {
        let (_, customer, known, by) = array::<(String, PublicKey, u8, Vec<PublicKey>)>(row)?;
        facts.served.insert(customer, Served { known: known == 1, by: by.into_iter().gather() });
    }
    Some(())
}
