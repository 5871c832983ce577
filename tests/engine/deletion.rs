//! Deletion (NIP-09) and vanishing (NIP-62): own events only, in any order, for good.

use nexus::gateway::ConnId;
use nexus::nostr::Event;
use serde_json::{Value, json};

use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::world::{RELAY, World};

fn accepted(event: &Event) -> Value {
    json!(["OK", event.id, true, ""])
}

fn blocked(event: &Event) -> Value {
    json!(["OK", event.id, false, "blocked: this event was deleted by its author"])
}

/// Contents of what a filter finds, in order.
fn contents(world: &mut World, conn: ConnId, filter: Value) -> Vec<String> {
    let frames = world.ask(conn, json!(["REQ", "find", filter]));
    world.ask(conn, json!(["CLOSE", "find"]));
    frames
        .iter()
        .filter(|frame| frame[0] == "EVENT")
        .map(|frame| frame[2]["content"].as_str().unwrap().to_owned())
        .collect()
}

fn delete(author: &Author, at: u64, tags: &[&[&str]]) -> Event {
    author.sign(5, at, tags, "deletion")
}

#[test]
fn an_event_is_deleted_by_its_author_and_stays_away() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (alice, bob) = (Author::new(1), Author::new(2));
    let (a, b) = (alice.sign(1, NOW, &[&["t", "x"]], "a"), bob.sign(1, NOW, &[&["t", "x"]], "b"));
    world.publish(conn, &a);
    world.publish(conn, &b);
    let request = delete(&alice, NOW, &[&["e", &a.id.to_string()], &["e", &b.id.to_string()]]);
    assert_eq!(world.publish(conn, &request), accepted(&request));
    // Only one's own; the request itself is served.
    assert_eq!(contents(&mut world, conn, json!({"kinds": [1]})), ["b"]);
    assert_eq!(contents(&mut world, conn, json!({"#t": ["x"]})), ["b"]);
    assert_eq!(contents(&mut world, conn, json!({"kinds": [5]})), ["deletion"]);
    assert_eq!(world.publish(conn, &a), blocked(&a));
    assert_eq!(world.publish(conn, &b)[2], true);
    let tags: Vec<String> = world.column("SELECT tag FROM tags WHERE shelf = 1");
    assert_eq!(tags, ["743d78"]);
}

#[test]
fn a_deletion_that_comes_first_or_together_counts_too() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (alice, bob) = (Author::new(1), Author::new(2));
    let (early, own, held) = (alice.note("early"), alice.note("together"), bob.note("bob's"));
    let request = delete(&alice, NOW - 5, &[&["e", &early.id.to_string()], &["e", &held.id.to_string()]]);
    world.publish(conn, &request);
    assert_eq!(world.publish(conn, &early), blocked(&early));
    assert_eq!(world.publish(conn, &held), accepted(&held));
    // In one group, in either order.
    let together = delete(&alice, NOW, &[&["e", &own.id.to_string()]]);
    for order in [[&own, &together], [&together, &own]] {
        world.together(conn, &order);
        assert_eq!(contents(&mut world, conn, json!({"ids": [own.id]})), Vec::<String>::new());
    }
}

#[test]
fn addresses_are_deleted_up_to_the_request() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (alice, bob) = (Author::new(1), Author::new(2));
    let at = |time, d: &str, content: &str| alice.sign(30023, time, &[&["d", d]], content);
    world.publish(conn, &at(NOW, "x", "x old"));
    world.publish(conn, &at(NOW, "y", "y"));
    world.publish(conn, &alice.sign(0, NOW, &[], "profile"));
    let address = |author: &Author, kind: u16, d: &str| format!("{kind}:{}:{d}", author.key());
    let theirs = delete(&bob, NOW + 9, &[&["a", &address(&alice, 30023, "x")]]);
    world.publish(conn, &theirs);
    assert_eq!(contents(&mut world, conn, json!({"kinds": [30023]})).len(), 2);
    let (x, profile) = (address(&alice, 30023, "x"), address(&alice, 0, ""));
    let request = delete(&alice, NOW + 1, &[&["a", &x], &["a", &profile]]);
    world.publish(conn, &request);
    assert_eq!(contents(&mut world, conn, json!({"kinds": [30023, 0]})), ["y"]);
    let late = at(NOW + 1, "x", "as old as the request");
    assert_eq!(world.publish(conn, &late), blocked(&late));
    let new = at(NOW + 2, "x", "x new");
    assert_eq!(world.publish(conn, &new), accepted(&new));
    // An older request that comes later reaches no further than itself.
    world.publish(conn, &delete(&alice, NOW, &[&["a", &x]]));
    assert_eq!(contents(&mut world, conn, json!({"kinds": [30023]})), ["x new", "y"]);
}

/// `OK true` to a deletion that can delete nothing would be a promise that is not kept.
#[test]
fn targets_in_another_spelling_are_refused() {
    let mut world = World::open_relay();
    let conn = world.client();
    let alice = Author::new(1);
    let (key, note) = (alice.key().to_string(), alice.note("stays"));
    world.publish(conn, &note);
    let kinds = ["+30023", "030023", "3e4", "30023.0", " 30023", "-1", "65536", ""];
    let mut wrong: Vec<[String; 2]> = kinds.map(|kind| ["a".to_owned(), format!("{kind}:{key}:x")]).into();
    for address in [format!("30023:{}:x", key.to_uppercase()), format!("30023:{key}"), String::new()] {
        wrong.push(["a".to_owned(), address]);
    }
    for id in [note.id.to_string().to_uppercase(), note.id.to_string() + "0", String::new()] {
        wrong.push(["e".to_owned(), id]);
    }
    for [name, value] in wrong {
        let request = delete(&alice, NOW, &[&[&name, &value]]);
        let reason = match name.as_str() {
            "a" => "invalid: a tag must be <kind>:<key>:<d>, the kind in digits, the key in lower-case hex",
            _ => "invalid: e tag must be 64 lower-case hex digits",
        };
        assert_eq!(world.publish(conn, &request), json!(["OK", request.id, false, reason]), "{name} {value}");
    }
    assert_eq!(contents(&mut world, conn, json!({})), ["stays"]);
}

#[test]
fn a_blocked_version_replaces_nothing() {
    let mut world = World::open_relay();
    let conn = world.client();
    let alice = Author::new(1);
    let (old, new) = (alice.sign(0, NOW, &[], "old"), alice.sign(0, NOW + 1, &[], "new"));
    world.publish(conn, &delete(&alice, NOW, &[&["e", &new.id.to_string()]]));
    world.publish(conn, &old);
    assert_eq!(world.publish(conn, &new), blocked(&new));
    assert_eq!(contents(&mut world, conn, json!({"kinds": [0]})), ["old"]);
}

#[test]
fn a_deletion_request_cannot_be_deleted() {
    let mut world = World::open_relay();
    let conn = world.client();
    let alice = Author::new(1);
    let note = alice.note("gone");
    let request = delete(&alice, NOW, &[&["e", &note.id.to_string()]]);
    world.publish(conn, &request);
    world.publish(conn, &delete(&alice, NOW + 1, &[&["e", &request.id.to_string()]]));
    assert_eq!(contents(&mut world, conn, json!({"ids": [request.id]})), ["deletion"]);
    assert_eq!(world.publish(conn, &note), blocked(&note));
    assert_eq!(world.publish(conn, &request)[3], "duplicate: already have this event");
}

#[test]
fn gift_wraps_are_deleted_by_whom_they_are_for() {
    let mut world = World::new(&[]);
    let (alice, bob, throw_away) = (Author::new(1), Author::new(2), Author::new(3));
    let conn = world.agent(&alice);
    let wrap = |to: &Author, content: &str| throw_away.sign(1059, NOW, &[&["p", &to.key().to_string()]], content);
    let (mine, another, theirs) = (wrap(&alice, "mine"), wrap(&alice, "another"), wrap(&bob, "theirs"));
    for event in [&mine, &another, &theirs] {
        world.publish(conn, event);
    }
    let ids = [&mine, &theirs].map(|event| event.id.to_string());
    world.publish(conn, &delete(&alice, NOW, &[&["e", &ids[0]], &["e", &ids[1]]]));
    assert_eq!(contents(&mut world, conn, json!({"kinds": [1059]})), ["another"]);
    assert_eq!(world.publish(conn, &mine), blocked(&mine));
    let reader = world.agent(&bob);
    assert_eq!(contents(&mut world, reader, json!({"kinds": [1059]})), ["theirs"]);
}

#[test]
fn who_vanishes_is_gone_for_good() {
    let mut world = World::new(&[]);
    let (alice, bob, throw_away) = (Author::new(1), Author::new(2), Author::new(3));
    let (conn, other) = (world.agent(&alice), world.agent(&bob));
    let notes: Vec<Event> = (0..450).map(|n| alice.sign(1, NOW - n, &[&["t", "x"]], &n.to_string())).collect();
    for note in &notes {
        world.say(conn, json!(["EVENT", note]));
    }
    let wrap = throw_away.sign(1059, NOW, &[&["p", &alice.key().to_string()]], "for alice");
    let request = delete(&alice, NOW, &[&["e", &"ab".repeat(32)]]);
    let (reply, future) = (bob.sign(1, NOW, &[&["t", "x"]], "bob's"), alice.sign(1, NOW + 2, &[], "after"));
    for event in [&wrap, &request, &reply, &future] {
        world.publish(conn, event);
    }
    let vanish = alice.sign(62, NOW + 1, &[&["relay", RELAY]], "bye");
    assert_eq!(world.publish(conn, &vanish), accepted(&vanish));
    // In bounded steps; here all of them have been let happen.
    assert_eq!(contents(&mut world, conn, json!({"authors": [alice.key()]})), ["after", "bye"]);
    assert!(contents(&mut world, conn, json!({"kinds": [1059]})).is_empty());
    assert_eq!(contents(&mut world, other, json!({"#t": ["x"]})), ["bob's"]);
    assert_eq!(world.column("SELECT count(*) || '' FROM tags WHERE tag <> x'743d78'"), ["0"]);
    assert_eq!(world.column("SELECT pubkey FROM vanishing"), Vec::<String>::new());
    for gone in [&notes[7], &request, &wrap] {
        assert_eq!(world.publish(conn, gone), blocked(gone));
    }
    let again = alice.sign(1, NOW + 3, &[], "again");
    assert_eq!(world.publish(conn, &again), accepted(&again));
    // No request undoes it.
    world.publish(conn, &delete(&alice, NOW + 4, &[&["e", &vanish.id.to_string()]]));
    assert_eq!(world.publish(conn, &vanish)[3], "duplicate: already have this event");
}

#[test]
fn a_request_to_vanish_must_be_for_us() {
    let mut world = World::open_relay();
    let conn = world.client();
    let alice = Author::new(1);
    let note = alice.note("stays");
    world.publish(conn, &note);
    for tags in [
        &[][..],
        &[&["relay", "wss://elsewhere.example"][..]][..],
        &[&["relay"][..]][..],
        &[&["relay", "all_relays"][..]][..],
    ] {
        let vanish = alice.sign(62, NOW, tags, "");
        let reason = "invalid: relay tag must be ALL_RELAYS or this relay's URL";
        assert_eq!(world.publish(conn, &vanish), json!(["OK", vanish.id, false, reason]));
    }
    assert_eq!(contents(&mut world, conn, json!({})), ["stays"]);
    let vanish = alice.sign(62, NOW, &[&["relay", "wss://elsewhere.example"], &["relay", "ALL_RELAYS"]], "");
    world.publish(conn, &vanish);
    assert!(contents(&mut world, conn, json!({"kinds": [1]})).is_empty());
}

#[test]
fn vanishing_goes_on_after_the_loss_of_memory() {
    let mut world = World::open_relay();
    let conn = world.client();
    let alice = Author::new(1);
    for n in 0..250 {
        world.say(conn, json!(["EVENT", alice.note(&n.to_string())]));
    }
    world.settle();
    world.take(conn);
    world.say(conn, json!(["EVENT", alice.sign(62, NOW, &[&["relay", "ALL_RELAYS"]], "")]));
    let answer = world.run_oldest(true).unwrap();
    world.input(answer);
    world.reset(false);
    world.settle();
    assert_eq!(world.stored().len(), 251);
    world.pass(120);
    assert_eq!(world.stored().len(), 1);
}

#[test]
fn a_deletion_request_that_vanished_deletes_nothing() {
    let mut world = World::open_relay();
    let conn = world.client();
    let alice = Author::new(1);
    let later = alice.sign(1, NOW + 5, &[], "after vanishing");
    let request = delete(&alice, NOW, &[&["e", &later.id.to_string()]]);
    let vanish = alice.sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], "");
    world.publish(conn, &later);
    // Together with the request to vanish, and after it.
    world.together(conn, &[&vanish, &request]);
    assert_eq!(world.publish(conn, &request), blocked(&request));
    assert_eq!(contents(&mut world, conn, json!({"kinds": [1], "authors": [alice.key()]})), ["after vanishing"]);
}

/// What one author sends at once ends as if it had been sent one by one, whatever others send meanwhile.
#[test]
fn an_authors_events_keep_their_order() {
    let mut chance = Chance::new(6);
    let authors = [1, 2, 3].map(Author::new);
    let (mut blocked, mut absorbed) = (0, 0);
    for round in 0..300 {
        let mut events: Vec<Event> = Vec::new();
        for n in 0..12 {
            let author = chance.pick(&authors);
            let at = NOW - chance.below(4);
            let own: Vec<&Event> = events.iter().filter(|event| event.pubkey == author.key()).collect();
            let event = match chance.below(8) {
                0 | 1 if !own.is_empty() => delete(author, at, &[&["e", &chance.pick(&own).id.to_string()]]),
                2 => delete(author, at, &[&["a", &format!("30000:{}:{n}", author.key())]]),
                3 if chance.one_in(3) => author.sign(62, at, &[&["relay", "ALL_RELAYS"]], ""),
                4 => author.sign(30_000, at, &[&["d", &n.to_string()]], ""),
                5 => author.sign(30_001, at, &[&["d", ""]], &n.to_string()),
                _ => author.sign(1, at, &[], &format!("{round} {n}")),
            };
            events.push(event);
        }
        // Some coordinates are deleted before their event is there.
        if chance.one_in(2) {
            chance.shuffle(&mut events);
        }
        events.dedup_by_key(|event| event.id);
        let (mut at_once, mut one_by_one) = (World::open_relay(), World::open_relay());
        let (a, b) = (at_once.client(), one_by_one.client());
        let list: Vec<&Event> = events.iter().collect();
        let mut told = at_once.together(a, &list);
        let mut wanted: Vec<Value> = events.iter().map(|event| one_by_one.publish(b, event)).collect();
        // Groups are answered in the order of their numbers, authors take turns.
        told.sort_by_key(|frame| frame[1].to_string());
        wanted.sort_by_key(|frame| frame[1].to_string());
        // A version that was not written as a newer one came in time is accepted, too.
        for (told, wanted) in told.iter_mut().zip(&wanted) {
            let newer = "duplicate: a newer version of this event is stored";
            if told[2] == true && told[3] == newer {
                (*told, absorbed) = (wanted.clone(), absorbed + 1);
            }
        }
        assert_eq!(told, wanted, "round {round}: {events:#?}");
        at_once.pass(120);
        one_by_one.pass(120);
        let ids = |world: &World| world.column("SELECT id FROM events WHERE content NOT LIKE '%busy%' ORDER BY id");
        assert_eq!(ids(&at_once), ids(&one_by_one), "round {round}: {events:#?}");
        blocked += told.iter().filter(|frame| frame[2] == false).count();
    }
    assert!(blocked > 100 && absorbed > 20, "{blocked}, {absorbed}");
}

/// From the OK on, before anything was removed, and after a loss of memory.
#[test]
fn nothing_of_who_vanished_is_served_from_the_ok_on() {
    let mut world = World::new(&[]);
    let (alice, bob, throw_away) = (Author::new(1), Author::new(2), Author::new(3));
    let (conn, other) = (world.agent(&alice), world.agent(&bob));
    let old = [
        alice.sign(1, NOW - 1, &[&["t", "x"]], "note"),
        alice.sign(30_023, NOW - 1, &[&["d", "x"], &["t", "x"]], "article"),
        throw_away.sign(1059, NOW - 1, &[&["p", &alice.key().to_string()], &["p", &bob.key().to_string()]], "for both"),
    ];
    for event in &old {
        world.publish(conn, event);
    }
    world.publish(other, &bob.sign(1, NOW - 1, &[&["t", "x"]], "bob's"));
    world.say(conn, json!(["EVENT", alice.sign(62, NOW, &[&["relay", "ALL_RELAYS"]], "bye")]));
    // The request alone is carried out.
    let answer = world.run_oldest(true).unwrap();
    world.input(answer);
    assert_eq!(world.take(conn).last().unwrap()[2], true);
    for memory in ["kept", "lost"] {
        if memory == "lost" {
            world.reset(false);
        }
        assert_eq!(world.column("SELECT count(*) || '' FROM events"), ["5"]);
        for (filter, expected) in [
            (json!({"authors": [alice.key()]}), &["bye"][..]),
            (json!({"authors": [alice.key()], "kinds": [1, 30_023]}), &[]),
            (json!({"ids": old.iter().map(|event| event.id).collect::<Vec<_>>()}), &[]),
            (json!({"kinds": [1]}), &["bob's"]),
            (json!({"kinds": [1], "#t": ["x"]}), &["bob's"]),
            (json!({"#t": ["x"]}), &["bob's"]),
            (json!({"#t": ["x"], "authors": [alice.key()]}), &[]),
            (json!({"kinds": [1059]}), &[]),
        ] {
            world.say(other, json!(["REQ", "find", filter]));
            while let Some(answer) = world.run_oldest(false) {
                world.input(answer);
            }
            let frames = world.take(other);
            let found = frames.iter().filter(|frame| frame[0] == "EVENT");
            let found: Vec<&str> = found.map(|frame| frame[2]["content"].as_str().unwrap()).collect();
            assert_eq!(found, expected, "{filter}, memory {memory}");
        }
    }
}

/// What the store has read before, and what waits behind a read, is not sent after the OK.
#[test]
fn what_was_read_before_a_key_vanished_is_not_sent_after_its_ok() {
    for (case, limit) in [("read", 10), ("waits", 10), ("lost", 1)] {
        let mut world = World::new(&[]);
        let (alice, bob) = (Author::new(1), Author::new(2));
        let (conn, reader) = (world.agent(&alice), world.agent(&bob));
        let [hers, his] = [alice.key().to_string(), bob.key().to_string()];
        let events = [
            alice.sign(1, NOW - 1, &[], "hers"),
            Author::new(3).sign(1059, NOW - 1, &[&["p", &hers], &["p", &his]], "for both"),
            bob.sign(1, NOW - 1, &[], "his"),
            alice.sign(1, NOW + 1, &[], "later"),
        ];
        let store = |world: &mut World| {
            for event in &events {
                world.say(conn, json!(["EVENT", event]));
                world.commit_all();
            }
        };
        let ask = json!(["REQ", "s", {"limit": limit}]);
        let answer = if case == "read" {
            store(&mut world);
            world.say(reader, ask);
            world.run_oldest(false).unwrap()
        } else if case == "waits" {
            world.say(reader, ask);
            let answer = world.run_oldest(false).unwrap();
            store(&mut world);
            answer
        } else {
            // It waited when memory was lost, and is read from the log.
            world.say(reader, ask);
            store(&mut world);
            world.reset(false);
            let totals = world.run_oldest(false).unwrap();
            world.input(totals);
            world.run_oldest(false).unwrap()
        };
        world.say(conn, json!(["EVENT", alice.sign(62, NOW, &[&["relay", "ALL_RELAYS"]], "bye")]));
        world.commit_all();
        assert_eq!(world.take(conn).last().unwrap()[2], true);
        world.input(answer);
        let frames = world.take(reader);
        let mut contents: Vec<&str> = frames.iter().filter_map(|frame| frame[2]["content"].as_str()).collect();
        contents.sort_unstable();
        assert_eq!(contents, ["bye", "his", "later"], "{case}: {frames:?}");
    }
}

/// What landed although it was reported as failed is found in the log, and told before anybody vanishes.
#[test]
fn what_was_found_before_a_key_vanished_is_not_told_after_its_ok() {
    let mut world = World::open_relay();
    let (alice, bob) = (Author::new(1), Author::new(2));
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    world.say(conn, json!(["EVENT", bob.note("keeps the store busy")]));
    for author in [&alice, &bob] {
        world.say(conn, json!(["EVENT", author.sign(1, NOW - 1, &[], "lost")]));
    }
    let busy = world.run_oldest(true).unwrap();
    world.input(busy);
    world.lose();
    world.take(conn);
    world.take(reader);
    world.say(conn, json!(["EVENT", alice.sign(62, NOW, &[&["relay", "ALL_RELAYS"]], "bye")]));
    world.pass_until_timer();
    // How far the log is: until what nobody was told of is told nothing is written.
    assert_eq!(world.waiting(), (0, 1));
    let answer = world.run_oldest(false).unwrap();
    world.input(answer);
    let told: Vec<_> = world.take(reader).iter().map(|frame| frame[2]["pubkey"].clone()).collect();
    assert_eq!(told, [json!(alice.key()), json!(bob.key())]);
    world.settle();
    assert_eq!(world.take(conn).last().unwrap()[2], true);
    let told: Vec<_> = world.take(reader).iter().map(|frame| frame[2]["kind"].clone()).collect();
    assert_eq!(told, [62]);
}

/// However many vanish, and however many kinds one has used, the walk ends when nothing is left.
#[test]
fn a_walk_through_what_who_vanishes_has_left_ends_when_nothing_is_left() {
    let mut world = World::open_relay();
    let conn = world.client();
    let victim = Author::new(1);
    for kind in [1_u16, 7, 30, 40, 1063, 30_023] {
        world.publish(conn, &victim.sign(kind, NOW - 10, &[&["d", "x"]], "private life"));
    }
    // 2,500 keys have asked to vanish, and the victim has used 6,000 kinds since.
    let sql = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2500) \
         INSERT INTO vanishing (pubkey, until) SELECT unhex(printf('%064x', n)), {NOW} FROM n; \
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 6000) \
         INSERT INTO events (seq, id, tie, pubkey, sig, kind, shelf, created_at, delay_ms, tags, content) \
         SELECT 1000 + n, unhex(printf('%064x', n)), n, unhex('{}'), zeroblob(64), 20000 + n, 20000 + n, {NOW} + 100, 0, \
           '[]', '\"\"' FROM n; \
         UPDATE totals SET last_seq = 9000;",
        victim.key()
    );
    world.db.0.execute_batch(&sql).unwrap();
    world.reset(true);
    world.settle();
    world.publish(conn, &victim.sign(62, NOW, &[&["relay", RELAY]], ""));
    world.pass(7200);
    assert_eq!(world.column("SELECT count(*) || '' FROM vanishing"), ["0"]);
    let left =
        format!("SELECT count(*) || '' FROM events WHERE pubkey = unhex('{}') AND created_at < {NOW}", victim.key());
    assert_eq!(world.column(&left), ["0"]);
    assert_eq!(world.stored().len(), 6001);
}
