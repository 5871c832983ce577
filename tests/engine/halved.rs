//! Groups of which only a part can be looked at at once: who waits beside what is large, and in which order.

use nexus::gateway::ConnId;
use nexus::nostr::Event;
use serde_json::json;

use crate::common::chance::Chance;
use crate::common::events::{Author, NOW};
use crate::common::world::World;

/// Gift wraps for the [numbered](Author::numbered) keys: where these are many, one deletion of all concerns more than is
/// looked at at once, so it is refused, and can be sent again by each of the keys.
fn wraps(world: &mut World, large: bool) -> Vec<Event> {
    let conn = world.client();
    let keys: Vec<String> =
        (0..if large { 1700 } else { 200 }).map(|n| Author::numbered(n).key().to_string()).collect();
    let wraps: Vec<Event> = (0..6).map(|n| Author::new(n).sign_list(1059, &[], "p", &keys, "")).collect();
    wraps.iter().for_each(|wrap| assert_eq!(world.publish(conn, wrap)[2], true));
    wraps
}

/// Groups are decided until a client is answered, and `attack` is made while each is looked at: says how many were decided.
fn groups_until_answered(world: &mut World, conn: ConnId, mut attack: impl FnMut(&mut World)) -> u32 {
    let mut groups = 0;
    while world.frames(conn) == 0 {
        attack(world);
        while world.waiting().0 == 0 && world.frames(conn) == 0 {
            let facts = world.run_oldest(false).unwrap();
            world.input(facts);
        }
        if let Some(written) = world.run_oldest(true) {
            world.input(written);
        }
        groups += 1;
        assert!(groups < 60, "it is not answered");
    }
    groups
}

/// Each of these answers concerns a job that names 1,700 providers, of which nine can be looked at together, and more of them
/// come than are decided. A note that waits beside them is decided all the same, also where answers go first: that they do
/// not once the relay has forgotten which jobs it holds.
#[test]
fn answers_to_large_jobs_do_not_keep_all_else_waiting() {
    for urgent in [false, true] {
        let mut world = World::open_relay();
        let stranger = world.client();
        let requests = Author::new(2).ask_many(60);
        requests.iter().for_each(|request| assert_eq!(world.publish(stranger, request)[2], true));
        if !urgent {
            world.reset(false);
            world.settle();
        }
        let (stranger, conn) = (world.client(), world.client());
        let mut numbers = 0_u32..;
        let mut attack = |world: &mut World| {
            let n = numbers.next().unwrap();
            let request = &requests[n as usize % requests.len()];
            let answer = Author::numbered(n).answer(7000, request, &[&["status", "processing"]]);
            world.say(stranger, json!(["EVENT", answer]));
        };
        world.holds_facts = true;
        (0..40).for_each(|_| attack(&mut world));
        let note = Author::new(3).note("in its turn");
        world.say(conn, json!(["EVENT", note]));
        let groups = groups_until_answered(&mut world, conn, |world| (0..14).for_each(|_| attack(world)));
        assert!(groups <= 20, "urgent {urgent}: answered after {groups} groups");
    }
}

/// A provider asks to vanish, and sends a result after that: the result is kept out, also where his request is put back
/// meanwhile and answers to jobs go first.
#[test]
fn an_author_whose_event_is_put_back_keeps_his_order() {
    for large in [false, true] {
        let mut world = World::open_relay();
        let wraps = wraps(&mut world, large);
        let (stranger, conn) = (world.client(), world.client());
        let (customer, provider) = (Author::new(2), Author::new(3));
        let request = customer.sign(5050, NOW, &[], "");
        assert_eq!(world.publish(stranger, &request)[2], true);
        world.holds_facts = true;
        for n in 0..3 {
            world.say(stranger, json!(["EVENT", Author::numbered(n).delete(&wraps)]));
        }
        let vanish = provider.sign(62, NOW + 1, &[&["relay", "ALL_RELAYS"]], "");
        let result = provider.answer(6050, &request, &[]);
        world.say(conn, json!(["EVENT", vanish]));
        // The first deletion was alone in its group; the others and the request to vanish are the next one.
        let facts = world.run_oldest(false).unwrap();
        world.input(facts);
        world.run_oldest(true).into_iter().for_each(|written| world.input(written));
        world.say(conn, json!(["EVENT", result]));
        world.settle();
        let said = world.take(conn);
        let of = |event: &Event| said.iter().find(|said| said[1] == json!(event.id)).unwrap()[2].clone();
        assert_eq!((of(&vanish), of(&result)), (json!(true), json!(false)), "large {large}");
    }
}

/// Large events, their newer versions and their deletions come at once, so that groups are halved: what is stored in the end
/// is what is stored when they come one by one, and the index has its entries.
#[test]
fn halved_groups_end_as_if_events_came_one_by_one() {
    for seed in 0..2 {
        let chance = &mut Chance::new(seed);
        let authors: Vec<Author> = (1..=4).map(Author::new).collect();
        let mut events: Vec<Event> = Vec::new();
        for n in 0..70 {
            let author = chance.pick(&authors);
            let own: Vec<Event> = events.iter().filter(|event| event.pubkey == author.key()).cloned().collect();
            let d = chance.below(3).to_string();
            let event = match chance.below(8) {
                0..3 => author.large(1, n, &[]),
                3..5 => author.large(30_000, n, &[&["d", &d]]),
                5 if own.len() > 1 => {
                    let some: Vec<Event> = (0..6).map(|_| chance.pick(&own).clone()).collect();
                    author.delete(&some)
                }
                6 => {
                    let address = format!("30000:{}:{d}", author.key());
                    author.sign(5, NOW - 2 + chance.below(4), &[&["a", &address]], "")
                }
                _ => author.sign(30_000, NOW - 2 + chance.below(4), &[&["d", &d]], &n.to_string()),
            };
            events.push(event);
        }
        let ends = [1, 40].map(|at_once| {
            let mut world = World::native(&[("AUTH_REQUIRED", "false")]);
            let conn = world.client();
            for some in events.chunks(at_once) {
                some.iter().for_each(|event| world.say(conn, json!(["EVENT", event])));
                world.settle();
            }
            let answered = world.take(conn);
            assert_eq!(answered.len(), events.len());
            let is_full = |said: &&serde_json::Value| said[3].as_str().unwrap().starts_with("error: ");
            assert_eq!(answered.iter().find(is_full), None);
            let mut ids = world.column("SELECT lower(hex(id)) FROM events");
            ids.sort();
            let entries = world.column("SELECT cast(count(*) AS TEXT) FROM tags");
            let lost =
                world.column("SELECT cast(count(*) AS TEXT) FROM tags WHERE seq NOT IN (SELECT seq FROM events)");
            assert_eq!(lost, ["0"], "seed {seed}, {at_once} at once");
            (ids, entries)
        });
        assert_eq!(ends[0], ends[1], "seed {seed}");
    }
}
