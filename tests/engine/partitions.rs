//! Several partitions: what is stored in any is found, counted and told as if it were one.

use nexus::gateway::{Api, ConnId};
use nexus::message::PartitionId;
use nexus::nostr::{Event, Filter};
use serde_json::{Value, json};

use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::gateways::{CONN, Gateways};
use crate::common::sqlite::Sqlite;

/// Events of a market over some minutes, many of one second.
fn publish(all: &mut Gateways, chance: &mut Chance, count: usize) -> Vec<Event> {
    let authors: Vec<Author> = (1..6).map(Author::new).collect();
    let mut events: Vec<Event> = Vec::new();
    for n in 0..count {
        let (at, author) = (NOW - 300 + chance.below(20) * 10, chance.pick(&authors).clone());
        let requests: Vec<Event> = events.iter().filter(|event| event.kind == 5050).cloned().collect();
        let event = match chance.below(6) {
            0 | 1 if !requests.is_empty() => author.answer(6050, chance.pick(&requests), &[]),
            2 if !requests.is_empty() => author.answer(7000, chance.pick(&requests), &[&["status", "processing"]]),
            3 => author.sign(1, at, &[&["t", "work"]], &n.to_string()),
            4 => author.sign(31_990, at, &[&["d", "h"], &["k", "5050"]], ""),
            _ => author.sign(5050, at, &[&["t", "work"]], &n.to_string()),
        };
        all.say(chance.below(all.members.len() as u64) as usize, json!(["EVENT", event]));
        events.push(event);
        let some = chance.below(30) as usize;
        all.steps(chance, some);
    }
    all.settle(chance);
    all.stored()
}

/// The newest that some filters match, as many of each as it asks for, newest first.
fn newest(stored: &[Event], filters: &[Filter]) -> Vec<String> {
    let mut stored: Vec<&Event> = stored.iter().collect();
    stored.sort_by_key(|event| (std::cmp::Reverse(event.created_at), event.id));
    let page = |filter: &Filter| {
        let limit = filter.limit.unwrap_or(500) as usize;
        stored.iter().filter(|event| filter.matches(event)).take(limit).copied().collect::<Vec<_>>()
    };
    let wanted: Vec<&Event> = filters.iter().flat_map(page).collect();
    stored.retain(|event| wanted.contains(event));
    stored.iter().map(|event| event.id.to_string()).collect()
}

fn ids(frames: &[Value]) -> Vec<String> {
    let events = frames.iter().filter(|frame| frame[0] == "EVENT");
    events.map(|frame| frame[2]["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_page_of_several_partitions_is_the_newest_of_all() {
    let mut completed = 0;
    for seed in 0..12 {
        let chance = &mut Chance::new(seed);
        let partitions = 2 + seed as usize % 3;
        let mut all = Gateways::with(2, partitions, &[]);
        let stored = publish(&mut all, chance, 150);
        let busy = all.partitions.iter_mut().filter_map(|partition| partition.stored().pop()).count();
        assert_eq!(busy, partitions, "seed {seed}: each has a part");
        let job = &stored.iter().find(|event| event.kind == 5050).unwrap().id;
        for case in 0..60 {
            let mut filter = || {
                let mut filter = match chance.below(7) {
                    0 => json!({}),
                    1 => json!({"kinds": [5050]}),
                    2 => json!({"kinds": [6050, 7000], "#e": [job]}),
                    3 => json!({"kinds": [1, 6050]}),
                    4 => json!({"#t": ["work"]}),
                    5 => json!({"authors": [chance.pick(&stored).pubkey]}),
                    _ => json!({"ids": [chance.pick(&stored).id, chance.pick(&stored).id]}),
                };
                match chance.below(4) {
                    0 | 1 => filter["limit"] = json!(1 + chance.below(40)),
                    2 => filter["limit"] = json!(100 + chance.below(30)),
                    _ => {}
                }
                if chance.one_in(3) {
                    filter["until"] = json!(NOW - chance.below(300));
                }
                filter
            };
            let filters: Vec<Value> = (0..1 + case % 3).map(|_| filter()).collect();
            let parsed: Vec<Filter> =
                filters.iter().map(|filter| Filter::parse(&filter.to_string()).unwrap()).collect();
            let expected = newest(&stored, &parsed);
            let request: Vec<Value> = [json!("REQ"), json!("s")].into_iter().chain(filters.clone()).collect();
            let frames = all.ask(case % 2, json!(request));
            // A page may have the rest of its last second.
            let told = ids(&frames);
            let expected = match parsed.as_slice() {
                [only] if told.len() > expected.len() => {
                    let second =
                        |id: &String| stored.iter().find(|event| event.id.to_string() == *id).unwrap().created_at;
                    let last = second(expected.last().unwrap());
                    assert!(only.limit.is_some_and(|limit| limit >= 100 && told.len() as u64 <= limit + limit / 4));
                    newest(
                        &stored,
                        &[Filter {
                            limit: None,
                            since: Some(last.max(only.since.unwrap_or_default())),
                            ..only.clone()
                        }],
                    )
                }
                _ => expected,
            };
            assert_eq!(told, expected, "seed {seed}: {filters:?}");
            completed += u64::from(parsed.len() == 1 && expected.len() as u64 > parsed[0].limit.unwrap_or(500));
            let matching = stored.iter().filter(|event| parsed.iter().any(|filter| filter.matches(event))).count();
            let end = frames.last().unwrap();
            match end[2][0].as_str() {
                Some("finish") => assert_eq!(matching, expected.len(), "seed {seed}: {filters:?}"),
                Some("more") => assert!(matching > expected.len(), "seed {seed}: {filters:?}"),
                _ => assert_eq!(end[0], "EOSE"),
            }
            // What one filter left out another may have found: then nobody knows.
            if matching > expected.len() && filters.len() == 1 {
                assert_eq!(end[2][0], "more", "seed {seed}: {filters:?}");
            }
            let count: Vec<Value> = [json!("COUNT"), json!("c")].into_iter().chain(filters.clone()).collect();
            assert_eq!(all.ask(case % 2, json!(count))[0][2]["count"], matching, "seed {seed}: {filters:?}");
        }
    }
    assert!(completed > 0, "some pages are completed to a whole second");
}

#[test]
fn what_one_partition_alone_may_have_is_answered_as_by_the_only_one() {
    // A page is filled up with the whole of its last second.
    for partitions in [1, 3] {
        let mut all = Gateways::with(1, partitions, &[]);
        let (author, other) = (Author::new(1), Author::new(2));
        let job = author.sign(5050, NOW, &[], "");
        all.ask(0, json!(["EVENT", job]));
        for n in 0..120 {
            let note = author.sign(1, NOW, &[], &n.to_string());
            let feedback = other.answer(7000, &job, &[&["status", "processing"], &["n", &n.to_string()]]);
            for event in [note, feedback] {
                assert_eq!(all.ask(0, json!(["EVENT", event]))[0][2], true);
            }
        }
        for filter in [json!({"kinds": [1], "limit": 100}), json!({"kinds": [7000], "#e": [job.id], "limit": 100})] {
            let frames = all.ask(0, json!(["REQ", "s", filter]));
            let end = &frames[frames.len() - 1];
            assert_eq!(
                (frames.len(), &end[0], end[2][0] == "more"),
                (121, &json!("EOSE"), false),
                "{partitions}: {filter}"
            );
        }
    }
}

/// What was counted at the end of each second of the last minute.
fn second_by_second(moments: &Value) -> Value {
    let moments = moments.as_array().unwrap();
    let now = moments.last().unwrap()[0].as_u64().unwrap();
    let at = |second: u64| moments.iter().rfind(|moment| moment[0].as_u64().unwrap() <= second).unwrap_or(&moments[0]);
    (now - 59..=now).map(|second| at(second).as_array().unwrap()[1..].to_vec().into()).collect::<Vec<Value>>().into()
}

#[test]
fn what_is_told_over_http_is_that_of_one_partition() {
    for seed in 0..3 {
        let mut told: Vec<Vec<Value>> = Vec::new();
        for partitions in [1, 3] {
            // The same events in the same order, each settled, or others would be refused.
            let mut all = Gateways::with(1, partitions, &[]);
            let authors: Vec<Author> = (1..6).map(Author::new).collect();
            let chance = &mut Chance::new(seed);
            for (n, author) in authors.iter().enumerate() {
                let event = author.sign(31_990, NOW - n as u64, &[&["d", "h"], &["k", "5050"]], "");
                all.ask(0, json!(["EVENT", event]));
            }
            // So many that each partition knows the customers.
            for n in 0..200 {
                let (customer, provider) = (chance.pick(&authors).clone(), chance.pick(&authors).clone());
                let job = customer.sign(5050, NOW, &[], &n.to_string());
                all.ask(0, json!(["EVENT", job]));
                all.now += 1000 * chance.below(4);
                let answer = match chance.below(4) {
                    0 => provider.answer(7000, &job, &[&["status", "error"]]),
                    _ => provider.answer(6050, &job, &[]),
                };
                assert_eq!(all.ask(0, json!(["EVENT", answer]))[0][2], true);
            }
            for (n, author) in authors.iter().enumerate() {
                let about = &authors[(n + 1) % authors.len()];
                let label = author.sign(
                    1985,
                    NOW,
                    &[&["L", "quality"], &["l", "good", "quality"], &["p", &about.key().to_string()]],
                    "",
                );
                assert_eq!(all.ask(0, json!(["EVENT", label]))[0][2], true);
            }
            let mut stats = all.stats(0);
            for own in ["storage", "memory", "bytes", "uptime_seconds"] {
                stats.as_object_mut().unwrap().remove(own);
            }
            let moments = second_by_second(&stats.as_object_mut().unwrap().remove("moments").unwrap());
            let handlers = all.http(0, Api::Handlers(5050));
            let history = all.http(0, Api::History(nexus::store::history::Step::Minute));
            told.push(vec![stats, handlers, history, all.http(0, Api::Health), moments]);
        }
        let [one, several] = told.as_slice() else { panic!() };
        assert_eq!(one[0], several[0], "seed {seed}: stats");
        assert_eq!(one[1], several[1], "seed {seed}: handlers");
        // A minute's snapshot is that of the first group in it, which comes at another second in each partition.
        let last = |history: &Value| history["points"].as_array().unwrap().last().cloned().unwrap();
        let now = |history: &Value| [last(history)["stored"].clone(), last(history)["states"].clone()];
        let answered = |history: &Value| {
            history["points"].as_array().unwrap().iter().map(|point| point["results"].as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!(now(&one[2]), now(&several[2]), "seed {seed}: history");
        assert_eq!(answered(&one[2]), answered(&several[2]), "seed {seed}: history");
        assert_eq!(one[3], several[3], "seed {seed}: health");
        assert_eq!(one[4], several[4], "seed {seed}: the last minute");
        assert!(one[4][0] != one[4][59], "it says what happened: {}", one[4]);
        assert!(one[1]["handlers"].as_array().unwrap().len() == 5, "{}", one[1]);
    }
}

#[test]
fn while_one_partition_fails_nothing_is_said_of_what_it_may_have() {
    let (chance, mut all) = (&mut Chance::new(3), Gateways::with(2, 3, &[]));
    let stored = publish(&mut all, chance, 100);
    let broken = 2;
    let of_broken: Vec<Event> = all.partitions[broken].stored();
    all.partitions[broken].broken = true;
    (0..2).for_each(|n| drop(all.take(n, CONN)));
    let frames = all.ask(0, json!(["REQ", "all", {"authors": [stored[0].pubkey], "limit": 400}]));
    assert_eq!(frames, [] as [Value; 0], "no part is sent, and no end");
    // What cannot be there is answered.
    assert_eq!(all.ask(0, json!(["REQ", "home", {"kinds": [1]}])).last().unwrap()[0], "EOSE");
    let job = of_broken.iter().find(|event| event.kind == 5050).unwrap();
    let answer = Author::new(9).answer(7000, job, &[&["status", "processing"]]);
    let other = Author::new(9).sign(1, NOW, &[], "");
    assert_eq!(all.ask(1, json!(["EVENT", other]))[0][2], true);
    assert_eq!(all.ask(1, json!(["EVENT", answer])), [] as [Value; 0]);
    all.partitions[broken].broken = false;
    for _ in 0..40 {
        all.now += 1000;
        for n in 0..2 {
            all.timers(n);
        }
        all.settle(chance);
    }
    let mut frames = all.take(0, CONN);
    frames.retain(|frame| frame[1] == "all");
    assert_eq!(frames.last().unwrap()[0], "EOSE", "it is asked again");
    assert_eq!(frames.len() - 1, stored.iter().filter(|event| event.pubkey == stored[0].pubkey).count());
    assert_eq!(all.take(1, CONN).last().unwrap()[2], true);
}

#[test]
fn what_is_deleted_is_gone_from_every_partition_before_its_ok() {
    for seed in 0..20 {
        let (chance, mut all) = (&mut Chance::new(seed), Gateways::with(2, 3, &[]));
        let stored = publish(&mut all, chance, 80);
        let author = (1..6).map(Author::new).find(|author| author.key() == stored[0].pubkey).unwrap();
        let own: Vec<&Event> = stored.iter().filter(|event| event.pubkey == author.key()).collect();
        (0..2).for_each(|n| drop(all.take(n, CONN)));
        let vanishes = seed % 2 == 0;
        let (gone, request): (Vec<&Event>, Event) = if vanishes {
            (own, author.sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], ""))
        } else {
            let gone: Vec<&Event> = own.into_iter().take(6).collect();
            let tags: Vec<[String; 2]> = gone.iter().map(|event| ["e".to_owned(), event.id.to_string()]).collect();
            let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
            let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
            (gone, author.sign(5, NOW + 1, &tags, ""))
        };
        all.say(0, json!(["EVENT", request]));
        // The client sends it again at once, and at another gateway.
        all.say(0, json!(["EVENT", request]));
        all.say(1, json!(["EVENT", request]));
        let mut answered = 0;
        while answered < 3 {
            all.steps(chance, 1);
            let frames: Vec<Value> = [all.take(0, CONN), all.take(1, CONN)].concat();
            for frame in frames.iter().filter(|frame| frame[0] == "OK") {
                assert_eq!((&frame[1], &frame[2]), (&json!(request.id), &json!(true)), "seed {seed}: {frame}");
                answered += 1;
            }
            if answered > 0 && !vanishes {
                let left = all.stored().into_iter().filter(|event| gone.iter().any(|gone| gone.id == event.id)).count();
                assert_eq!(left, 0, "seed {seed}: of {}", gone.len());
            }
        }
        all.settle(chance);
        let ids: Vec<String> = gone.iter().map(|event| event.id.to_string()).collect();
        for n in 0..2 {
            let frames = all.ask(n, json!(["REQ", "gone", {"ids": ids}]));
            assert_eq!(frames.len(), 1, "seed {seed}: {frames:?}");
            assert_eq!(all.ask(n, json!(["COUNT", "gone", {"ids": ids}]))[0][2]["count"], 0);
        }
        for event in gone.iter().filter(|event| event.kind != 31_990) {
            let said = all.ask(1, json!(["EVENT", event]));
            assert_eq!(said[0][2], false, "seed {seed}: it does not come back: {said:?}");
        }
        let requests = all.stored().into_iter().filter(|event| event.id == request.id).count();
        assert_eq!(requests, 1, "seed {seed}: it is stored at home alone");
    }
}

#[test]
fn what_a_partition_said_before_a_key_vanished_is_not_shown_after() {
    let (chance, mut all) = (&mut Chance::new(1), Gateways::with(2, 2, &[]));
    let (author, buyer) = (Author::new(1), Author::new(2));
    // A job of the partition beside home.
    let job =
        (0..).map(|n| buyer.sign(5050, NOW, &[], &n.to_string())).find(|job| PartitionId::of_job(&job.id, 2).0 == 1);
    let job = job.unwrap();
    all.ask(0, json!(["EVENT", job]));
    all.ask(1, json!(["REQ", "live", {"kinds": [7000]}]));
    let feedback = author.answer(7000, &job, &[&["status", "processing"]]);
    all.say(0, json!(["EVENT", feedback]));
    // The other gateway hears of it last of all, and of an answer that was read before.
    all.settle_but(chance, (1, 1));
    assert_eq!(all.take(0, CONN), [json!(["OK", feedback.id, true, ""])]);
    all.say(1, json!(["REQ", "stored", {"authors": [author.key()]}]));
    all.settle_but(chance, (1, 1));
    let request = author.sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], "");
    all.say(0, json!(["EVENT", request]));
    all.settle_but(chance, (1, 1));
    assert_eq!(all.take(0, CONN), [json!(["OK", request.id, true, ""])]);
    all.settle(chance);
    let told = all.take(1, CONN);
    assert!(told.iter().all(|frame| frame[2]["id"] != json!(feedback.id)), "{told:?}");
    assert_eq!(told.last().unwrap()[0], "EOSE");
}

#[test]
fn a_database_that_is_used_as_another_one_is_named_and_neither_asked_nor_written() {
    let chance = &mut Chance::new(1);
    let mut all = Gateways::with(2, 2, &[]);
    let stored = publish(&mut all, chance, 60);
    let mut databases = all.into_databases();
    databases.swap(0, 1);
    let mut swapped = Gateways::on(2, databases, &[]);
    let health = swapped.http(0, Api::Health);
    let expected = "database: partition 0: the database has partition 1 of 2, and is used as partition 0 of 2";
    assert!(health["error"].as_str().unwrap().starts_with(expected), "{health}");
    let event = Author::new(9).sign(1, NOW, &[], "");
    let job = Author::new(9).sign(5050, NOW, &[], "");
    for message in [
        json!(["EVENT", event]),
        json!(["EVENT", job]),
        json!(["REQ", "s", {"authors": [stored[0].pubkey]}]),
        json!(["COUNT", "c", {"kinds": [5050]}]),
    ] {
        swapped.say(0, message.clone());
        // Until whoever waits is told.
        let frames = std::iter::repeat_with(|| {
            swapped.now += 1000;
            (0..2).for_each(|n| swapped.timers(n));
            swapped.settle(chance);
            swapped.take(0, CONN)
        });
        let frames: Vec<Value> = frames.take(60).flatten().collect();
        let reason = frames[0].as_array().unwrap().last().unwrap().as_str().unwrap_or_default();
        assert!(frames.len() == 1 && reason.starts_with("error: "), "{message}: {frames:?}");
    }
    let left: Vec<String> = swapped.stored().iter().map(|event| event.id.to_string()).collect();
    assert_eq!(left.len(), stored.len());
    let mut databases = swapped.into_databases();
    databases.swap(0, 1);
    let mut all = Gateways::on(1, databases, &[]);
    assert_eq!(all.http(0, Api::Health), json!({"status": "ok"}));
    assert_eq!(all.ask(0, json!(["COUNT", "c", {}]))[0][2]["count"], stored.len());

    // Neither another number is taken for the one it has.
    let databases = all.into_databases().into_iter().chain([Sqlite::new()]).collect();
    let health = Gateways::on(1, databases, &[]).http(0, Api::Health);
    let expected = "database: partition 0: the database has partition 0 of 2, and is used as partition 0 of 3";
    assert!(health["error"].as_str().unwrap().starts_with(expected), "{health}");
}

#[test]
fn what_waits_for_its_reader_leaves_room_for_the_answers_of_others() {
    let (chance, mut all) = (&mut Chance::new(1), Gateways::with(1, 2, &[]));
    let author = Author::new(1);
    // One partition knows them from memory, the other one has to look whether it has any.
    let jobs = (0..).map(|n| author.large(5050, n, &[])).filter(|job| PartitionId::of_job(&job.id, 2).0 == 0);
    for job in jobs.take(40) {
        assert_eq!(all.ask(0, json!(["EVENT", job]))[0][2], true);
    }
    let page = json!({"authors": [author.key()], "kinds": [5050], "limit": 38});
    for conn in (10..13).map(ConnId) {
        all.open(0, conn);
        (0..8).for_each(|n| all.say_on(0, conn, json!(["REQ", n.to_string(), page])));
    }
    all.settle_unread(chance);
    for conn in (10..13).map(ConnId) {
        let ends = all.take(0, conn).iter().filter(|frame| frame[0] == "EOSE").count();
        assert_eq!(ends, 1, "who does not read waits");
    }
    all.say(0, json!(["REQ", "other", page]));
    all.settle_unread(chance);
    let told = all.take(0, CONN);
    assert_eq!((told.len(), &told.last().unwrap()[0]), (39, &json!("EOSE")));
}
