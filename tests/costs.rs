//! What operations cost on real D1, by its own meter, on a table of 100,000 events: rows are what an
//! operator pays for, so their budgets are behaviour.

mod common;

use common::d1::D1;
use common::events::{Author, NOW, new_event};
use common::ledger::{new_group, position, prepare_kept, save};
use common::{Database, totals, write_after};
use nexus::ledger::{Memory, Mode, NewEvent, RememberedDeletion, Swept, Work};
use nexus::market::job::NIP90;
use nexus::market::retention::Kept;
use nexus::nostr::{Event, EventId, Filter, PublicKey, Signature, Tag, Values};
use nexus::store::cost;
use nexus::store::counts::Flush;
use nexus::store::log::Write;
use nexus::store::read::{self, Viewer};
use nexus::store::{Bill, Statement, facts, jobs, market, sweep, write};
use sha2::{Digest, Sha256};

const EVENTS: u64 = 100_000;
const GROUP: u64 = 1000;
/// Of which some 600 are the event itself.
const BYTES_EACH: u64 = 1000;

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

fn key(n: u64) -> PublicKey {
    PublicKey::new(hash(&format!("key {n}")))
}

/// The `n`th event of the table. The store does not verify, so it is not signed.
fn event(n: u64) -> Event {
    let id = |n: u64| EventId::new(hash(&format!("event {n}")));
    let job = id(n - n % 4).to_string();
    let (customer, provider) = (key(n / 4 % 500), key(1000 + n / 4 % 50));
    let answers = |status: &str| {
        vec![vec!["e".into(), job], vec!["p".into(), customer.to_string()], vec!["status".into(), status.into()]]
    };
    let (kind, author, tags): (u16, PublicKey, Vec<Vec<String>>) = match n % 4 {
        0 if n.is_multiple_of(400) => {
            (31990, provider, vec![vec!["d".into(), n.to_string()], vec!["k".into(), "5050".into()]])
        }
        0 => (5050, customer, vec![vec!["i".into(), n.to_string()], vec!["p".into(), provider.to_string()]]),
        1 => (7000, provider, answers("processing")),
        2 => (7000, provider, answers("partial")),
        _ => (6050, provider, answers("success")),
    };
    Event {
        id: id(n),
        pubkey: author,
        created_at: NOW - EVENTS + n,
        kind,
        tags: tags.into_iter().map(|tag| Tag::new(tag).unwrap()).collect(),
        content: "x".repeat(300),
        sig: Signature::new([0; 64]),
    }
}

/// On its way into the store, to expire as the settings have it when they are not touched.
fn new(event: &Event) -> NewEvent {
    let retention = common::world::config(&[]).retention;
    let expires_at = retention.expires_at(&NIP90, event, event.expiration().unwrap());
    NewEvent { expires_at, ..new_event(event) }
}

/// How long events of jobs are kept where the settings are not touched.
fn kept() -> Kept {
    common::world::config(&[]).retention.of_jobs(&NIP90)
}

fn filled() -> D1 {
    let mut d1 = D1::start();
    for start in (0..EVENTS).step_by(usize::try_from(GROUP).unwrap()) {
        let group: Vec<NewEvent> = (start..start + GROUP).map(|n| new(&event(n))).collect();
        let write = next(&mut d1);
        let (statements, _) = prepare_kept(&mut d1, &new_group(group), &Flush::default(), &kept(), &write);
        d1.run(&statements).unwrap();
    }
    d1
}

/// What some work costs: reading what has to be known, and writing.
fn bill(d1: &mut D1, work: &Work) -> Bill {
    let facts = d1.bill(&facts::statements(&work.needed(), true));
    let write = next(d1);
    let (statements, committed) = prepare_kept(d1, work, &Flush::default(), &kept(), &write);
    if committed.decision.changes.is_empty() {
        return facts;
    }
    let Bill { read, written } = d1.bill(&statements);
    Bill { read: facts.read + read, written }
}

/// The next write, of the log's one writer.
fn next(d1: &mut D1) -> Write {
    write_after(&totals(d1))
}

/// Reads. D1 counts a row for each stage it passes through, so a shape that one index covers costs the
/// rows it returns, one that goes through the tags twice that. Shapes that have to be put together from
/// ranges the filter does not name cost a small multiple; none depends on the size of the table.
fn queries(d1: &mut D1) {
    let n = EVENTS / 5 * 2 + 4;
    let request = event(n);
    let (customer, provider, id) = (request.pubkey, key(1000 + n / 4 % 50), request.id);
    let since = NOW - 50;
    // Rows read for each row returned; every value of the filter may cost ten besides.
    let (covered, tagged, composed) = (1, 2, 15);
    let shapes = [
        ("one id", format!(r#"{{"ids":["{id}"]}}"#), tagged),
        ("new jobs", format!(r#"{{"kinds":[5050],"since":{since}}}"#), covered),
        ("jobs for me", format!(r##"{{"kinds":[5050],"#p":["{}"],"limit":50}}"##, key(1004)), tagged),
        ("answers to my job", format!(r##"{{"kinds":[6050,7000],"#e":["{id}"],"#p":["{customer}"]}}"##), tagged),
        ("handlers of a kind", r##"{"kinds":[31990],"#k":["5050"],"limit":50}"##.to_owned(), tagged),
        ("all about a job", format!(r##"{{"#e":["{id}"]}}"##), composed),
        ("all of an author", format!(r#"{{"authors":["{provider}"],"limit":50}}"#), composed),
        ("an author's results", format!(r#"{{"authors":["{provider}"],"kinds":[6050],"limit":50}}"#), covered),
        ("the newest of a kind", r#"{"kinds":[6050],"limit":50}"#.to_owned(), covered),
        ("the newest of all", r#"{"limit":50}"#.to_owned(), composed),
        ("nothing there", r##"{"#t":["nowhere"]}"##.to_owned(), composed),
        ("a page further back", format!(r#"{{"kinds":[7000],"until":{},"limit":100}}"#, NOW - EVENTS / 2), covered),
    ];
    // Who has proven a key is also looked for among what is for him alone.
    let (nobody, proven) = (Values::default(), Values::from([customer]));
    println!("{:<22} {:>8} {:>6} {:>7}", "shape", "returned", "read", "budget");
    for ((name, filter, per_row), keys) in shapes.iter().flat_map(|shape| [(shape, &nobody), (shape, &proven)]) {
        let viewer = Viewer { keys, profile: &NIP90, kept: &kept(), now: NOW };
        let filter = Filter::parse(filter).unwrap();
        let limit = filter.limit.unwrap_or(500);
        let mut statements = read::newest_of_few(&filter, limit, 4_000_000, &viewer);
        let private = 30 * (statements.len() as u64 - 1);
        let mut rows = d1.run(&statements).unwrap();
        if rows.iter().any(|rows| read::is_of_many(rows)) {
            let whole = read::newest(&filter, limit, 4_000_000, &viewer);
            rows = d1.run(&whole).unwrap();
            statements.extend(whole);
        }
        let returned = rows.concat().len() as u64;
        let Bill { read, written } = d1.bill(&statements);
        let budget = per_row * returned.max(1) + 10 * filter.value_count().max(1) as u64 + private;
        println!("{name:<22} {returned:>8} {read:>6} {budget:>7}");
        assert!(returned > 0 || *name == "nothing there", "{name} finds nothing");
        assert_eq!(written, 0);
        assert!(read <= budget, "{name}: {read} rows read for {returned} returned");
    }
}

/// What was stored after a number, by walking the log: for a gateway that has missed it, and looked at alone, as
/// docs/BACKENDS.md reckons by it.
fn arrivals(d1: &mut D1) {
    let step = 1000;
    let missed = read::log(EVENTS / 2, EVENTS / 2 + step);
    let looked_at =
        "SELECT e.seq AS r FROM events AS e WHERE e.seq > ?1 AND e.seq <= ?2 AND e.kind = 31990 ORDER BY e.seq";
    let looked_at = Statement { sql: looked_at.into(), params: missed.params.clone() };
    for (name, statement, rows_each) in [("missed", missed, 5), ("looked at", looked_at, 1)] {
        let Bill { read, written } = d1.bill(&[statement]);
        println!("{step} of the log, {name:<10} {read:>7} rows read");
        assert!(written == 0 && (step..=rows_each * step + 10).contains(&read), "{name}: {read}");
    }
}

/// Writes, one event alone in its group.
fn writes(d1: &mut D1) {
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let p = provider.key().to_string();
    let request = buyer.sign(
        5050,
        NOW,
        &[&["i", "q", "text"], &["p", &p], &["t", "bitcoin"], &["x", "1"], &["bid", "1000"]],
        &"x".repeat(200),
    );
    let id = request.id.to_string();
    let customer = buyer.key().to_string();
    let about: &[&[&str]] = &[&["e", &id], &["p", &customer], &["status", "processing"]];
    let feedback = |content: &str| provider.sign(7000, NOW, about, content);
    let handler = |time, content: &str| provider.sign(31990, time, &[&["d", "a"], &["k", "5050"]], content);
    let note = buyer.sign(1, NOW, &[&["t", "x"]], "");
    let open = buyer.sign(5050, NOW, &[&["t", "open"]], "");
    let result = |by: &Author| by.answer(6050, &open, &[]);
    let label =
        |time, word: &str| buyer.sign(1985, time, &[&["L", "quality"], &["l", word, "quality"], &["p", &p]], "");
    let cases = [
        ("job request, 4 tags", request.clone(), 10),
        ("the same again", request, 0),
        // The first in an hour notes that the provider is active.
        ("feedback, 2 tags", feedback("1"), 10),
        ("further feedback", feedback("2"), 8),
        // The first for a customer notes the dealing.
        ("result, 2 tags", provider.sign(6050, NOW, about, ""), 12),
        ("job request, 1 tag", open.clone(), 7),
        ("for the same customer", result(&provider), 11),
        ("of another provider", result(&Author::new(3)), 13),
        ("label, 3 tags", label(NOW, "good"), 9),
        ("newer label", label(NOW + 1, "bad"), 9),
        ("older label", label(NOW - 1, "fine"), 8),
        ("cancel", buyer.sign(5, NOW, &[&["e", &id]], ""), 13),
        ("note, 1 tag", note.clone(), 6),
        ("handler, 2 tags", handler(NOW, "1"), 8),
        ("newer handler", handler(NOW + 1, "2"), 11),
        ("older handler", handler(NOW - 1, "0"), 0),
        ("expiring, no tag", buyer.sign(1, NOW, &[&["expiration", &(NOW + 9).to_string()]], ""), 6),
        ("deletion of the note", buyer.sign(5, NOW, &[&["e", &note.id.to_string()]], ""), 9),
    ];
    println!("{:<22} {:>7} {:>6} {:>7}", "event", "written", "read", "budget");
    let (mut metered, mut taken) = (0, 0);
    // What another partition stores deletes here, and no more.
    let asked = buyer.sign(5050, NOW, &[&["t", "elsewhere"]], "");
    let (cancel, gone) =
        (buyer.delete(std::slice::from_ref(&asked)), Author::new(5).sign(62, NOW, &[&["relay", "ALL_RELAYS"]], ""));
    let tombstone = |event: &Event| new(event).tombstone().unwrap();
    let elsewhere = [
        ("job request, 1 tag", new(&asked), 7),
        ("cancel, elsewhere", tombstone(&cancel), 6),
        ("the same again", tombstone(&cancel), 0),
        ("vanish, elsewhere", tombstone(&gone), 3),
        ("the same again", tombstone(&gone), 0),
    ];
    let cases = cases.map(|(name, event, budget)| (name, new(&event), budget));
    for (name, new, budget) in cases.into_iter().chain(elsewhere) {
        let Bill { read, written } = bill(d1, &new_group([new.clone()]));
        println!("{name:<22} {written:>7} {read:>6} {budget:>7}");
        assert!(written <= budget, "{name}: {written} rows written");
        assert!(read <= 250, "{name}: {read} rows read");
        // What removes an event was paid with that one.
        metered += written;
        taken += cost::rows(&new, &kept());
        assert!(metered <= taken, "{name}: {taken} rows are taken, {metered} written");
    }
    let known = bill(d1, &new_group([new(&result(&Author::new(4)))]));
    println!("{:<22} {:>7} {:>6} {:>7}", "a customer is known", known.written, known.read, 19);
    assert!(known.written <= 19 && known.read <= 250, "{known:?}");
    let flush = Flush { number: 1, counts: [("x error".to_owned(), 3)].into(), ..Flush::default() };
    let write = next(d1);
    let counts = save(d1, &flush, &write);
    let counts = d1.bill(&counts);
    println!("{:<22} {:>7} {:>6} {:>7}", "counts alone", counts.written, counts.read, 1);
    assert!(counts.written <= 1 && counts.read <= 80, "{counts:?}");
    let request = |n: u64| {
        let n = n.to_string();
        let tags: &[&[&str]] = &[&["i", &n, "text"], &["p", &p], &["t", "bitcoin"], &["x", "1"], &["bid", "1000"]];
        new(&buyer.sign(5050, NOW, tags, &"x".repeat(200)))
    };
    let group: Vec<NewEvent> = (0..64).map(request).collect();
    let group = bill(d1, &new_group(group));
    println!("{:<22} {:>7} {:>6} {:>7}", "64 requests", group.written, group.read, 64 * 9 + 1);
    assert!(group.written <= 64 * 9 + 1, "{group:?}");
}

/// Removing what has expired, a step of it.
fn removals(d1: &mut D1) {
    let found = sweep::decode(&d1.run(&sweep::find(NOW + 86_400 - EVENTS + 1000, &kept())).unwrap()).unwrap();
    let looking = d1.bill(&sweep::find(NOW + 86_400 - EVENTS + 1000, &kept()));
    let removing = bill(d1, &Work::Removal(found.seqs.clone(), found.swept));
    let events = found.seqs.len() as u64;
    println!("{:<22} {:>7} {:>6} {:>7}", "looking for expired", looking.written, looking.read, 1000);
    println!("{events:<4} {:<17} {:>7} {:>6} {:>7}", "removed", removing.written, removing.read, events * 12);
    assert!(events == sweep::STEP as u64 && looking.read <= 1000 && looking.written == 0);
    assert!(removing.written <= events * 12 && removing.read <= events * 40, "{removing:?}");
}

/// Bytes that are kept of an event, with its index entries and its part of a job. docs/OPERATE.md reckons by it.
fn size(d1: &mut D1) {
    let each = d1.size() / EVENTS;
    println!("{each} bytes an event");
    assert!((700..=BYTES_EACH).contains(&each), "{each} bytes an event");
}

#[test]
fn budgets_hold_on_a_hundred_thousand_events() {
    let mut d1 = filled();
    size(&mut d1);
    queries(&mut d1);
    arrivals(&mut d1);
    writes(&mut d1);
    removals(&mut d1);
}

/// What events have taken of the allowance when they came is never less than what D1 has metered, whatever removes them.
#[test]
fn events_take_what_they_write_and_their_removal() {
    let [author, provider] = [1, 2].map(Author::new);
    let values: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    let keys: Vec<String> = (0..100).map(|n| Author::numbered(n).key().to_string()).collect();
    let version = |n: u64| author.sign_list(30_000 + n as u16 % 2, &[&["d", "a"]], "t", &values, &n.to_string());
    let versions: Vec<Event> = (0..6).map(version).collect();
    let wraps = vec![author.sign_list(1059, &[], "p", &keys, ""), author.sign_list(4, &[], "p", &keys[..1], "")];
    let requests: Vec<Event> =
        [&[] as &[&[&str]], &[&["encrypted"]]].map(|tags| author.sign(5050, NOW, tags, "")).into();
    let answers = |request: &Event, from: u32| -> Vec<Event> {
        (from..from + 40).map(|n| Author::numbered(n).answer(6050, request, &[&["t", "a"], &["t", "b"]])).collect()
    };
    let labels: Vec<Event> = (1..5)
        .map(|n| {
            Author::new(n).sign(1985, NOW, &[&["L", "q"], &["l", "x", "q"], &["p", &provider.key().to_string()]], "")
        })
        .collect();
    let early: Vec<Event> = requests.iter().flat_map(|request| answers(request, 0)).collect();
    let late: Vec<Event> = requests.iter().flat_map(|request| answers(request, 40)).collect();
    let deletion = author.delete(&[&wraps[..], &requests[..1], &versions[4..]].concat());
    let elsewhere = [author.delete(&requests[1..]), provider.sign(62, NOW, &[&["relay", "ALL_RELAYS"]], "")];
    let vanish = author.sign(62, NOW, &[&["relay", "ALL_RELAYS"]], "");
    let mut d1 = D1::start();
    let (mut taken, mut metered) = (0, 0);
    let mut write = |what: &str, work: &Work, events: &[NewEvent]| {
        let by = next(&mut d1);
        let (statements, committed) = prepare_kept(&mut d1, work, &Flush::default(), &kept(), &by);
        taken += events.iter().map(|new| cost::rows(new, &kept())).sum::<u64>();
        taken += cost::unforeseen(&committed.decision.changes);
        metered += d1.bill(&statements).written;
        println!("{what:<22} {metered:>6} {taken:>6}");
        assert!(metered <= taken, "{what}: {taken} rows are taken, {metered} written");
    };
    let elsewhere: Vec<NewEvent> = elsewhere.iter().filter_map(|event| new(event).tombstone()).collect();
    let stored = |events: Vec<Event>| -> Vec<NewEvent> { events.iter().map(new).collect() };
    for (what, events) in [
        ("versions", stored(versions)),
        ("for some readers", stored(wraps)),
        ("early answers", stored(early)),
        ("requests", stored(requests)),
        ("late answers", stored(late)),
        ("labels", stored(labels)),
        ("a deletion", stored(vec![deletion])),
        ("two stored elsewhere", elsewhere),
        ("a request to vanish", stored(vec![vanish])),
    ] {
        for new in events {
            write(what, &new_group([new.clone()]), &[new]);
        }
    }
    for seqs in (1..=400).collect::<Vec<u64>>().chunks(20) {
        write("all goes", &Work::Removal(seqs.to_vec(), Swept::default()), &[]);
    }
    let forget = Swept { forget: NOW + 100 * 86_400, ..Swept::default() };
    write("jobs are forgotten", &Work::Removal(vec![], forget), &[]);
}

/// What is shown of a job is what it has, whatever else there is, and bounded however many have answered it.
#[test]
fn looking_at_a_job_reads_a_bounded_number_of_rows() {
    let mut d1 = D1::start();
    let buyer = Author::new(1);
    let requests: Vec<Event> = (0..40).map(|n| buyer.sign(5050, NOW, &[], &n.to_string())).collect();
    let store = |d1: &mut D1, events: Vec<Event>| {
        let (write, work) = (next(d1), new_group(events.iter().map(new).collect::<Vec<_>>()));
        let (statements, _) = prepare_kept(d1, &work, &Flush::default(), &kept(), &write);
        d1.run(&statements).unwrap();
    };
    let answers = |request: &Event, many: u32| -> Vec<Event> {
        let says = |n, kind| Author::numbered(n).answer(kind, request, &[&["status", "processing"]]);
        (0..many).flat_map(|n| [says(n, 7000), says(n, 6050)]).collect()
    };
    store(&mut d1, requests.clone());
    requests[2..].iter().for_each(|request| store(&mut d1, answers(request, 4)));
    let rows_read = |d1: &mut D1| {
        let Bill { read, written } = d1.bill(&jobs::find(&requests[0].id, &NIP90, NOW));
        assert_eq!(written, 0);
        read
    };
    let mut read = vec![rows_read(&mut d1)];
    for many in [1, 60, 200] {
        store(&mut d1, answers(&requests[0], many));
        read.push(rows_read(&mut d1));
    }
    store(&mut d1, vec![buyer.delete(&requests[..1])]);
    read.push(rows_read(&mut d1));
    println!("{read:?} rows read of a job without answers, with 2, 120 and 400 of them, and when it is cancelled");
    assert!(read[0] <= 20 && read[1] <= 40 && read.iter().all(|read| *read <= 600), "{read:?}");
    assert!(read[3] <= read[2] + 10, "no more of many: {read:?}");
}

/// Answers came before their request, each with tags as large as may be. What is read for the request does not grow with them:
/// of these answers no tags are taken.
#[test]
fn a_request_does_not_read_all_tags_of_long_answers_that_came_before() {
    let mut d1 = D1::start();
    let customer = Author::new(1);
    let mut read = Vec::new();
    for large in [false, true] {
        let request = customer.sign(5050, NOW, &[&["encrypted"]], if large { "large" } else { "small" });
        let (id, key) = (request.id.to_string(), request.pubkey.to_string());
        let own: &[&[&str]] = &[&["e", &id], &["p", &key], &["status", "processing"]];
        for n in 0..20 {
            let answer = match large {
                true => Author::numbered(n).large(7000, n.into(), own),
                false => Author::numbered(n).sign(7000, NOW, own, ""),
            };
            bill(&mut d1, &new_group([new(&answer)]));
        }
        read.push(bill(&mut d1, &new_group([new(&request)])).read);
    }
    println!("rows read for a request after 20 answers, small and large: {read:?}");
    assert!(read[1] <= 2 * read[0], "{read:?}");
}

/// What its customer has deleted before it came is kept out, and can be sent again and again: it does not read the answers.
#[test]
fn a_request_that_is_kept_out_reads_no_answers() {
    let mut d1 = D1::start();
    let customer = Author::new(1);
    let request = customer.sign(5050, NOW, &[&["encrypted"]], "");
    let (id, key) = (request.id.to_string(), request.pubkey.to_string());
    let own: &[&[&str]] = &[&["e", &id], &["p", &key], &["status", "processing"]];
    for n in 0..20 {
        bill(&mut d1, &new_group([new(&Author::numbered(n).large(7000, n.into(), own))]));
    }
    bill(&mut d1, &new_group([new(&customer.delete(std::slice::from_ref(&request)))]));
    for _ in 0..2 {
        let Bill { read, written } = bill(&mut d1, &new_group([new(&request)]));
        println!("{read} rows read, {written} written");
        assert!(written == 0 && read <= 250, "{read} rows read");
    }
}

type MakeWrite = Box<dyn Fn(&mut D1, &Write) -> Vec<Statement>>;

/// Writes of every sort, one after the other.
fn one_by_one() -> Vec<(&'static str, MakeWrite)> {
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[&["i", "q", "text"], &["t", "x"]], "");
    let handler = |time| provider.sign(31990, time, &[&["d", "a"], &["k", "5050"]], "");
    let cancel = buyer.sign(5, NOW, &[&["e", &request.id.to_string()]], "");
    let deletion = RememberedDeletion { key: format!("{} {}", buyer.key(), "ab".repeat(32)), until: NOW };
    let seen = provider.key();
    let flush = |number| Flush { number, counts: [("x accepted".to_owned(), 3)].into(), ..Flush::default() };
    let work = |work: Work, number| -> MakeWrite {
        Box::new(move |d1, write| prepare_kept(d1, &work, &flush(number), &kept(), write).0)
    };
    let group = |events: Vec<Event>, number| work(new_group(events.iter().map(new)), number);
    let remove = |seqs: &[u64]| work(Work::Removal(seqs.to_vec(), Swept::default()), 0);
    let exported = Work::Events(vec![new(&buyer.note("exported")).into()], Mode::Restored);
    vec![
        ("a request", group(vec![request.clone()], 1)),
        ("two answers", group(vec![provider.answer(7000, &request, &[]), provider.answer(6050, &request, &[])], 3)),
        ("a handler", group(vec![handler(NOW)], 4)),
        ("a newer handler", group(vec![handler(NOW + 1)], 5)),
        ("a cancel", group(vec![cancel], 6)),
        ("64 requests", group((0..64).map(|n: u64| buyer.sign(5050, NOW, &[&["i", &n.to_string()]], "")).collect(), 7)),
        ("counts alone", Box::new(move |d1, write| save(d1, &flush(8), write))),
        ("seen", Box::new(move |_, write| market::seen(&[seen], NOW + 100, write))),
        ("seen again", Box::new(move |_, write| market::seen(&[seen], NOW + 110, write))),
        ("answers are removed", remove(&[2, 3])),
        ("a request is removed", remove(&[7])),
        ("an import of events", work(exported, 0)),
        ("an import of deletions", work(Work::Deletions(vec![deletion]), 0)),
    ]
}

/// That the log is its writer's is checked at no row that is written, and one that is read.
#[test]
fn a_version_costs_nothing() {
    let (mut plain, mut guarded) = (D1::start(), D1::start());
    println!("{:<22} {:>7} {:>6} {:>7} {:>6}", "write", "written", "read", "plain", "read");
    for (name, write) in one_by_one() {
        let by = next(&mut guarded);
        let statements = write(&mut guarded, &by);
        let mut unguarded = statements.clone();
        unguarded.retain(|statement| !statement.sql.starts_with("UPDATE totals SET version = NULL"));
        for statement in &mut unguarded {
            statement.sql = statement.sql.replace("iif(version = ?1, version + 1, NULL)", "?1 + 1").into();
        }
        assert_ne!(unguarded, statements, "{name}");
        let (before, after) = (plain.bill(&unguarded), guarded.bill(&statements));
        println!("{name:<22} {:>7} {:>6} {:>7} {:>6}", after.written, after.read, before.written, before.read);
        assert_eq!(after.written, before.written, "{name}");
        assert!(after.read <= before.read + 1, "{name}");
        if name == "seen again" {
            assert_eq!(after.written, 0, "{name}");
        }
    }
}

/// What is assumed is made sure of at no row that is written, and at few that are read.
#[test]
fn an_assumption_costs_little() {
    let mut d1 = D1::start();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let requests: Vec<Event> = (0..64u64).map(|n| buyer.sign(5050, NOW, &[&["i", &n.to_string()]], "")).collect();
    let answers: Vec<Event> = requests.iter().map(|request| provider.answer(7000, request, &[])).collect();
    let mut memory = Memory::new(1 << 20);
    for events in [requests, answers] {
        let work = new_group(events.iter().map(new));
        let (facts, assumed) = memory.facts(work.needed()).expect("nothing is likely to be there");
        let before = position(&mut d1);
        let decision = work.decide(before.totals.last_seq, facts);
        let made_sure = d1.bill(&[facts::assume(&assumed).unwrap()]);
        println!("{made_sure:?}");
        assert_eq!(made_sure.written, 0);
        assert!(made_sure.read <= 64 * 8, "{made_sure:?}");
        let write = next(&mut d1);
        let (statements, _) = write::statements(&decision.changes, &before, &Flush::default(), &kept(), &write);
        d1.run(&statements).unwrap();
        let surprise = d1.run(&[facts::assume(&assumed).unwrap()]).unwrap_err();
        assert!(surprise.is_surprise(), "{surprise}");
        memory.follow(&decision.changes);
    }
}
