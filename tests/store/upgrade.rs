//! A database is filled by a relay, upgraded, and asked the same: natively, by the program's own `migrate`. What the
//! releases have shipped is data: `migrations/shipped.json`.

use std::collections::BTreeMap;
use std::fs;

use nexus::gateway::Api;
use nexus::native::sqlite;
use nexus::nostr::Event;
use nexus::seam::Host;
use nexus::store::schema::{self, MIGRATIONS, Migration, Schema};
use rusqlite::Connection;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::common::events::{Author, NOW};
use crate::common::sqlite::Sqlite;
use crate::common::world::{World, config};

/// What a release may do; made for the tests.
const TRIAL: Migration = Migration { name: "0003_trial.sql", sql: include_str!("../upgrade/0003_trial.sql") };
const FAILS: Migration = Migration { name: "0004_fails.sql", sql: include_str!("../upgrade/0004_fails.sql") };

/// Of each release the files that it was the first to ship, with their SHA-256.
type Shipped = BTreeMap<String, BTreeMap<String, String>>;

fn shipped() -> Shipped {
    serde_json::from_str(&fs::read_to_string("migrations/shipped.json").unwrap()).unwrap()
}

/// What the first files of a folder do not have of what was shipped, in words.
fn broken(shipped: &Shipped, files: &[(&str, &[u8])]) -> Vec<String> {
    let all: BTreeMap<_, _> =
        shipped.iter().flat_map(|(release, of)| of.iter().map(move |one| (one.0, (release, one.1)))).collect();
    let mut broken = Vec::new();
    for (at, (name, (release, hash))) in all.iter().enumerate() {
        match files.iter().find(|(file, _)| file == name) {
            None => broken.push(format!("{name}, which {release} has shipped, is missing")),
            Some((_, text)) if hex::encode(Sha256::digest(text)) != **hash => {
                broken.push(format!("{name}, which {release} has shipped, is changed: a change is a new file"));
            }
            Some(_) if files.get(at).is_none_or(|(file, _)| file != name) => {
                broken.push(format!("{name}, which {release} has shipped, is no longer migration {}", at + 1));
            }
            Some(_) => {}
        }
    }
    broken
}

#[test]
fn what_a_release_has_shipped_is_frozen() {
    let files: Vec<_> = MIGRATIONS.iter().map(|one| (one.name, one.sql.as_bytes())).collect();
    assert_eq!(broken(&shipped(), &files), Vec::<String>::new());
    let version = env!("CARGO_PKG_VERSION");
    assert!(shipped().contains_key(version), "migrations/shipped.json does not say what {version} ships");
}

#[test]
fn each_change_to_what_was_shipped_is_seen() {
    let hash = |text: &str| hex::encode(Sha256::digest(text));
    let shipped: Shipped = [
        ("0.2.0".to_owned(), [("0001_a.sql".to_owned(), hash("a"))].into()),
        ("0.3.0".to_owned(), [("0002_b.sql".to_owned(), hash("b"))].into()),
    ]
    .into();
    let seen = |files: &[(&str, &[u8])]| broken(&shipped, files);
    let none: Vec<String> = vec![];
    assert_eq!(seen(&[("0001_a.sql", b"a"), ("0002_b.sql", b"b")]), none);
    assert_eq!(seen(&[("0001_a.sql", b"a"), ("0002_b.sql", b"b"), ("0003_c.sql", b"c")]), none);
    let changed = "0002_b.sql, which 0.3.0 has shipped, is changed: a change is a new file";
    assert_eq!(seen(&[("0001_a.sql", b"a"), ("0002_b.sql", b"b\n")]), [changed]);
    assert_eq!(seen(&[("0001_a.sql", b"a")]), ["0002_b.sql, which 0.3.0 has shipped, is missing"]);
    assert_eq!(
        seen(&[("0001_a.sql", b"a"), ("0002_a.sql", b"c"), ("0002_b.sql", b"b")]),
        ["0002_b.sql, which 0.3.0 has shipped, is no longer migration 2"]
    );
}

fn found(db: &Connection) -> Vec<String> {
    let mut query = db.prepare(&Schema::read().sql).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn what_migrations_make_is_read_from_them_as_sqlite_has_it() {
    let all = [MIGRATIONS, &[TRIAL]].concat();
    let db = Connection::open_in_memory().unwrap();
    for (at, migration) in all.iter().enumerate() {
        db.execute_batch(migration.sql).unwrap();
        let (read, has) = (Schema::after(&all[..=at]), Schema::decode(&found(&db)));
        assert_eq!(has.check(&read).map_err(|error| error.to_string()), Ok(()), "{}", migration.name);
        assert_eq!(read.check(&has).map_err(|error| error.to_string()), Ok(()), "{}", migration.name);
    }
}

/// What a market leaves, sent by those whose it is: jobs for all and for some, in every state, answers, a handler and its
/// newer version, labels, a deletion, a cancelled job, somebody who vanishes.
struct Market {
    customer: Author,
    provider: Author,
    job: Event,
    deleted: Event,
}

fn hex_of(event: &Event) -> String {
    event.id.to_string()
}

/// Publishes an event as its author; what the OK says.
fn publish(world: &mut World, who: &Author, event: &Event) -> (bool, String) {
    let conn = world.agent(who);
    let frames = world.ask(conn, json!(["EVENT", event]));
    world.close(conn);
    let ok = frames.iter().find(|frame| frame[0] == "OK").unwrap();
    (ok[2].as_bool().unwrap(), ok[3].as_str().unwrap().to_owned())
}

fn fill(world: &mut World) -> Market {
    let (customer, provider, other, leaver) = (Author::new(1), Author::new(2), Author::new(3), Author::new(4));
    let (customers, providers) = (customer.key().to_string(), provider.key().to_string());
    let open = customer.sign(5050, NOW - 50, &[&["i", "open", "text"], &["t", "a"]], "nobody answers");
    let job = customer.sign(5050, NOW - 40, &[&["i", "x", "text"], &["bid", "1000"]], "\u{1}\0 \u{2028} ü 🙂 \"\\");
    let secret = customer.sign(5050, NOW - 40, &[&["p", &providers], &["encrypted"]], "sealed");
    let cancelled = customer.sign(5100, NOW - 40, &[], "never mind");
    let deleted = other.sign(1, NOW - 30, &[&["t", "gone"]], "to be deleted");
    let left = leaver.sign(1, NOW - 30, &[], "of one who leaves");
    let mut all = vec![
        (&provider, provider.sign(31990, NOW - 100, &[&["d", "h"], &["k", "5050"]], "{\"name\":\"old\"}")),
        (
            &provider,
            provider.sign(31990, NOW - 90, &[&["d", "h"], &["k", "5050"], &["k", "5100"]], "{\"name\":\"new\"}"),
        ),
        (&customer, open),
        (&customer, job.clone()),
        (&customer, secret.clone()),
        (&customer, cancelled.clone()),
        (&provider, provider.answer(7000, &job, &[&["status", "processing"]])),
        (&provider, provider.answer(6050, &job, &[&["amount", "900"]])),
        (&provider, provider.answer(6050, &secret, &[&["encrypted"]])),
        (&other, deleted.clone()),
        (&other, other.sign(0, NOW - 20, &[], "{\"name\":\"other\"}")),
        (&other, other.sign(30023, NOW - 20, &[&["d", "long"], &["e", &hex_of(&job)]], "text")),
        (&other, other.sign(1059, NOW - 20, &[&["p", &customers]], "wrapped")),
        (&other, other.sign(1985, NOW - 20, &[&["L", "nexus"], &["l", "good", "nexus"], &["p", &providers]], "")),
        (&other, other.sign(1, NOW - 20, &[&["expiration", "1900000000"], &["-"]], "protected")),
        (&other, other.sign(5, NOW - 10, &[&["e", &hex_of(&deleted)]], "")),
        (&customer, customer.sign(5, NOW - 10, &[&["e", &hex_of(&cancelled)]], "")),
        (&leaver, left),
        (&leaver, leaver.sign(62, NOW - 5, &[&["relay", "ALL_RELAYS"]], "")),
    ];
    for n in 0..40 {
        all.push((&other, other.sign(1, NOW - 1000 + n, &[&["t", ["a", "b"][n as usize % 2]]], &n.to_string())));
    }
    for (who, event) in &all {
        assert_eq!(publish(world, who, event), (true, String::new()), "{}", event.to_json());
    }
    Market { customer, provider, job, deleted }
}

/// What is asked, and by whom; each answer with all its frames.
fn answers(world: &mut World, market: &Market) -> Vec<Value> {
    let (job, customer, provider) = (hex_of(&market.job), market.customer.key(), market.provider.key());
    let filters = [
        json!({}),
        json!({"kinds": [1], "limit": 7}),
        json!({"kinds": [5050, 5100, 6050, 7000]}),
        json!({"authors": [customer]}),
        json!({"ids": [job, hex_of(&market.deleted)]}),
        json!({"#e": [job]}),
        json!({"#t": ["a", "gone"], "until": NOW - 970}),
        json!({"#p": [customer, provider]}),
        json!({"kinds": [31990], "#k": ["5050"]}),
        json!({"kinds": [30023], "#d": ["long"], "authors": [Author::new(3).key()]}),
        json!({"authors": [Author::new(4).key()]}),
    ];
    let mut all = Vec::new();
    for who in [&market.customer, &market.provider, &Author::new(3), &Author::new(9)] {
        for filter in &filters {
            for verb in ["REQ", "COUNT"] {
                // Another connection each time, so that nothing is in line behind another question.
                let conn = world.agent(who);
                all.extend(world.ask(conn, json!([verb, "q", filter])));
                world.close(conn);
            }
        }
    }
    for kind in [5050, 5100] {
        all.push(world.http(Api::Handlers(kind)).1);
    }
    let stats = world.stats();
    all.extend([&stats["jobs"], &stats["events"]["stored"]].map(Clone::clone));
    all
}

/// A relay over a database, with what it is asked from its memory alone not there.
fn relay(db: Connection) -> World {
    World::over(
        Sqlite(db),
        Host::PROCESS,
        config(&[("RETAIN_REQUESTS", "0"), ("RETAIN_FEEDBACK", "0"), ("RETAIN_RESULTS", "0")]),
    )
}

/// The database of a relay that has ended.
fn left(world: World) -> Connection {
    world.host.db.0
}

/// Every row of every table, and what the tables are.
fn rows(db: &Connection) -> Vec<String> {
    let mut all = found(db);
    all.sort();
    let mut tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    for table in tables.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap) {
        let columns =
            format!("SELECT group_concat('quote(' || name || ')', ' || '' '' || ') FROM pragma_table_info('{table}')");
        let columns: String = db.query_row(&columns, [], |row| row.get(0)).unwrap();
        let mut each = db.prepare(&format!("SELECT '{table} ' || {columns} FROM {table} ORDER BY 1")).unwrap();
        all.extend(each.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap));
    }
    let mark = |name: &str| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    all.push(format!("{} {}", mark("user_version"), mark("application_id")));
    all
}

/// A database of this version that a relay has filled, and what it answers.
fn filled() -> (Connection, Market, Vec<Value>) {
    let mut db = Connection::open_in_memory().unwrap();
    assert_eq!(sqlite::migrate(&mut db, MIGRATIONS).unwrap(), MIGRATIONS.len());
    let mut world = relay(db);
    let market = fill(&mut world);
    let mut again = relay(left(world));
    let said = answers(&mut again, &market);
    (left(again), market, said)
}

#[test]
fn a_relay_answers_the_same_after_an_upgrade_and_goes_on_storing() {
    let (mut db, market, before) = filled();
    assert!(before.iter().filter(|frame| frame[0] == "EVENT").count() > 200);
    let all = [MIGRATIONS, &[TRIAL]].concat();
    assert_eq!(sqlite::migrate(&mut db, &all).unwrap(), 1);
    assert_eq!(sqlite::migrate(&mut db, &all).unwrap(), 0);
    let note = "SELECT count(*) FROM jobs WHERE note LIKE 'of kind 5%'";
    assert!(db.query_row(note, [], |row| row.get::<_, i64>(0)).unwrap() >= 3, "the rows have moved");

    let mut world = relay(db);
    assert_eq!(answers(&mut world, &market), before);
    let other = Author::new(3);
    let (refused, why) = publish(&mut world, &other, &market.deleted);
    assert!(!refused && why.starts_with("blocked: "), "{why}");
    let (second, why) =
        publish(&mut world, &market.provider, &market.provider.answer(6050, &market.job, &[&["x", "y"]]));
    assert!(!second && why.starts_with("duplicate: "), "{why}");
    let job = market.customer.sign(5050, NOW, &[&["i", "y", "text"]], "after the upgrade");
    let result = market.provider.answer(6050, &job, &[]);
    for (who, event) in [(&market.customer, &job), (&market.provider, &result)] {
        assert_eq!(publish(&mut world, who, event), (true, String::new()));
    }
    let mut again = relay(left(world));
    let conn = again.agent(&market.customer);
    let frames = again.ask(conn, json!(["REQ", "q", {"#e": [hex_of(&job)]}]));
    assert_eq!(frames[0], json!(["EVENT", "q", result]));
    let job = "SELECT note || ' ' || state FROM jobs WHERE asked_ms IS NOT NULL ORDER BY asked_ms DESC LIMIT 1";
    assert!(again.column(job)[0].starts_with("none; yet "));
}

#[test]
fn an_upgrade_that_fails_leaves_the_database_as_it_was() {
    let (mut db, market, before) = filled();
    let as_it_was = rows(&db);
    let error = sqlite::migrate(&mut db, &[MIGRATIONS, &[TRIAL, FAILS]].concat()).unwrap_err().to_string();
    let (to, at) = (MIGRATIONS.len() + 2, "0004_fails.sql: UNIQUE constraint failed: jobs.id");
    assert!(error.contains(&format!("the upgrade to schema {to} failed at {at}. The file is as it was. ")), "{error}");
    assert_eq!(rows(&db), as_it_was);
    assert_eq!(answers(&mut relay(db), &market), before);
}

#[test]
fn what_a_later_version_has_written_is_refused_and_what_an_earlier_one_has_is_told() {
    let mut db = Connection::open_in_memory().unwrap();
    sqlite::migrate(&mut db, &[MIGRATIONS, &[TRIAL]].concat()).unwrap();
    let error = sqlite::migrate(&mut db, MIGRATIONS).unwrap_err().to_string();
    assert!(error.contains("it was written by a later one. Run that one, or serve the copy"), "{error}");
    // D1 has no number of its schema.
    let error = schema::check(&found(&db)).unwrap_err().to_string();
    assert!(error.contains("table jobs has `note text not null default 'none; yet'`, which is unknown"), "{error}");
    assert!(error.ends_with("; a later version has written it, or somebody has changed it"), "{error}");

    let missing = schema::check_for(
        &found(&db),
        &[MIGRATIONS, &[TRIAL, Migration { name: "0004_later.sql", sql: "CREATE TABLE later (id);" }]].concat(),
    );
    let to = MIGRATIONS.len() + 2;
    let told =
        format!("it is of schema {}, this version needs {to}: apply the migrations, from 0004_later.sql on", to - 1);
    assert_eq!(missing.unwrap_err().to_string(), told);
}
