//! What the database is told, to be read: a file for each sort of work and question has the statements as they run. Set
//! `NEXUS_WRITE_STATEMENTS` to write the files anew.

use std::path::Path;

use nexus::ledger::{Memory, Mode, NewEvent, Swept, Work};
use nexus::market::job::NIP90;
use nexus::market::retention::Retention;
use nexus::moderation::{Act, Method, Ruling, Sort};
use nexus::nostr::deletion::Target;
use nexus::nostr::{Event, Filter, PublicKey, Values};
use nexus::store::counts::Flush;
use nexus::store::read::{self, Viewer};
use nexus::store::{Statement, export, facts, market, rulings, sweep};

use crate::common::events::{Author, NOW, new_event};
use crate::common::ledger::{carry_out, group, prepare, save};
use crate::common::sqlite::Sqlite;
use crate::common::{totals, write_after};

/// Words that begin a line.
const BEGIN: [&str; 20] = [
    "SELECT", "FROM", "WHERE", "CROSS", "LEFT", "UNION", "ORDER", "GROUP", "HAVING", "LIMIT", "INSERT", "UPDATE",
    "DELETE", "SET", "WITH", "AND", "OR", "ON", "WHEN", "VALUES",
];

/// A statement in lines: each word of [`BEGIN`] begins one, as deep as the parentheses are.
fn in_lines(sql: &str) -> String {
    let (mut text, mut depth, mut between) = (String::new(), 0_usize, false);
    for word in sql.split_whitespace() {
        let bare = word.trim_start_matches('(');
        let opens = word.len() - bare.len();
        // What stands between two ends belongs together.
        let begins = BEGIN.contains(&bare) && !(bare == "AND" && between);
        between = bare == "BETWEEN" || between && bare != "AND";
        let (now, deeper) = (word.matches('(').count(), word.matches(')').count());
        if begins && opens > 0 {
            text.push_str(if text.is_empty() { "" } else { " " });
            text.push_str(&"(".repeat(opens));
        }
        if begins && !text.is_empty() {
            text.push('\n');
            text.push_str(&"  ".repeat(depth + opens));
            text.push_str(bare);
        } else {
            text.push_str(if text.is_empty() || text.ends_with('\n') { "" } else { " " });
            text.push_str(word);
        }
        depth = (depth + now).saturating_sub(deeper);
    }
    text
}

fn written(title: &str, statements: &[Statement]) -> String {
    let texts: Vec<String> = statements.iter().map(|statement| format!("{};\n", in_lines(&statement.sql))).collect();
    format!("-- {title}\n\n{}", texts.join("\n"))
}

/// A database with a job that is answered, one whose answers came before it, a label and a profile.
struct Stage {
    db: Sqlite,
    all: Vec<(&'static str, String)>,
}

impl Stage {
    /// Notes what some work asks and writes, and does it.
    fn work(&mut self, name: &'static str, title: &str, work: &Work) {
        let asked = facts::statements(&work.needed(), true);
        let write = write_after(&totals(&mut self.db));
        let (statements, _) = prepare(&mut self.db, work, &Flush::default(), &write);
        let text = written(&format!("{title}: what is asked before"), &asked)
            + "\n"
            + &written("What is written", &statements);
        self.all.push((name, text));
        carry_out(&mut self.db, work);
    }

    fn events(&mut self, name: &'static str, title: &str, events: &[&Event]) {
        self.work(name, title, &group(events));
    }

    fn say(&mut self, name: &'static str, title: &str, statements: &[Statement]) {
        self.all.push((name, written(title, statements)));
    }
}

fn work(stage: &mut Stage) {
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let ask = |content: &str, tags: &[&[&str]]| buyer.sign(5050, NOW, tags, content);
    let (request, private) = (ask("ask", &[&["t", "x"]]), ask("in private", &[&["encrypted"]]));
    let answers = |request: &Event| {
        [provider.answer(7000, request, &[&["status", "processing"]]), provider.answer(6050, request, &[])]
    };
    let [feedback, result] = answers(&request);
    let profile = |at| buyer.sign(0, at, &[], "");
    stage.events("write_requests", "Requests of jobs", &[&request]);
    stage.events("write_answers", "Answers to a job", &[&feedback, &result]);
    let [early, _] = answers(&private);
    carry_out(&mut stage.db, &group(&[&early, &profile(NOW)]));
    stage.events("write_late_request", "An encrypted request that comes after an answer", &[&private]);
    stage.events("write_newer_version", "A newer version of an event", &[&profile(NOW + 1)]);
    let label =
        buyer.sign(1985, NOW, &[&["L", "quality"], &["l", "good", "quality"], &["e", &result.id.to_string()]], "");
    stage.events("write_label", "A label of a result", &[&label]);
    let deletion = provider.sign(5, NOW, &[&["e", &result.id.to_string()]], "");
    stage.events("write_deletion", "A deletion request", &[&deletion]);
    let vanish = provider.sign(62, NOW + 9, &[&["relay", "ALL_RELAYS"]], "");
    let vanish = NewEvent { deletes: vec![Target::Everything], ..new_event(&vanish) };
    stage.work("write_vanish", "A request to vanish", &Work::Events(vec![vanish.into()], Mode::New));
    let rulings =
        vec![(Ruling::BannedEvent(result.id), Some("spam".to_owned())), (Ruling::BannedKey(buyer.key()), None)];
    let act = Act { by: buyer.key(), method: Method::BanEvent, params: "[]".to_owned(), rulings };
    let act = NewEvent::of_act(result.id, act, Some((None, Target::Event(result.id))), (NOW * 1000, 900));
    stage.work("write_act", "An act of the operator, who bans an event", &Work::Events(vec![act.into()], Mode::New));
    let swept = Swept { forget: NOW, vanished: vec![(provider.key(), NOW + 9)], walked: vec![(buyer.key(), NOW, 9)] };
    stage.work("write_removal", "A step of a sweep", &Work::Removal(vec![2], swept));
    let memory = Memory::new(1 << 20);
    let new = group(&[&ask("new", &[]), &answers(&ask("new", &[]))[1]]);
    let (_, assumed) = memory.facts(new.needed()).unwrap();
    stage.say("assume", "What is assumed not to be there", facts::assume(&assumed).as_slice());
    let flush = Flush { number: 1, counts: [("x".to_owned(), 1)].into(), ..Flush::default() };
    let write = write_after(&totals(&mut stage.db));
    let statements = save(&mut stage.db, &flush, &write);
    stage.say("write_counts", "What was counted", &statements);
    stage.say("write_seen", "Providers that left", &market::seen(&[provider.key()], NOW, &write));
}

fn questions(stage: &mut Stage) {
    let (keys, nobody) = (Values::from([Author::new(1).key()]), Values::<PublicKey>::default());
    let day = 86_400;
    let kept = Retention { requests: day, feedback: day, results: 7 * day, handlers: 0, others: 0 }.of_jobs(&NIP90);
    let hex = "ab".repeat(32);
    let shapes = [
        ("ask_ids", "Events by id", format!(r#"{{"ids":["{hex}"]}}"#)),
        ("ask_kind", "New events of a kind", r#"{"kinds":[5050],"since":5}"#.to_owned()),
        ("ask_author", "What an author has of a kind", format!(r#"{{"authors":["{hex}"],"kinds":[6050]}}"#)),
        ("ask_tag", "What names a key", format!(r##"{{"kinds":[5050],"#p":["{hex}"]}}"##)),
        (
            "ask_job",
            "Answers to a job, for its customer",
            format!(r##"{{"kinds":[6050,7000],"#e":["{hex}"],"#p":["{hex}"]}}"##),
        ),
        ("ask_author_all", "All of an author", format!(r#"{{"authors":["{hex}"]}}"#)),
        ("ask_everything", "Everything", "{}".to_owned()),
    ];
    for (name, title, filter) in shapes {
        let filter = Filter::parse(&filter).unwrap();
        let viewer = Viewer { keys: &nobody, profile: &NIP90, kept: &kept, now: NOW };
        stage.say(name, title, &read::newest_of_few(&filter, 100, 1_000_000, &viewer));
        if name == "ask_job" {
            let title = "The same where many events have the job's tag";
            stage.say("ask_job_of_many", title, &read::newest(&filter, 100, 1_000_000, &viewer));
        }
    }
    let viewer = Viewer { keys: &keys, profile: &NIP90, kept: &kept, now: NOW };
    let filter = Filter::parse(r#"{"kinds":[5050]}"#).unwrap();
    stage.say(
        "count",
        "How many events of a kind one who has proven a key may see",
        &read::all(&filter, false, &viewer),
    );
    stage.say("log", "The log after a number", &[read::log(1, 9)]);
    stage.say("handlers", "Who handles a kind", &market::handlers(5050, [].into_iter(), NOW));
    stage.say("announced", "Which kinds have a handler", &[market::announced()]);
    stage.say("known_of", "What is known of keys", &[market::known_of([], NOW)]);
    stage.say("rulings", "What the operator has ruled, and done lately", &[rulings::read(NOW)]);
    stage.say("rulings_of_sort", "What he has ruled of a sort", &[rulings::of_sort(Sort::BannedKey)]);
    stage.say("acts", "What operators have done", &[rulings::acts(None, 200)]);
    stage.say("sweep", "What may not be kept", &sweep::find(NOW, &kept));
    let export = [
        export::read_events(export::Form::Bytes, 0, 9, Some(&kept), NOW),
        export::read_jobs(export::Form::Bytes, "", 9),
    ];
    stage.say("export", "What an export has", &export);
}

#[test]
fn statements_are_as_they_are_written_down() {
    let mut stage = Stage { db: Sqlite::new(), all: Vec::new() };
    work(&mut stage);
    questions(&mut stage);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/statements");
    let name = |name: &str| folder.join(format!("{name}.sql"));
    if std::env::var_os("NEXUS_WRITE_STATEMENTS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        stage.all.iter().for_each(|(of, text)| std::fs::write(name(of), text).unwrap());
    }
    for (of, text) in &stage.all {
        let known = std::fs::read_to_string(name(of)).unwrap_or_default();
        assert_eq!(*text, known, "{of}: look at the difference, then set NEXUS_WRITE_STATEMENTS to write it down");
    }
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(files, stage.all.len(), "a file is there for each, and no other");
}
