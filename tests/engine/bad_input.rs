//! Bad input: each gets one exact answer, and the connection goes on.

use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

fn answers(cases: &[(String, Value)]) {
    let mut world = World::open_relay();
    let conn = world.client();
    for (frame, expected) in cases {
        world.say_text(conn, frame);
        world.settle();
        let shown: String = frame.chars().take(200).collect();
        assert_eq!(world.take(conn), std::slice::from_ref(expected), "{shown}");
        assert_eq!(world.ask(conn, json!(["REQ", "still here", {"limit": 0}])), [json!(["EOSE", "still here"])]);
    }
    assert!(world.stored().is_empty());
}

fn notice(text: &str) -> Value {
    json!(["NOTICE", text])
}

#[test]
fn messages() {
    let array = "invalid: message must be a JSON array: ";
    let cases = [
        ("", notice(&format!("{array}EOF while parsing a value"))),
        ("hello", notice(&format!("{array}expected value"))),
        ("{}", notice(&format!("{array}invalid type: map, expected a sequence"))),
        ("null", notice(&format!("{array}invalid type: null, expected a sequence"))),
        ("[\"EVENT\"", notice(&format!("{array}EOF while parsing a list"))),
        ("[\"REQ\",\"s\",{}] x", json!(["CLOSED", "s", format!("{array}trailing characters")])),
        ("[]", notice("invalid: message must begin with its type, a string")),
        ("[1]", notice("invalid: message must begin with its type, a string")),
        ("[\"event\",{}]", notice("unsupported: message type \"event\"")),
        ("[\"PING\"]", notice("unsupported: message type \"PING\"")),
        ("[\"EVENT\"]", notice("invalid: EVENT takes one event")),
        ("[\"EVENT\",{},{}]", notice("invalid: EVENT takes one event")),
        ("[\"AUTH\"]", notice("invalid: AUTH takes one event")),
        ("[\"AUTH\",\"challenge\"]", notice("invalid: event: must be an object")),
        ("[\"CLOSE\"]", notice("invalid: CLOSE takes one subscription id")),
        ("[\"CLOSE\",\"a\",\"b\"]", json!(["CLOSED", "a", "invalid: CLOSE takes one subscription id"])),
        ("[\"CLOSE\",1]", notice("invalid: subscription id must be a non-empty string")),
        ("[\"REQ\"]", notice("invalid: REQ takes an id and one or more filters")),
        ("[\"REQ\",\"\",{}]", json!(["CLOSED", "", "invalid: subscription id must be a non-empty string"])),
        ("[\"REQ\",null,{}]", notice("invalid: subscription id must be a non-empty string")),
        ("[\"REQ\",\"s\"]", json!(["CLOSED", "s", "invalid: one or more filters are needed"])),
    ];
    answers(&cases.map(|(frame, answer)| (frame.to_owned(), answer)));
    // Nesting costs no stack: only what is asked for is looked into.
    let (open, close) = ("[".repeat(50_000), "]".repeat(50_000));
    let not_an_object = json!(["CLOSED", "s", "invalid: filter: invalid type: sequence, expected an object"]);
    let unknown = json!(["CLOSED", "s", "unsupported: filter: unknown key \"a\""]);
    answers(&[
        (format!(r#"["REQ","s",{open}{close}]"#), not_an_object),
        (format!(r#"["REQ","s",{{"a":{open}{close}}}]"#), unknown),
        (format!("{open}{close}"), notice("invalid: message must begin with its type, a string")),
        (format!(r#"["EVENT",{open}{close}]"#), notice("invalid: event: must be an object")),
    ]);
}

#[test]
fn filters() {
    let hex = "ab".repeat(32);
    let must_be_hex = "must be 64 lower-case hex digits";
    let cases = [
        ("[]".to_owned(), "invalid: filter: invalid type: sequence, expected an object".to_owned()),
        ("null".to_owned(), "invalid: filter: invalid type: null, expected an object".to_owned()),
        (
            r#"{"kinds":1}"#.to_owned(),
            "invalid: filter: \"kinds\": invalid type: integer `1`, expected a sequence".to_owned(),
        ),
        (
            r#"{"kinds":[1.5]}"#.to_owned(),
            "invalid: filter: \"kinds\": invalid type: floating point `1.5`, expected u64".to_owned(),
        ),
        (
            r#"{"kinds":[-1]}"#.to_owned(),
            "invalid: filter: \"kinds\": invalid value: integer `-1`, expected u64".to_owned(),
        ),
        (format!(r#"{{"ids":["{}"]}}"#, hex.to_uppercase()), format!("invalid: filter: \"ids\": {must_be_hex}")),
        (r#"{"ids":["abcd"]}"#.to_owned(), format!("invalid: filter: \"ids\": {must_be_hex}")),
        (r##"{"#e":["abcd"]}"##.to_owned(), format!("invalid: filter: \"#e\": {must_be_hex}")),
        (r##"{"#p":[""]}"##.to_owned(), format!("invalid: filter: \"#p\": {must_be_hex}")),
        (
            r##"{"#t":"x"}"##.to_owned(),
            "invalid: filter: \"#t\": invalid type: string \"x\", expected a sequence".to_owned(),
        ),
        (
            r#"{"since":-1}"#.to_owned(),
            "invalid: filter: \"since\": invalid value: integer `-1`, expected u64".to_owned(),
        ),
        (
            r#"{"limit":1.0}"#.to_owned(),
            "invalid: filter: \"limit\": invalid type: floating point `1.0`, expected u64".to_owned(),
        ),
        (
            r#"{"limit":"1"}"#.to_owned(),
            "invalid: filter: \"limit\": invalid type: string \"1\", expected u64".to_owned(),
        ),
        (r#"{"kinds":[1],"kinds":[2]}"#.to_owned(), "invalid: filter: duplicate key \"kinds\"".to_owned()),
        (r#"{"search":"x"}"#.to_owned(), "unsupported: filter: unknown key \"search\"".to_owned()),
        (r##"{"#alt":["x"]}"##.to_owned(), "unsupported: filter: unknown key \"#alt\"".to_owned()),
        (r##"{"#1":["x"]}"##.to_owned(), "unsupported: filter: unknown key \"#1\"".to_owned()),
    ];
    answers(&cases.map(|(filter, reason)| (format!(r#"["REQ","s",{{}},{filter}]"#), json!(["CLOSED", "s", reason]))));
}

#[test]
fn events() {
    let good = serde_json::to_value(Author::new(1).sign(1, NOW, &[&["t", "x"]], "hello")).unwrap();
    let id = good["id"].as_str().unwrap().to_owned();
    let with = |key: &str, value: Value| {
        let mut event = good.clone();
        event[key] = value;
        event
    };
    let without = |key: &str| {
        let mut event = good.clone();
        event.as_object_mut().unwrap().remove(key);
        event
    };
    let hex = |n| format!("invalid: event: must be {n} lower-case hex digits");
    let upper = |key: &str| with(key, json!(good[key].as_str().unwrap().to_uppercase()));
    let cases = [
        (upper("pubkey"), hex(64)),
        (upper("sig"), hex(128)),
        (with("pubkey", json!("ab")), hex(64)),
        (with("sig", json!("")), hex(128)),
        (
            with("pubkey", json!(7)),
            "invalid: event: invalid type: integer `7`, expected 64 lower-case hex digits".into(),
        ),
        (with("kind", json!(65536)), "invalid: event: invalid value: integer `65536`, expected u16".into()),
        (with("kind", json!(-1)), "invalid: event: invalid value: integer `-1`, expected u16".into()),
        (with("kind", json!(1.0)), "invalid: event: invalid type: floating point `1.0`, expected u16".into()),
        (with("kind", json!("1")), "invalid: event: invalid type: string \"1\", expected u16".into()),
        (
            with("created_at", json!(1.8e9)),
            "invalid: event: invalid type: floating point `1800000000.0`, expected u64".into(),
        ),
        (with("created_at", json!(-5)), "invalid: event: invalid value: integer `-5`, expected u64".into()),
        (with("created_at", json!(NOW + 901)), "invalid: created_at is more than 900 s in the future".into()),
        (with("created_at", json!(u64::MAX)), "invalid: created_at is more than 900 s in the future".into()),
        (with("created_at", json!(0)), "invalid: created_at is more than 94608000 s in the past".into()),
        (with("tags", json!({})), "invalid: event: invalid type: map, expected a sequence".into()),
        (with("tags", json!([[]])), "invalid: event: a tag must have at least one element".into()),
        (with("tags", json!(["t"])), "invalid: event: invalid type: string \"t\", expected a sequence".into()),
        (with("tags", json!([["t", 1]])), "invalid: event: invalid type: integer `1`, expected a string".into()),
        (with("tags", json!([["t", null]])), "invalid: event: invalid type: null, expected a string".into()),
        (with("content", json!(null)), "invalid: event: invalid type: null, expected a string".into()),
        (with("content", json!("tampered")), "invalid: id is not the sha256 of the event".into()),
        (without("sig"), "invalid: event: missing field `sig`".into()),
        (without("content"), "invalid: event: missing field `content`".into()),
    ];
    answers(&cases.map(|(event, reason)| (json!(["EVENT", event]).to_string(), json!(["OK", id, false, reason]))));

    // An id of the wrong form is answered under the name it came with; none at all by a NOTICE.
    for bad in ["ABCD", "abc", ""] {
        let event = with("id", json!(bad));
        answers(&[(json!(["EVENT", event]).to_string(), json!(["OK", bad, false, hex(64)]))]);
    }
    answers(&[
        (json!(["EVENT", without("id")]).to_string(), notice("invalid: event: missing field `id`")),
        (
            json!(["EVENT", with("id", json!(5))]).to_string(),
            notice("invalid: event: invalid type: integer `5`, expected 64 lower-case hex digits"),
        ),
    ]);
    // The fields in an array are no event, signed or not.
    let array = ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"].map(|key| good[key].clone());
    answers(&[(json!(["EVENT", array]).to_string(), notice("invalid: event: must be an object"))]);
    let text = good.to_string();
    let twice = text.replacen('{', "{\"kind\":1,", 1);
    let surrogate = text.replace("hello", "\\ud800");
    let nul = text.replace("hello", "\\u0000");
    answers(&[
        (format!("[\"EVENT\",{twice}]"), json!(["OK", id, false, "invalid: event: duplicate field `kind`"])),
        (format!("[\"EVENT\",{surrogate}]"), json!(["OK", id, false, "invalid: event: unexpected end of hex escape"])),
        (format!("[\"EVENT\",{nul}]"), json!(["OK", id, false, "invalid: id is not the sha256 of the event"])),
    ]);
}

/// Whatever is wrong with a frame, the answer names the event, the subscription or the query it is about.
#[test]
fn every_refusal_names_its_subject() {
    let event = serde_json::to_value(Author::new(1).note("hello")).unwrap();
    let id = &event["id"];
    let long = "s".repeat(300);
    let ok = |text: &str| json!(["OK", id, false, text]);
    let one_event = |verb: &str| format!("invalid: {verb} takes one event");
    let broken = "invalid: message must be a JSON array: expected value";
    for verb in ["EVENT", "AUTH"] {
        answers(&[
            (json!([verb, event, 0]).to_string(), ok(&one_event(verb))),
            (json!([verb, "sub", event]).to_string(), ok(&one_event(verb))),
            (json!([verb, event, event]).to_string(), ok(&one_event(verb))),
            (format!("[\"{verb}\",{event},]"), ok("invalid: message must be a JSON array: trailing comma")),
            (
                format!("[\"{verb}\",{event},\"x"),
                ok("invalid: message must be a JSON array: EOF while parsing a string"),
            ),
        ]);
    }
    let twice = event.to_string().replacen('{', "{\"id\":\"first\",", 1);
    let not_an_object = "invalid: filter: invalid type: integer `0`, expected an object";
    let non_empty = "invalid: subscription id must be a non-empty string";
    let closed = |id: &str, text: &str| json!(["CLOSED", id, text]);
    let negentropy = "blocked: this relay does not do negentropy (NIP-77); use REQ";
    answers(&[
        (format!("[\"EVENT\",{twice}]"), ok("invalid: event: must be 64 lower-case hex digits")),
        ("[\"REQ\",\"s\",{}, bad]".to_owned(), closed("s", broken)),
        (json!(["REQ", "s", 0]).to_string(), closed("s", not_an_object)),
        (json!(["REQ", "", {}]).to_string(), closed("", non_empty)),
        (json!(["REQ", ""]).to_string(), closed("", non_empty)),
        (json!(["REQ", long, {}]).to_string(), closed(&long, "restricted: subscription id is over 64 characters")),
        (json!(["REQ", long, 0]).to_string(), closed(&long, not_an_object)),
        (json!(["COUNT", "q"]).to_string(), closed("q", "invalid: one or more filters are needed")),
        (json!(["COUNT", "q", 0]).to_string(), closed("q", not_an_object)),
        (json!(["COUNT", "", {}]).to_string(), closed("", non_empty)),
        (json!(["COUNT", long, {}]).to_string(), closed(&long, "restricted: subscription id is over 64 characters")),
        (json!(["CLOSE", "s", {}]).to_string(), closed("s", "invalid: CLOSE takes one subscription id")),
        (json!(["CLOSE", ""]).to_string(), closed("", non_empty)),
        (json!(["NEG-OPEN", "n", {}, "61"]).to_string(), json!(["NEG-ERR", "n", negentropy])),
        (json!(["NEG-MSG", "n", "61"]).to_string(), json!(["NEG-ERR", "n", negentropy])),
        (json!(["NEG-OPEN"]).to_string(), notice(negentropy)),
    ]);
}

#[test]
fn a_malformed_question_ends_what_it_is_about_and_nothing_else() {
    let mut world = World::open_relay();
    let conn = world.client();
    let mut n = 0;
    // Whether the subscription `s` still receives after the frame.
    let mut goes_on = |frame: &str| {
        world.ask(conn, json!(["REQ", "s", {"limit": 0}]));
        world.say_text(conn, frame);
        world.settle();
        world.take(conn);
        n += 1;
        world.ask(conn, json!(["EVENT", Author::new(1).note(&n.to_string())])).iter().any(|frame| frame[0] == "EVENT")
    };
    for frame in
        [r#"["COUNT","s"]"#, r#"["COUNT","s",0]"#, r#"["COUNT","s",{},"#, r#"["NEG-OPEN","s"]"#, r#"["REQ","t",0]"#]
    {
        assert!(goes_on(frame), "{frame}");
    }
    for frame in [r#"["REQ","s"]"#, r#"["REQ","s",0]"#, r#"["REQ","s",{},"#, r#"["CLOSE","s",0]"#, r#"["CLOSE","s""#] {
        assert!(!goes_on(frame), "{frame}");
    }
}

/// NDK asks for kind 99999 as a sign of life.
#[test]
fn kinds_that_no_event_can_have_match_nothing() {
    let mut world = World::open_relay();
    let conn = world.client();
    let event = Author::new(1).note("x");
    world.ask(conn, json!(["EVENT", event]));
    let eose = json!(["EOSE", "s", ["finish"]]);
    for kinds in [json!([99999]), json!([65536]), json!([u64::MAX])] {
        let frames = world.ask(conn, json!(["REQ", "s", {"kinds": kinds}]));
        assert_eq!(frames, std::slice::from_ref(&eose), "{kinds}");
        let frames = world.ask(conn, json!(["REQ", "s", {"kinds": kinds, "limit": 0}]));
        assert_eq!(frames.last().unwrap()[0], "EOSE", "{kinds}");
        assert_eq!(world.ask(conn, json!(["COUNT", "q", {"kinds": kinds}])), [json!(["COUNT", "q", {"count": 0}])]);
    }
    let frames = world.ask(conn, json!(["REQ", "s", {"kinds": [1, 99999]}]));
    assert_eq!(frames, [json!(["EVENT", "s", event]), eose]);
}

#[test]
fn nul_in_content_is_an_ordinary_event() {
    let mut world = World::open_relay();
    let conn = world.client();
    let event = Author::new(1).note("a\0b");
    assert_eq!(world.ask(conn, json!(["EVENT", event])), [json!(["OK", event.id, true, ""])]);
    assert_eq!(world.ask(conn, json!(["REQ", "s", {}]))[0], json!(["EVENT", "s", event]));
}

#[test]
fn binary_frames() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.input(nexus::seam::Input::ReceivedBinary { conn, length: 3 });
    assert_eq!(world.take(conn), [notice("invalid: binary frames are not part of the protocol; send text")]);
}

/// Mutated frames of every sort: the engine neither panics nor falls silent, and stores nothing but
/// what is signed.
#[test]
fn mutations_of_valid_frames() {
    let author = Author::new(1);
    let frames = [
        json!(["EVENT", author.sign(5050, NOW, &[&["i", "q \\ \"", "text"], &["p", &author.key().to_string()]], "\n")]),
        json!(["REQ", "sub", {"kinds": [5050], "#p": [author.key()], "since": NOW - 5, "limit": 3}, {}]),
        json!(["CLOSE", "sub"]),
        json!(["AUTH", author.sign(22242, NOW, &[&["challenge", "c"]], "")]),
    ];
    let mut world = World::open_relay();
    let conn = world.client();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    let spice = [
        "\"",
        "\\",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "0",
        "-",
        "1e999",
        "null",
        "\\u0000",
        "\\ud800",
        "é",
        "\0",
        "EVENT",
        "99999999999999999999",
    ];
    let original = frames[0][1].clone();
    for round in 0..10_000 {
        let mut text: Vec<char> = frames[next(frames.len())].to_string().chars().collect();
        for _ in 0..=next(4) {
            let at = next(text.len());
            match next(4) {
                0 => drop(text.remove(at)),
                1 => text.truncate(at.max(1)),
                2 => drop(text.splice(at..at, spice[next(spice.len())].chars())),
                _ => text.swap(at, 0),
            }
            if text.is_empty() {
                break;
            }
        }
        let text: String = text.into_iter().collect();
        world.say_text(conn, &text);
        world.settle();
        let frames = world.take(conn);
        // A CLOSE, mutated or not, is the one message that needs no answer.
        assert!(!frames.is_empty() || text.contains("CLOSE"), "round {round}: no answer to {text}");
    }
    for stored in world.stored() {
        assert_eq!(serde_json::from_str::<Value>(&stored).unwrap(), original);
    }
    assert_eq!(world.ask(conn, json!(["REQ", "still here", {"limit": 0}])), [json!(["EOSE", "still here"])]);
}
