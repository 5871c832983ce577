//! Frames: what each costs whatever is in it, and which connections end for what they send.

use nexus::gateway::{ConnId, MAX_FRAME_BYTES};
use nexus::seam::{Breach, Input};
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::{World, config};

const LIMITS: [(&str, &str); 1] = [("RATE_LIMITS", "on")];

/// Whether a connection was closed with this code, as far as its frames tell.
fn closed(frames: &[Value]) -> Option<u64> {
    frames.iter().find(|frame| frame[0] == "(closed)").map(|frame| frame[1].as_u64().unwrap())
}

fn limited(frames: &[Value]) -> usize {
    frames.iter().filter(|frame| frame.to_string().contains("rate-limited: ")).count()
}

/// Sends the same text so often, or until the connection ends; what came back.
fn flood(world: &mut World, conn: ConnId, text: &str, times: usize) -> Vec<Value> {
    let mut frames = Vec::new();
    for _ in 0..times {
        world.say_text(conn, text);
        frames.append(&mut world.take(conn));
        if closed(&frames).is_some() {
            break;
        }
    }
    frames
}

#[test]
fn the_smallest_frame_costs_what_is_advertised() {
    let advertised = config(&LIMITS).document().limitation.bytes_per_frame.unwrap() as usize;
    let mut world = World::new(&[
        ("RATE_LIMITS", "on"),
        ("RATE_AGENT", "events 20/200 queries 20/200 bytes 1/100000"),
        ("MIN_POW_DIFFICULTY", "0"),
    ]);
    let conn = world.agent(&Author::new(1));
    let close = r#"["CLOSE","x"]"#;
    let frames = flood(&mut world, conn, close, 1000);
    assert_eq!(1000 - limited(&frames), 100_000 / (advertised + close.len()));
}

#[test]
fn one_byte_frames_of_a_guest_end_its_connection() {
    let mut world = World::new(&LIMITS);
    let conn = world.open_from("192.0.2.1").unwrap();
    let frames = flood(&mut world, conn, "x", 16_500);
    assert_eq!(closed(&frames), Some(1008), "{:?}", frames.last());
    assert!(frames.len() <= 102, "{}", frames.len());
}

#[test]
fn refusals_that_come_slowly_end_nobody() {
    let mut world = World::new(&LIMITS);
    let conn = world.open_from("192.0.2.1").unwrap();
    for _ in 0..20 {
        assert_eq!(closed(&flood(&mut world, conn, "x", 50)), None);
        world.pass(10);
    }
}

#[test]
fn what_is_well_formed_never_ends_a_key() {
    let mut world = World::new(&LIMITS);
    let alice = Author::new(1);
    let conn = world.agent(&alice);
    let note = json!(["EVENT", alice.note("again")]).to_string();
    let frames = flood(&mut world, conn, &note, 3000);
    assert!(limited(&frames) > 2000);
    assert_eq!(closed(&frames), None);
    let frames = flood(&mut world, conn, r#"["REQ","s",{"kinds":[1]}]"#, 3000);
    assert!(limited(&frames) > 2000);
    assert_eq!(closed(&frames), None);
    // What is not, does.
    world.pass(60);
    world.take(conn);
    let frames = flood(&mut world, conn, r#"["EVENT",{}]"#, 200);
    assert_eq!((closed(&frames), frames.len()), (Some(1008), 101));
}

#[test]
fn what_a_network_has_spent_ends_no_key_of_it() {
    let mut world = World::new(&LIMITS);
    let (alice, guest) = (Author::new(1), world.open_from("192.0.2.1").unwrap());
    let agent = world.open_from("192.0.2.1").unwrap();
    assert_eq!(world.prove(&alice, agent)[2], true);
    world.take(agent);
    flood(&mut world, guest, &"x".repeat(100_000), 1000);
    assert_eq!(world.ask(agent, json!(["EVENT", alice.note("undisturbed")]))[0][2], true);
}

#[test]
fn oversize_messages_are_charged_and_answered_under_their_id() {
    let mut world = World::new(&LIMITS);
    let alice = Author::new(1);
    let conn = world.open_from("192.0.2.1").unwrap();
    world.take(conn);
    let large = alice.sign(1, NOW, &[], &"x".repeat(300_000));
    world.say(conn, json!(["EVENT", large]));
    let frames = world.take(conn);
    assert_eq!((&frames[0][1], &frames[0][2]), (&json!(large.id), &json!(false)));
    assert!(frames[0][3].as_str().unwrap().starts_with("restricted: message of 300"), "{frames:?}");
    let padding = " ".repeat(200_000);
    world.say_text(conn, &format!(r#"["REQ","sub",{{}}{padding}]"#));
    let frames = world.take(conn);
    assert_eq!((&frames[0][0], &frames[0][1]), (&json!("CLOSED"), &json!("sub")));
    // A burst of 1 MiB has room for three, and none of them was read for nothing.
    let taken: usize = (0..10).map(|_| 1 - limited(&flood(&mut world, conn, &"x".repeat(300_000), 1)).min(1)).sum();
    assert_eq!(taken, 1);
}

#[test]
fn a_frame_nobody_reads_ends_its_connection_and_is_charged() {
    let mut world = World::new(&LIMITS);
    let inputs: [fn(ConnId) -> Input; 3] = [
        |conn| Input::Received { conn, text: "x".repeat(MAX_FRAME_BYTES + 1) },
        |conn| Input::ReceivedBinary { conn, length: MAX_FRAME_BYTES + 1 },
        |conn| Input::Unread { conn, length: 30 << 20 },
    ];
    for (n, input) in inputs.into_iter().enumerate() {
        let ip = format!("192.0.2.{n}");
        let conn = world.open_from(&ip).unwrap();
        world.take(conn);
        world.input(input(conn));
        assert_eq!(closed(&world.take(conn)), Some(1009));
        // Its network has paid: nobody comes in from there for a while, and everybody else does.
        assert!(world.open_from(&ip).is_none());
        world.pass(20);
        assert!(world.open_from(&ip).is_some());
    }
    let (alice, conn) = (Author::new(1), world.client());
    world.input(Input::Received { conn, text: "x".repeat(MAX_FRAME_BYTES) });
    assert_eq!(closed(&world.take(conn)), None);
    // A connection that is gone is no error.
    world.input(Input::Unread { conn: ConnId(77_777), length: 2 << 20 });
    let conn = world.agent(&alice);
    assert_eq!(world.ask(conn, json!(["EVENT", alice.note("x")]))[0][2], true);
}

#[test]
fn what_cannot_be_read_ends_a_connection_after_the_answers_to_what_came_before() {
    let mut world = World::open_relay();
    let alice = Author::new(1);
    let input = |code, conn| match code {
        1002 => Input::Broken { conn, breach: Breach::Frame },
        1007 => Input::Broken { conn, breach: Breach::Text },
        _ => Input::Unread { conn, length: 2 << 20 },
    };
    for code in [1002, 1007, 1009] {
        let conn = world.client();
        world.input(input(code, conn));
        assert_eq!(closed(&world.take(conn)), Some(code), "nothing is to be answered");
        // One event is with the store, another waits for it.
        let conn = world.client();
        let notes = ["a", "b"].map(|text| alice.note(&format!("{text} {code}")));
        for note in &notes {
            world.say(conn, json!(["EVENT", note]));
        }
        world.input(input(code, conn));
        // What comes now is not heard.
        world.say(conn, json!(["EVENT", alice.note("too late")]));
        world.input(Input::ReceivedBinary { conn, length: 1 });
        world.input(input(code, conn));
        assert_eq!(world.take(conn), Vec::<Value>::new());
        for note in &notes {
            let answer = world.run_oldest(true).unwrap();
            world.input(answer);
            let frames = world.take(conn);
            assert_eq!(frames[0], json!(["OK", note.id, true, ""]));
            assert_eq!(closed(&frames).is_some(), note.id == notes[1].id, "{frames:?}");
        }
        assert_eq!(world.waiting(), (0, 0));
    }
    // A store that does not answer keeps nobody for longer than ten seconds.
    let conn = world.client();
    world.say(conn, json!(["EVENT", alice.note("unanswered")]));
    world.input(Input::Broken { conn, breach: Breach::Frame });
    world.now += 9999;
    world.input(Input::Timer);
    assert_eq!(world.frames(conn), 0);
    world.now += 1;
    world.input(Input::Timer);
    assert_eq!(closed(&world.take(conn)), Some(1002));
    // Who goes meanwhile is gone.
    let conn = world.client();
    world.say(conn, json!(["EVENT", alice.note("goes")]));
    world.input(Input::Broken { conn, breach: Breach::Frame });
    world.close(conn);
    world.settle();
    assert_eq!(world.frames(conn), 0);
}

#[test]
fn the_third_binary_frame_ends_a_connection() {
    let mut world = World::new(&LIMITS);
    for conn in [world.client(), world.agent(&Author::new(1))] {
        for _ in 0..2 {
            world.input(Input::ReceivedBinary { conn, length: 3 });
            let frames = world.take(conn);
            assert_eq!(frames, [json!(["NOTICE", "invalid: binary frames are not part of the protocol; send text"])]);
        }
        world.input(Input::ReceivedBinary { conn, length: 3 });
        assert_eq!(closed(&world.take(conn)), Some(1003));
    }
}

#[test]
fn who_connects_again_and_again_is_let_in_at_a_rate() {
    let mut world = World::new(&LIMITS);
    let mut come = 0;
    for _ in 0..10_000 {
        let Some(conn) = world.open_from("192.0.2.1") else { continue };
        come += 1;
        world.close(conn);
    }
    assert!((100..=300).contains(&come), "{come}");
    assert!(world.open_from("192.0.2.2").is_some());
    world.pass(2);
    assert!(world.open_from("192.0.2.1").is_some());
}

#[test]
fn a_message_of_a_type_that_is_not_spoken_costs_its_frame_and_asks_nothing() {
    let mut world = World::new(&LIMITS);
    let conn = world.client();
    world.say_text(conn, r#"["PING"]"#);
    assert_eq!(world.take(conn), [json!(["NOTICE", "unsupported: message type \"PING\""])]);
    assert_eq!(world.waiting(), (0, 0));
    let frames = flood(&mut world, conn, r#"["PING"]"#, 3000);
    assert_eq!(closed(&frames), Some(1008));
}
