//! Tombstones: what a partition does of deletion requests (NIP-09) and requests to vanish (NIP-62) that another partition
//! stores. It deletes, keeps out what was deleted, and has no event of it.

use nexus::message::{NewEvent, Publisher, Verdict, When};
use nexus::nostr::{Event, refusal};
use serde_json::json;

use crate::common::events::{Author, NOW, new_event};
use crate::common::host::Fault;
use crate::common::partition::OnePartition;

/// What the gateway sends a partition that does not store the event.
fn tombstone(event: &Event) -> NewEvent {
    new_event(event).tombstone().unwrap()
}

fn vanish(author: &Author, at: u64) -> NewEvent {
    tombstone(&author.sign(62, at, &[&["relay", "ALL_RELAYS"]], "bye"))
}

fn deleted() -> Verdict {
    Verdict::Refused(refusal::deleted())
}

fn feedback(by: &Author, request: &Event) -> Event {
    by.answer(7000, request, &[&["status", "processing"]])
}

/// A partition that has some events.
fn with(events: &[&Event]) -> OnePartition {
    let mut partition = OnePartition::new();
    for event in events {
        assert_eq!(partition.put(new_event(event)), Verdict::Stored);
    }
    partition.pushed.clear();
    partition
}

/// How far the log is, and how many events it ever had.
fn log(partition: &OnePartition) -> String {
    partition.column("SELECT version || ' ' || last_seq || ' ' || stored FROM totals").remove(0)
}

fn vanishing(partition: &OnePartition) -> usize {
    partition.column("SELECT hex(pubkey) FROM vanishing").len()
}

/// The filters under which a deletion request or a request to vanish would be found.
fn finds_none_of_it(partition: &mut OnePartition, author: &Author) {
    for filter in [json!({"kinds": [5, 62]}), json!({"authors": [author.key()], "kinds": [5, 62], "since": NOW - 9})] {
        assert!(partition.find(&filter).is_empty(), "{filter}");
        assert!(partition.remembered(&filter).unwrap_or_default().is_empty(), "{filter}");
    }
    assert_eq!(partition.column("SELECT id FROM events WHERE kind IN (5, 62)"), Vec::<String>::new());
    assert_eq!((partition.counts("e 5").0, partition.counts("e 62").0), (0, 0));
}

#[test]
fn a_job_is_cancelled_and_cannot_come_back() {
    let [buyer, provider, late, stranger] = [1, 2, 3, 4].map(Author::new);
    let request = buyer.sign(5050, NOW, &[&["i", "q"]], "q");
    let answer = feedback(&provider, &request);
    let mut partition = with(&[&request, &answer]);
    let before = log(&partition);
    // Somebody else's changes nothing here but that it is remembered.
    assert_eq!(partition.put(tombstone(&stranger.delete(std::slice::from_ref(&request)))), Verdict::Stored);
    assert_eq!(partition.counts("j 5050 processing").0, 1);
    let request_is_gone = json!({"kinds": [5050]});
    assert_eq!(partition.find(&request_is_gone), ["q"]);
    let cancel = partition.put(tombstone(&buyer.delete(std::slice::from_ref(&request))));
    assert_eq!(cancel, Verdict::Stored);
    assert_eq!(partition.cancelled, [(request.id, provider.key())]);
    assert_eq!((partition.counts("j 5050 processing").0, partition.counts("j 5050 cancelled").0), (0, 1));
    assert!(partition.find(&request_is_gone).is_empty());
    assert!(partition.remembered(&json!({"ids": [request.id]})).is_none_or(|found| found.is_empty()));
    let blocked = Verdict::Refused(refusal::job_cancelled());
    for by in [&provider, &late] {
        assert_eq!(partition.put(new_event(&by.answer(6050, &request, &[]))), blocked);
    }
    assert_eq!(partition.put(new_event(&request)), deleted());
    // No number, no event, and nobody is told.
    assert!(partition.pushed.is_empty());
    finds_none_of_it(&mut partition, &buyer);
    let numbers = |log: &str| log.split_once(' ').unwrap().1.to_owned();
    assert_eq!(numbers(&log(&partition)), numbers(&before));
}

#[test]
fn what_comes_after_its_tombstone_is_kept_out() {
    let [buyer, provider] = [1, 2].map(Author::new);
    let request = buyer.sign(5050, NOW, &[], "q");
    let mut partition = OnePartition::new();
    assert_eq!(partition.put(tombstone(&buyer.delete(std::slice::from_ref(&request)))), Verdict::Stored);
    assert_eq!(partition.put(new_event(&request)), deleted());
    let result = partition.put(new_event(&provider.answer(6050, &request, &[])));
    assert_eq!(result, Verdict::Refused(refusal::job_cancelled()));
}

/// What it deletes and what it finds in one group: in the order they came, and the numbers have no gap.
#[test]
fn a_group_numbers_what_it_stores_alone() {
    let [buyer, other] = [1, 2].map(Author::new);
    let ask = |by: &Author, n: u64| by.sign(5050, NOW + n, &[], &n.to_string());
    let [busy, gone, late, stays] = [ask(&Author::new(9), 0), ask(&buyer, 1), ask(&buyer, 2), ask(&other, 3)];
    let mut partition = OnePartition::new();
    let request = tombstone(&buyer.delete(&[gone.clone(), late.clone()]));
    partition.send(new_event(&busy));
    let sent = [new_event(&gone), request, new_event(&late), new_event(&stays)].map(|new| partition.send(new));
    partition.settle();
    let verdicts = sent.map(|from| partition.verdict(from).unwrap().clone());
    assert_eq!(verdicts, [Verdict::Stored, Verdict::Stored, deleted(), Verdict::Stored]);
    assert_eq!(partition.find(&json!({})), ["3", "0"]);
    let mut partition = OnePartition::new();
    partition.send(new_event(&busy));
    let sent = [tombstone(&buyer.delete(std::slice::from_ref(&gone))), new_event(&stays)];
    let sent = sent.map(|new| partition.send(new));
    partition.settle();
    assert_eq!(sent.map(|from| partition.verdict(from).unwrap().clone()), [Verdict::Stored, Verdict::Stored]);
    assert_eq!(partition.column("SELECT group_concat(seq, ' ') FROM (SELECT seq FROM events ORDER BY seq)"), ["1 2"]);
}

/// Many events of a job's customer, another one's, and what has been dealt.
fn a_market(buyer: &Author, provider: &Author) -> (OnePartition, Vec<Event>) {
    let request = |n: u64| buyer.sign(5050, NOW - n, &[&["t", "x"]], &n.to_string());
    let requests: Vec<Event> = (0..450).map(request).collect();
    let mut partition = OnePartition::new();
    requests.iter().for_each(|request| _ = partition.send(new_event(request)));
    partition.settle();
    let other = Author::new(7).sign(5050, NOW, &[&["t", "x"]], "other's");
    let (of_provider, later) = (provider.answer(6050, &requests[0], &[]), buyer.sign(5050, NOW + 5, &[], "later"));
    for event in [&other, &of_provider, &later] {
        assert_eq!(partition.put(new_event(event)), Verdict::Stored);
    }
    assert_eq!(partition.column("SELECT count(*) || '' FROM events"), ["453"]);
    partition.pushed.clear();
    (partition, requests)
}

#[test]
fn who_vanishes_is_found_by_nobody_and_swept() {
    let [buyer, provider] = [1, 2].map(Author::new);
    let (mut partition, requests) = a_market(&buyer, &provider);
    let before = log(&partition);
    assert_eq!(partition.counts("").1, 1);
    let from = partition.send(vanish(&buyer, NOW + 1));
    // Told when it was written, and not before.
    while !partition.is_writing() {
        assert!(partition.verdict(from).is_none() && partition.step());
    }
    assert!(partition.verdict(from).is_none());
    partition.commit();
    assert_eq!(partition.verdict(from), Some(&Verdict::Stored));
    // From then on, before anything was removed.
    assert_eq!(partition.column("SELECT count(*) || '' FROM events"), ["453"]);
    let filters = [
        (json!({"authors": [buyer.key()]}), vec!["later"]),
        (json!({"#t": ["x"]}), vec!["other's"]),
        (json!({"ids": requests[..9].iter().map(|request| request.id).collect::<Vec<_>>()}), vec![]),
        (json!({"kinds": [5050]}), vec!["later", "other's"]),
    ];
    for (filter, expected) in &filters {
        assert_eq!(partition.find(filter), *expected, "{filter}");
        let remembered = partition.remembered(filter);
        assert!(remembered.as_ref().is_none_or(|found| found == expected), "{filter} {remembered:?}");
    }
    assert_eq!(partition.put(new_event(&requests[7])), deleted());
    partition.settle();
    assert_eq!((partition.column("SELECT count(*) || '' FROM events"), vanishing(&partition)), (vec!["3".into()], 0));
    assert_eq!(partition.column("SELECT count(*) || '' FROM dealings"), ["0"]);
    for (filter, expected) in &filters {
        assert_eq!(partition.find(filter), *expected, "{filter}");
    }
    assert_eq!(partition.put(new_event(&requests[8])), deleted());
    assert!(partition.pushed.is_empty());
    finds_none_of_it(&mut partition, &buyer);
    let numbers = |log: &str| log.split_once(' ').unwrap().1.to_owned();
    assert_eq!(numbers(&log(&partition)), numbers(&before));
    // The other one vanishes, too: it is no provider any more.
    assert_eq!(partition.put(vanish(&provider, NOW + 1)), Verdict::Stored);
    assert_eq!(partition.counts("").1, 0);
    assert_eq!(partition.find(&json!({})), ["later", "other's"]);
}

/// What may become of attempts, and of their answers.
const FATES: [&[Fault]; 6] = [
    &[],
    &[Fault::Fails],
    &[Fault::LandsAndFails],
    &[Fault::Fails, Fault::LandsAndFails],
    &[Fault::FailsAndLandsLate],
    &[Fault::Fails, Fault::FailsAndLandsLate],
];

/// Has the write on its way fail, until who sent it is told; nothing else happens after that.
fn fail(partition: &mut OnePartition, from: Publisher, faults: &[Fault]) {
    partition.faults.extend(faults);
    while !partition.faults.is_empty() {
        partition.commit();
    }
    if faults.contains(&Fault::FailsAndLandsLate) {
        // It lands when the next attempt is on its way, which is too late then.
        while !partition.is_writing() {
            assert!(partition.verdict(from).is_none() && (partition.step() || partition.timer_comes()));
        }
        partition.land();
    }
    while partition.verdict(from).is_none() {
        assert!(partition.step() || partition.timer_comes(), "{faults:?}");
    }
}

/// What was read before and is not answered yet shows nothing of the key.
#[test]
fn what_is_being_read_is_not_answered_with_what_vanished() {
    let buyer = Author::new(1);
    let request = buyer.sign(5050, NOW, &[&["t", "x"]], "hers");
    for faults in FATES {
        let mut partition = with(&[&request]);
        let from = partition.send(vanish(&buyer, NOW + 1));
        while !partition.is_writing() {
            assert!(partition.step());
        }
        // The question reaches the database before the write.
        partition.ask(&json!({"#t": ["x"]}), When::Now);
        let found = partition.last();
        assert!(format!("{found:?}").contains("hers"));
        fail(&mut partition, from, faults);
        assert_eq!(partition.verdict(from), Some(&Verdict::Stored));
        partition.input(found);
        assert!(partition.answer().is_empty(), "{faults:?}");
    }
}

#[test]
fn a_second_time_changes_nothing() {
    let [buyer, provider] = [1, 2].map(Author::new);
    let request = buyer.sign(5050, NOW, &[], "q");
    let mut partition = with(&[&request, &feedback(&provider, &request)]);
    let (delete, gone) = (tombstone(&buyer.delete(std::slice::from_ref(&request))), vanish(&provider, NOW + 1));
    for new in [&delete, &gone] {
        assert_eq!(partition.put(new.clone()), Verdict::Stored);
    }
    // The key is back since.
    let next = buyer.sign(5050, NOW + 2, &[], "next");
    let (customer, id) = (buyer.key().to_string(), next.id.to_string());
    let result = provider.sign(6050, NOW + 2, &[&["e", &id], &["p", &customer]], "back");
    for event in [&next, &result] {
        assert_eq!(partition.put(new_event(event)), Verdict::Stored);
    }
    assert_eq!(partition.cancelled.len(), 1);
    partition.pushed.clear();
    let everything = "SELECT 'd ' || key || until FROM deletions UNION ALL SELECT 'e ' || seq FROM events \
        UNION ALL SELECT 'j ' || hex(id) || held || state || until FROM jobs UNION ALL SELECT 'p ' || hex(pubkey) || results \
        FROM providers UNION ALL SELECT 'g ' || results FROM dealings UNION ALL SELECT 't ' || version || counts FROM totals";
    let before = partition.column(everything);
    // An older one, too.
    for new in [&delete, &gone, &vanish(&provider, NOW)] {
        let sent = [partition.send(new.clone()), partition.send(new.clone())];
        partition.run();
        for from in sent {
            assert_eq!(partition.verdict(from), Some(&Verdict::Stored));
        }
        assert_eq!(partition.column(everything), before);
    }
    assert_eq!((partition.cancelled.len(), partition.pushed.len()), (1, 0));
    assert_eq!(partition.counts("").1, 1);
    // One that reaches further does what is new.
    assert_eq!(partition.put(vanish(&provider, NOW + 2)), Verdict::Stored);
    assert_eq!((partition.find(&json!({"authors": [provider.key()]})), partition.counts("").1), (vec![], 0));
}

/// Where the request is stored, too, there is nothing left to do; whoever sends it is told so.
#[test]
fn one_of_what_is_stored_here_changes_nothing() {
    let buyer = Author::new(1);
    let request = buyer.sign(5050, NOW, &[], "q");
    let mut partition = with(&[&request]);
    let delete = buyer.delete(std::slice::from_ref(&request));
    let gone = buyer.sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], "bye");
    for event in [&delete, &gone] {
        assert_eq!(partition.put(new_event(event)), Verdict::Stored);
        let before = log(&partition);
        let from = partition.send(tombstone(event));
        partition.run();
        assert_eq!(partition.verdict(from), Some(&Verdict::Stored));
        assert_eq!(log(&partition), before);
    }
    assert_eq!(partition.find(&json!({})), ["bye"]);
}

/// What has an address is no event of a job, and is deleted where the request is stored.
#[test]
fn a_request_that_names_no_event_needs_none() {
    let author = Author::new(1);
    let (address, id) = (format!("30023:{}:x", author.key()), "ab".repeat(32));
    let of = |tags: &[&[&str]]| new_event(&author.sign(5, NOW, tags, "")).tombstone();
    assert_eq!(of(&[&["a", &address]]), None);
    let both = of(&[&["a", &address], &["e", &id]]).unwrap();
    assert_eq!((both.deletes.len(), both.is_elsewhere), (1, true));
    assert_eq!(new_event(&author.note("")).tombstone(), None);
}

#[test]
fn a_deletion_request_that_is_kept_out_deletes_nothing() {
    let buyer = Author::new(1);
    let later = buyer.sign(5050, NOW + 5, &[], "later");
    let request = tombstone(&buyer.delete(std::slice::from_ref(&later)));
    let mut partition = with(&[&later]);
    // In one group, and after it.
    partition.send(new_event(&Author::new(9).sign(5050, NOW, &[], "busy")));
    let sent = [partition.send(vanish(&buyer, NOW + 1)), partition.send(request.clone())];
    partition.settle();
    assert_eq!(sent.map(|from| partition.verdict(from).unwrap().clone()), [Verdict::Stored, deleted()]);
    assert_eq!(partition.put(request), deleted());
    assert_eq!(partition.find(&json!({"authors": [buyer.key()]})), ["later"]);
    assert_eq!(partition.put(new_event(&later)), Verdict::Duplicate(refusal::already_have()));
}

/// Whatever becomes of attempts and of their answers, it is done once it is answered, and it is swept.
#[test]
fn an_answer_that_is_lost_is_found() {
    let [buyer, provider] = [1, 2].map(Author::new);
    for (faults, vanishes) in FATES.into_iter().flat_map(|faults| [(faults, false), (faults, true)]) {
        let request = buyer.sign(5050, NOW, &[&["t", "x"]], "q");
        let mut partition = with(&[&request, &feedback(&provider, &request)]);
        partition.alarm = None;
        let delete = tombstone(&buyer.delete(std::slice::from_ref(&request)));
        let from = partition.send(if vanishes { vanish(&buyer, NOW + 1) } else { delete });
        fail(&mut partition, from, faults);
        assert_eq!(partition.verdict(from), Some(&Verdict::Stored), "{faults:?}");
        for filter in [json!({"kinds": [5050]}), json!({"ids": [request.id]})] {
            assert!(partition.find(&filter).is_empty(), "{faults:?}");
            assert!(partition.remembered(&filter).unwrap_or_default().is_empty(), "{faults:?}");
        }
        partition.settle();
        if vanishing(&partition) > 0 {
            partition.alarm_comes();
        }
        assert_eq!(vanishing(&partition), 0, "{faults:?}");
        assert_eq!(partition.column("SELECT kind || '' FROM events"), ["7000"], "{faults:?}");
        assert_eq!(partition.put(new_event(&request)), deleted());
        assert!(partition.pushed.is_empty());
    }
}
