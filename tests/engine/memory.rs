//! One budget of memory: what clients can make grow has a share of it, a full share refuses with a reason, one network
//! takes its part at the most, and what is counted is what is taken.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use nexus::gateway::{Api, ConnId};
use nexus::seam::Input;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::{RELAY, World};

/// The system's allocator, which counts what each thread holds.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: all is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get() + layout.size() as isize);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as isize);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.dealloc(place, layout) }
    }
}

/// Bytes that this thread holds.
pub fn held() -> isize {
    HELD.get()
}

#[global_allocator]
static COUNTING: Counting = Counting;

const MIB: usize = 1 << 20;
/// The budget of an object.
const BUDGET: usize = 64 * MIB;

/// What `/metrics` says of a share: bytes in use and at the most.
fn share(metrics: &str, name: &str) -> (usize, usize) {
    let value = |what: &str| {
        let line = format!("nexus_memory_{what}_bytes{{share=\"{name}\"}} ");
        let found = metrics.lines().find_map(|found| found.strip_prefix(&line));
        found.unwrap_or_else(|| panic!("no {line}")).parse::<f64>().unwrap() as usize
    };
    (value("used"), value("max"))
}

fn used(world: &mut World, name: &str) -> usize {
    share(&world.http_text(Api::Metrics), name).0
}

/// A message of a connection, with the store asked nothing meanwhile; what the relay says to it.
fn hear(world: &mut World, conn: ConnId, message: Value) -> Vec<Value> {
    world.take(conn);
    world.say(conn, message);
    world.take(conn)
}

/// A REQ of so many filters of a thousand ids.
fn large_req(name: &str, filters: usize) -> Value {
    let ids: Vec<String> = (0..1000).map(|n| format!("{n:064x}")).collect();
    json!([vec![json!("REQ"), json!(name)], vec![json!({"ids": ids, "limit": 0}); filters]].concat())
}

/// The text of the first CLOSED.
fn closed(frames: &[Value]) -> Option<String> {
    frames.iter().find(|frame| frame[0] == "CLOSED").map(|frame| frame[2].as_str().unwrap().to_owned())
}

#[test]
fn subscriptions_have_a_share_and_give_it_back() {
    let mut world = World::open_relay();
    let mut conns = Vec::new();
    let reason = loop {
        let conn = world.client();
        conns.push(conn);
        if let Some(reason) = (0..3).find_map(|n| closed(&hear(&mut world, conn, large_req(&n.to_string(), 1)))) {
            break reason;
        }
    };
    assert_eq!(reason, "error: the relay has no room for another subscription; try again later");
    let (used, max) = share(&world.http_text(Api::Metrics), "subscriptions");
    assert!(used <= max && used > max / 10 * 9, "{used} of {max}");
    let last = *conns.last().unwrap();
    world.close(conns[0]);
    assert_eq!(closed(&hear(&mut world, last, large_req("again", 1))), None);
    conns.into_iter().skip(1).for_each(|conn| world.close(conn));
    assert_eq!(self::used(&mut world, "subscriptions"), 0);
    assert_eq!(self::used(&mut world, "connections"), 0);
}

#[test]
fn one_network_takes_a_part_of_a_share_unless_its_key_is_listed() {
    let plenty = "events 100000/100000 queries 100000/100000 bytes 1000000000/1000000000";
    let rates = ["RATE_GUEST", "RATE_AGENT", "RATE_NETWORK"].map(|name| (name, plenty));
    let settings = [("RATE_LIMITS", "on"), ("AUTH_REQUIRED", "false"), ("MAX_CONNECTIONS_PER_IP", "100")];
    let listed = Author::new(9);
    let key = listed.key().to_string();
    let mut world = World::new(&[&rates[..], &settings, &[("LISTED_KEYS", &key)]].concat());
    let fill = |world: &mut World, ip: &str, author: &Author| {
        for n in 0..100 {
            let conn = world.open_from(ip).unwrap();
            world.prove(author, conn);
            for m in 0..3 {
                if let Some(reason) = closed(&hear(world, conn, large_req(&m.to_string(), 1))) {
                    return (3 * n + m, reason);
                }
            }
        }
        panic!("no end");
    };
    let (first, reason) = fill(&mut world, "192.0.2.1", &Author::new(1));
    assert_eq!(reason, "restricted: the subscriptions of your network take all the memory it may; CLOSE some");
    let (used, max) = share(&world.http_text(Api::Metrics), "subscriptions");
    assert!(used <= max / 10 && used > max / 20, "{used} of {max}");
    let (second, _) = fill(&mut world, "192.0.2.2", &Author::new(2));
    assert!(
        second <= first && second > first * 3 / 4,
        "another network has a part of what is left: {second} after {first}"
    );
    let (_, reason) = fill(&mut world, "192.0.2.3", &listed);
    assert!(reason.starts_with("error: the relay has no room"), "{reason}");
}

#[test]
fn connections_have_a_share_and_guests_make_room() {
    let mut world = World::new(&[("RATE_LIMITS", "on")]);
    let ip = |n: usize| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
    let mut open = 0;
    while world.open_from(&ip(open)).is_some() {
        open += 1;
    }
    assert!(open > 3000, "{open}");
    let away = world.may_open("192.0.2.1").unwrap_err();
    assert_eq!((away.status, away.retry_after_s), (503, Some(10)));
    let (used, max) = share(&world.http_text(Api::Metrics), "connections");
    assert!(used <= max, "{used} of {max}");
    // A host that does not ask.
    let opened = world.open();
    let mut others = (1..opened.0).map(ConnId);
    assert!(others.any(|conn| world.take(conn).iter().any(|frame| frame[0] == "(closed)")));
    assert_eq!(world.http(Api::Stats).1["connections"]["open"], open, "the oldest guest went");
    // Those who had the time to prove a key make room.
    world.pass(31);
    assert!(world.open_from("192.0.2.1").is_some());
    assert_eq!(world.http(Api::Stats).1["connections"]["open"], open);
}

#[test]
fn questions_and_events_that_wait_have_a_share() {
    let mut world = World::open_relay();
    let mut reason = None;
    while reason.is_none() {
        let conn = world.client();
        let filters = vec![json!({"kinds": [1], "#t": ["x"]}); 16];
        let count = |n: u64| json!([vec![json!("COUNT"), json!(n.to_string())], filters.clone()].concat());
        reason = (0..100).find_map(|n| closed(&hear(&mut world, conn, count(n))));
    }
    assert_eq!(
        reason.unwrap(),
        "error: more questions wait for an answer than there is memory for; try again in some seconds"
    );
    let conn = world.client();
    let refused = (0..).find_map(|n| {
        let event = Author::new(1).note(&format!("{n}{}", "x".repeat(20_000)));
        hear(&mut world, conn, json!(["EVENT", event])).into_iter().find(|frame| frame[0] == "OK")
    });
    assert_eq!(refused.unwrap()[3], "error: the store is behind; try again in a few seconds");
    world.settle();
    let metrics = world.http_text(Api::Metrics);
    assert_eq!((share(&metrics, "questions").0, share(&metrics, "events").0), (0, 0));
}

#[test]
fn the_store_is_asked_for_as_much_as_there_is_memory_for_the_answers() {
    let mut world = World::open_relay();
    let conns: Vec<ConnId> = (0..40).map(|_| world.client()).collect();
    for conn in &conns {
        world.say(*conn, json!(["REQ", "q", {"kinds": [1], "#t": ["x"]}]));
    }
    let (_, asked) = world.waiting();
    assert!((3..10).contains(&asked), "{asked} pages at once");
    let (used, max) = share_unasked(&mut world, "answers");
    assert!(used <= max && used > max / 2, "{used} of {max}");
    world.settle();
    for conn in conns {
        assert_eq!(world.take(conn), [json!(["EOSE", "q", ["finish"]])]);
    }
    assert_eq!(self::used(&mut world, "answers"), 0);
}

/// What a store that fails does not keep from being told.
fn share_unasked(world: &mut World, name: &str) -> (usize, usize) {
    let memory = world.relay.memory();
    memory[name]
}

/// Everything that can be filled is, and what is counted is not less than what is taken.
#[test]
fn what_is_counted_is_what_is_taken() {
    let mut world = World::open_relay();
    // What the window holds.
    let conn = world.client();
    for n in 0..9000 {
        let tags: Vec<Vec<String>> = (0..6).map(|t| vec!["t".to_owned(), format!("{n} {t}")]).collect();
        let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        world.say(conn, json!(["EVENT", Author::new(1).sign(1, NOW, &tags, "of a size that is usual")]));
        if n % 500 == 0 {
            world.settle();
        }
    }
    world.settle();
    let filled = |world: &World, name: &str| {
        let (used, max) = world.relay.memory()[name];
        used > max / 10 * 8
    };
    // Answers that do not come, and what is live meanwhile.
    for _ in 0..30 {
        let conn = world.client();
        for n in 0..20 {
            world.say(conn, json!(["REQ", n.to_string(), {"kinds": [1, 20_000], "#t": ["x"]}]));
        }
    }
    for n in 0.. {
        let event = Author::new(3).sign(20_000, NOW, &[&["t", "x"]], &n.to_string());
        world.say(conn, json!(["EVENT", event]));
        if filled(&world, "backlogs") {
            break;
        }
    }
    // Questions behind them.
    while !filled(&world, "questions") {
        let conn = world.client();
        for n in 0..20 {
            world.say(conn, json!(["COUNT", n.to_string(), {"kinds": [1], "#t": ["a", "b", "c"]}]));
        }
    }
    // Subscriptions of small filters, and of large ones.
    let mut full = false;
    while !full {
        let conn = world.client();
        for n in 0..20 {
            let small = json!(["REQ", n.to_string(), {"kinds": [1, 7], "#t": ["y"], "limit": 0}]);
            let req = if n % 8 == 0 { large_req(&n.to_string(), 1) } else { small };
            full |= closed(&hear(&mut world, conn, req)).is_some_and(|reason| reason.contains("no room"));
        }
    }
    // Events that wait.
    let wait = |n: u64| json!(["EVENT", Author::new(2).note(&format!("{n} waits"))]);
    (0..).take_while(|n| hear(&mut world, conn, wait(*n)).is_empty()).count();
    while !filled(&world, "connections") {
        (0..100).for_each(|_| _ = world.open());
    }
    let memory = world.relay.memory();
    let shares = ["recent", "subscriptions", "questions", "backlogs", "events", "connections"];
    let counted: usize = shares.iter().map(|name| memory[*name].0).sum();
    for name in shares {
        let (used, max) = memory[name];
        assert!(used <= max && used > max / 10 * 8, "{name}: {used} of {max}");
    }
    drop(memory);
    let before = HELD.get();
    drop(world.host.relay);
    let taken = (before - HELD.get()) as usize;
    assert!(taken <= BUDGET, "{taken} bytes are taken");
    assert!(taken <= counted && counted <= 3 * taken, "{taken} bytes are taken, {counted} counted");
}

/// How long some messages take to be done.
fn time(world: &mut World, conn: ConnId, messages: &[String]) -> Duration {
    let began = Instant::now();
    for text in messages {
        drop(world.effects(Input::Received { conn, text: text.clone() }));
    }
    began.elapsed()
}

/// The shortest of some tries: nothing else did much meanwhile.
fn shortest(mut once: impl FnMut() -> Duration) -> Duration {
    (0..5).map(|_| once()).min().unwrap()
}

#[test]
fn a_small_req_does_not_write_down_the_large_ones_again() {
    let mut world = World::open_relay();
    let conn = world.client();
    for n in 0..3 {
        let ids: Vec<String> = (0..1000).map(|i| format!("{:064x}", n * 1000 + i)).collect();
        world.ask(conn, json!(["REQ", n.to_string(), {"ids": ids, "limit": 0}]));
    }
    let small: Vec<String> = (0..50)
        .flat_map(|n| [json!(["REQ", "small", {"kinds": [n], "limit": 0}]), json!(["CLOSE", "small"])])
        .map(|message| message.to_string())
        .collect();
    let ids: Vec<String> = (0..3000).map(|i| format!("{i:064x}")).collect();
    let filter = nexus::nostr::Filter::parse(&json!({"ids": ids}).to_string()).unwrap();
    let written = shortest(|| {
        let began = Instant::now();
        small.iter().for_each(|_| drop(serde_json::to_string(&filter).unwrap()));
        began.elapsed()
    });
    let taken = shortest(|| time(&mut world, conn, &small));
    assert!(taken < written / 2, "{taken:?}, and {written:?} to write the filters down each time");
}

#[test]
fn opening_does_not_look_at_all_connections() {
    let opened = |others: u64| {
        let mut world = World::native(&[("RATE_LIMITS", "on")]);
        let open = |world: &mut World, n: u64| {
            let ip = format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
            assert!(world.may_open(&ip).is_ok());
            let input = Input::Opened { conn: ConnId(n + 1), challenge: n.to_string(), ip: Some(ip) };
            drop(world.effects(input));
        };
        (0..others).for_each(|n| open(&mut world, n));
        let mut next = others;
        shortest(|| {
            let began = Instant::now();
            for _ in 0..100 {
                open(&mut world, next);
                next += 1;
            }
            began.elapsed()
        })
    };
    let (few, many) = (opened(20), opened(20_000));
    assert!(many < few * 8, "{few:?} beside 20 connections, {many:?} beside 20,000");
}

#[test]
fn filters_that_begin_later_cost_an_event_nothing() {
    let passed = |conns: u64| {
        let mut world = World::native(&[("AUTH_REQUIRED", "false")]);
        for _ in 0..conns {
            let conn = world.client();
            for sub in 0..20 {
                let later = |n| json!({"kinds": [20_000], "since": 9_000_000_000_u64 + n, "limit": 0});
                let req = [vec![json!("REQ"), json!(sub.to_string())], (0..16).map(later).collect()].concat();
                assert_eq!(closed(&hear(&mut world, conn, json!(req))), None);
            }
        }
        let conn = world.client();
        let events = (0..20).map(|n| Author::new(1).sign(20_000, NOW, &[], &n.to_string()));
        let events: Vec<String> = events.map(|event| json!(["EVENT", event]).to_string()).collect();
        shortest(|| time(&mut world, conn, &events))
    };
    let (none, many) = (passed(0), passed(150));
    assert!(many < none * 3, "{none:?} alone, {many:?} beside 48,000 filters");
}

#[test]
fn what_is_remembered_is_restored_within_the_budget() {
    let mut world = World::open_relay();
    let conn = world.client();
    assert_eq!(closed(&hear(&mut world, conn, large_req("a", 1))), None);
    world.settle();
    let before = used(&mut world, "subscriptions");
    assert!(before > 32_000, "{before}");
    // More than an attachment holds is kept in a while.
    world.pass(11);
    world.reset(true);
    world.settle();
    assert_eq!(used(&mut world, "subscriptions"), before);
    world.take(conn);
    world.close(conn);
    assert_eq!(world.frames(conn), 0);
    assert_eq!(used(&mut world, "subscriptions"), 0);
}

/// What subscribers have missed is more than one answer of the store holds: it is read in pieces.
#[test]
fn what_was_missed_is_read_in_pieces() {
    let mut world = World::open_relay();
    let (reader, writer) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {"kinds": [1], "limit": 0}]));
    let before: Vec<(ConnId, String)> =
        [reader, writer].iter().map(|conn| (*conn, world.remembered(*conn).to_owned())).collect();
    let large = "x".repeat(90_000);
    for n in 0..100 {
        assert_eq!(world.ask(writer, json!(["EVENT", Author::new(1).note(&format!("{n}{large}"))]))[0][2], true);
    }
    world.take(reader);
    // As if memory had been lost before any of them was told.
    before.iter().for_each(|(conn, text)| world.corrupt(*conn, text));
    world.reset(true);
    world.settle();
    let told = world.take(reader).iter().filter(|frame| frame[0] == "EVENT").count();
    assert_eq!(told, 100);
}

/// Connections as agents have them, each from a network of its own: what one takes is what is counted of it.
#[test]
fn what_a_connection_is_counted_is_what_it_takes() {
    const COUNT: usize = 1000;
    // Of so many keys and subscriptions.
    for (keys, subs) in [(0, 0), (1, 0), (1, 1), (1, 3), (16, 20)] {
        let mut world = World::native(&[("AUTH_REQUIRED", "false")]);
        let (empty, count) = (HELD.get(), if keys > 1 { COUNT / 10 } else { COUNT });
        let mut frames = Vec::new();
        for n in 0..count {
            let (conn, ip) = (ConnId(n as u64 + 1), format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255));
            let challenge = format!("{n:048x}");
            for m in 0..keys {
                let tags: [&[&str]; 2] = [&["relay", RELAY], &["challenge", &challenge]];
                let auth = Author::numbered((n * 16 + m) as u32).sign(22242, NOW, &tags, "");
                frames.push((conn, json!(["AUTH", auth]).to_string()));
            }
            for sub in 0..subs {
                let filter = json!({"kinds": [1], "#t": [format!("of {n} {sub}")], "limit": 0});
                frames.push((conn, json!(["REQ", format!("sub-{sub}"), filter]).to_string()));
            }
            drop(world.effects(Input::Opened { conn, challenge, ip: Some(ip) }));
        }
        for (conn, text) in frames {
            drop(world.effects(Input::Received { conn, text }));
        }
        let taken = (HELD.get() - empty) as usize / count;
        let memory = world.relay.memory();
        let [connections, subscriptions] = ["connections", "subscriptions"].map(|name| memory[name].0 / count);
        let counted = connections + subscriptions;
        let what = format!("{keys} keys and {subs} subscriptions take {taken} bytes, {counted} are counted");
        assert!(taken <= counted && counted < taken * 3 / 2, "{what}");
    }
}
