//! The table of refusals, and the two documents that are made of it. What the engine says is checked against the table
//! wherever a test lets it say something (`common::refusals`).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use nexus::gateway::ConnId;
use nexus::nostr::Event;
use nexus::nostr::refusal::{ALL, Entry, Then};
use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::refusals::{check, codes, entries, message, pieces};
use crate::common::world::World;

const INTRO: &str = "# Refusals

Every way in which this relay says no, for who writes programs that talk to it. Nothing is refused silently: an EVENT or
AUTH is answered `OK` with false, a REQ or COUNT `CLOSED`, what names no id `NOTICE`, each with `prefix: text` (NIP-01). In
the texts below `{name}` stands for what is filled in.

- The **prefix** alone is enough to decide most things, and other relays have most of them, too.
- The **code** is the stable name of one refusal. It is not sent. It is found by the text: [refusals.json](refusals.json) has
  the same table for programs, each with a `pattern` (a regular expression that fits the whole message) which fits no
  message of another code. A code is never given to something else; when a text is reworded, its pattern changes with it.
- **Then** is what helps:

";

const OUTRO: &str = "
What HTTP has a status for (404, 405, 426; 500 and 503 when the database does not answer) is no refusal of this table: the
JSON body has it as `error`. The native program answers 503 when it has no file left for another connection.

```js
const refusals = JSON.parse(await readFile(\"refusals.json\", \"utf8\"));
const refusal = refusals.find(({ pattern }) => new RegExp(pattern, \"s\").test(message));
if (refusal?.then === \"wait\") setTimeout(again, 1000 * (/retry in (\\d+) s$/.exec(message)?.[1] ?? 5));
```

This file and refusals.json are made of the table in `src/nostr/refusal/table.rs`, which is also what the relay speaks by:
`NEXUS_WRITE_DOCS=1 cargo test --test engine refusals` writes them.
";

fn document() -> String {
    let mut text = INTRO.to_owned();
    for (then, means) in Then::ALL {
        writeln!(text, "  - `{}`: {means}.", then.as_str()).unwrap();
    }
    for list in ALL {
        let title = list[0].prefix.map_or_else(|| "Without a prefix".to_owned(), |it| format!("`{}:`", it.as_str()));
        write!(text, "\n## {title}\n\n| code | text | told by | then | |\n|---|---|---|---|---|\n").unwrap();
        for Entry { code, text: says, told, then, means, .. } in list {
            writeln!(text, "| `{code}` | `{says}` | {told} | {} |{means} |", then.as_str()).unwrap();
        }
    }
    text + OUTRO
}

/// A regular expression that fits the whole message, in a form that all dialects read.
fn pattern(entry: &Entry) -> String {
    let escape = |piece: &&str| {
        let special = |letter: char| r"\^$.|?*+()[]{}".contains(letter);
        piece.chars().flat_map(|letter| special(letter).then_some('\\').into_iter().chain([letter])).collect::<String>()
    };
    let message = message(entry);
    format!("^{}$", pieces(&message).iter().map(escape).collect::<Vec<_>>().join("(.+)"))
}

fn list() -> String {
    let line = |entry: &Entry| {
        let prefix = entry.prefix.map(nexus::nostr::Prefix::as_str);
        serde_json::json!({
            "code": entry.code, "prefix": prefix, "text": entry.text, "pattern": pattern(entry),
            "told": entry.told.split(", ").collect::<Vec<_>>(), "then": entry.then.as_str(), "means": entry.means.trim(),
        })
        .to_string()
    };
    format!("[\n{}\n]\n", entries().map(line).collect::<Vec<_>>().join(",\n"))
}

#[test]
fn the_documents_are_made_of_the_table() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, made) in [("REFUSALS.md", document()), ("refusals.json", list())] {
        let path = docs.join(name);
        if std::env::var_os("NEXUS_WRITE_DOCS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == made,
            "docs/{name} is not what the table says: NEXUS_WRITE_DOCS=1 cargo test --test engine refusals"
        );
    }
}

#[test]
fn a_code_is_one_refusal_and_a_message_of_one_code() {
    let all: BTreeSet<&str> = entries().map(|entry| entry.code).collect();
    assert_eq!(all.len(), entries().count());
    for entry in entries() {
        let message = message(entry);
        for filled in ["7", "two words: and more; than that"] {
            assert_eq!(codes(&pieces(&message).join(filled)), [entry.code]);
        }
    }
}

#[test]
fn each_list_has_its_prefix_and_says_how_it_is_told() {
    let ways = ["OK", "OK true", "CLOSED", "NEG-ERR", "NOTICE"];
    for (list, prefix) in ALL.into_iter().zip(nexus::nostr::Prefix::ALL.map(Some).into_iter().chain([None])) {
        for entry in list {
            assert_eq!(entry.prefix, prefix, "{}", entry.code);
            let known = |told: &str| {
                let number = told.strip_prefix("close ").or_else(|| told.strip_prefix("HTTP "));
                ways.contains(&told) || number.is_some_and(|number| number.parse::<u16>().is_ok())
            };
            assert!(entry.told.split(", ").all(known), "{}", entry.code);
        }
    }
    assert!(entries().all(|entry| Then::ALL.iter().any(|(then, _)| *then == entry.then)));
}

#[test]
#[should_panic(expected = "in the table of refusals")]
fn what_is_in_no_entry_is_found() {
    check("OK", "invalid: something that nobody has written down");
}

#[test]
#[should_panic(expected = "NOTICE is not among OK")]
fn what_is_told_in_another_way_is_found() {
    check("NOTICE", "invalid: id is not the sha256 of the event");
}

/// The codes that publishing an event is refused with.
fn refused(world: &mut World, conn: ConnId, event: &Event) -> Vec<&'static str> {
    let frames = world.ask(conn, json!(["EVENT", event]));
    codes(frames.last().unwrap()[3].as_str().unwrap())
}

#[test]
fn each_fault_of_a_market_event_has_its_code() {
    let mut world = World::open_relay();
    let (customer, provider, conn) = (Author::new(1), Author::new(2), world.client());
    let request = customer.sign(5050, NOW, &[], "");
    let spelled = |event: &Event| serde_json::to_string(event).unwrap();
    let elsewhere = Author::new(3).sign(5050, NOW, &[], "");
    let (own, other) = (spelled(&request), spelled(&elsewhere));
    let changed = own.replace("\"content\":\"\"", "\"content\":\"x\"");
    let of_other_kind = customer.sign(5051, NOW, &[], "");
    for (event, code) in [
        (customer.sign(5050, NOW, &[&["param"]], ""), "request_param"),
        (customer.sign(5050, NOW, &[&["relays", ""]], ""), "request_relays"),
        (provider.answer(6050, &request, &[&["e", &elsewhere.id.to_string()]]), "answer_several_jobs"),
        (provider.answer(6050, &request, &[&["request", &own], &["request", &other]]), "result_several"),
        (provider.answer(6050, &request, &[&["request", &other]]), "result_job"),
        (provider.answer(6050, &request, &[&["request", &changed]]), "result_id"),
        (provider.answer(6050, &of_other_kind, &[&["request", &spelled(&of_other_kind)]]), "result_kind"),
    ] {
        assert_eq!(refused(&mut world, conn, &event), [code]);
    }
    let (job, stranger) = (request.id.to_string(), elsewhere.pubkey.to_string());
    let tags: &[&[&str]] = &[&["e", &job], &["p", &stranger], &["request", &own]];
    assert_eq!(refused(&mut world, conn, &provider.sign(6050, NOW, tags, "")), ["result_customer"]);
}

#[test]
fn a_count_that_memory_was_lost_of_is_closed() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.say(conn, json!(["COUNT", "c", { "kinds": [1] }]));
    world.reset(false);
    world.settle();
    assert_eq!(world.take(conn), [json!(["CLOSED", "c", "error: the relay lost this request; send it again"])]);
}

#[test]
fn a_subscription_whose_live_events_fill_the_memory_is_closed() {
    let mut world = World::open_relay();
    let (reader, writer, author) = (world.client(), world.client(), Author::new(1));
    world.say(reader, json!(["REQ", "s", { "kinds": [1] }]));
    for n in 0..25 {
        world.say(writer, json!(["EVENT", author.note(&format!("{n} {}", "x".repeat(50_000)))]));
        world.commit_all();
    }
    let full = "error: more live events than can be kept while the stored are read";
    assert_eq!(world.take(reader), [json!(["CLOSED", "s", full])]);
}

#[test]
fn a_reconciliation_is_answered_neg_err_whatever_is_wrong_with_it() {
    let mut world = World::new(&[("AUTH_REQUIRED", "false"), ("MAX_MESSAGE_LENGTH", "2000")]);
    let conn = world.client();
    let long = format!("[\"NEG-OPEN\",\"n\",{{}},\"{}\"]", "0".repeat(2000));
    for (frame, code) in [(r#"["NEG-OPEN","n",{},"61"#, "not_an_array"), (long.as_str(), "message_too_long")] {
        world.say_text(conn, frame);
        let [frame] = world.take(conn).try_into().unwrap();
        assert_eq!((&frame[0], &frame[1]), (&json!("NEG-ERR"), &json!("n")));
        assert_eq!(codes(frame[2].as_str().unwrap()), [code]);
    }
}
