//! What the relay answers over HTTP: handlers of a kind in their order, and counts that survive.

use nexus::gateway::{Api, RequestId};
use nexus::store::history::Step;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::{Fault, World};

fn names(answer: &Value) -> Vec<String> {
    let list = answer["handlers"].as_array().unwrap();
    list.iter().map(|handler| handler["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn handler(author: &Author, name: &str, kinds: &[&str]) -> Value {
    let mut tags: Vec<[&str; 2]> = vec![["d", name]];
    tags.extend(kinds.iter().map(|kind| ["k", *kind]));
    let tags: Vec<&[&str]> = tags.iter().map(|tag| tag.as_slice()).collect();
    json!(["EVENT", author.sign(31990, NOW, &tags, &json!({ "name": name }).to_string())])
}

#[test]
fn handlers_are_ranked_by_what_they_did() {
    let mut world = World::open_relay();
    let buyer = Author::new(1);
    let [good, slow, idle, away] = [2, 3, 4, 5].map(Author::new);
    let conn = world.client();
    let here = [&good, &slow, &idle].map(|author| world.agent(author));
    let all = [(&good, "good"), (&slow, "slow"), (&idle, "idle"), (&away, "away")];
    for (author, name) in all {
        world.ask(conn, handler(author, name, &["5050", "5051"]));
    }
    world.ask(conn, handler(&good, "other", &["5100"]));
    for n in 0..4 {
        let request = buyer.sign(5050, NOW, &[], &n.to_string());
        world.ask(conn, json!(["EVENT", request]));
        let (id, p) = (request.id.to_string(), buyer.key().to_string());
        let tags: &[&[&str]] = &[&["e", &id], &["p", &p], &["status", "error"]];
        world.now += 1000;
        world.ask(conn, json!(["EVENT", good.sign(6050, NOW, tags, "")]));
        world.now += 60_000;
        world.ask(conn, json!(["EVENT", slow.sign(if n < 2 { 6050 } else { 7000 }, NOW, tags, "")]));
        world.ask(conn, json!(["EVENT", away.sign(6050, NOW, tags, "")]));
    }
    let (status, answer) = world.http(Api::Handlers(5050));
    assert_eq!((status, names(&answer)), (200, ["good", "idle", "slow", "away"].map(str::to_owned).to_vec()));
    let best = &answer["handlers"][0];
    assert_eq!(best["pubkey"], json!(good.key()));
    assert_eq!((&best["results"], &best["errors"], &best["success_rate"]), (&json!(4), &json!(0), &json!(1.0)));
    assert!((1000..=2000).contains(&best["median_ms"].as_u64().unwrap()), "{best}");
    assert_eq!((&best["online"], &best["rank"], &best["kinds"]), (&json!(true), &json!(1), &json!([5050, 5051])));
    let last = &answer["handlers"][2];
    assert_eq!((&last["results"], &last["errors"], &last["success_rate"]), (&json!(2), &json!(2), &json!(0.5)));
    assert_eq!(world.http(Api::Handlers(5999)).1["handlers"], json!([]));

    // Who goes is seen to go, and when.
    world.close(here[0]);
    world.settle();
    world.pass(20);
    let gone = world.http(Api::Handlers(5050)).1;
    assert_eq!(names(&gone)[3], "away");
    let good_now = gone["handlers"].as_array().unwrap().iter().find(|h| h["metadata"]["name"] == "good").unwrap();
    assert_eq!(good_now["online"], false);
    let ago = world.now / 1000 - good_now["last_seen"].as_u64().unwrap();
    assert!((19..=22).contains(&ago), "{ago}");
}

#[test]
fn labels_weigh_by_who_was_a_customer() {
    let mut world = World::open_relay();
    let [buyer, provider, stranger] = [1, 2, 3].map(Author::new);
    let conn = world.client();
    world.ask(conn, handler(&provider, "it", &["5050"]));
    let request = buyer.sign(5050, NOW, &[], "");
    let (id, p) = (request.id.to_string(), buyer.key().to_string());
    let result = provider.sign(6050, NOW, &[&["e", &id], &["p", &p]], "");
    world.ask(conn, json!(["EVENT", request]));
    world.ask(conn, json!(["EVENT", result]));
    for other in [4, 5].map(Author::new) {
        world.ask(conn, json!(["EVENT", other.answer(6050, &request, &[])]));
    }
    let (target, result) = (provider.key().to_string(), result.id.to_string());
    let label = |by: &Author, time: u64, word: &str, about: [&str; 2]| {
        json!(["EVENT", by.sign(1985, NOW + time, &[&["L", "quality"], &["l", word, "quality"], &about], "")])
    };
    for event in [
        label(&buyer, 0, "quality/bad", ["p", &target]),
        // The newest counts, here by the result it was given for.
        label(&buyer, 1, "quality/good", ["e", &result]),
        label(&stranger, 0, "quality/bad", ["p", &target]),
        label(&provider, 9, "quality/good", ["p", &target]),
    ] {
        assert_eq!(world.ask(conn, event)[0][2], true);
    }
    let odd = stranger.sign(1985, NOW, &[&["l"], &["p", "nobody"]], "");
    assert_eq!(world.ask(conn, json!(["EVENT", odd]))[0][2], true, "labels are stored whatever they say");
    let answer = world.http(Api::Handlers(5050)).1;
    let said = |label: &str, votes: u64, customers: u64, weight: f64| json!({"namespace": "quality", "label": label, "votes": votes, "customers": customers, "weight": weight});
    let expected = json!([said("quality/good", 1, 1, 1.0), said("quality/bad", 1, 0, 0.05)]);
    assert_eq!(answer["handlers"][0]["reputation"], expected);
    assert!(answer["handlers"][0]["standing"].as_f64().unwrap() > 0.1);
}

#[test]
fn counts_survive_and_are_added_once_whatever_fails() {
    use crate::common::world::Fault;
    let mut world = World::open_relay();
    let conn = world.client();
    let bad = json!(["EVENT", {"id": "x"}]);
    world.ask(conn, bad.clone());
    world.faults.extend([Fault::LandsAndFails, Fault::Fails, Fault::LandsAndFails, Fault::LandsAndFails]);
    for n in 0..6 {
        world.ask(conn, json!(["EVENT", Author::new(1).note(&n.to_string())]));
        world.ask(conn, bad.clone());
    }
    world.ask(conn, json!(["EVENT", Author::new(1).note("last")]));
    let before = world.stats();
    assert_eq!(before["events"]["rejected"]["invalid"], 7);
    assert_eq!(before["events"]["by_kind"], json!({"1": 7}));
    world.reset(false);
    world.settle();
    let after = world.stats();
    assert_eq!(after["events"]["rejected"]["invalid"], 7);
    assert_eq!((&after["events"]["stored"], &after["since"]), (&json!(7), &before["since"]));
}

/// The counts, the active providers and how often the store was asked for anything.
fn told(world: &mut World) -> (Value, Value, Value, u64) {
    let stats = world.stats();
    let queries = stats["storage"]["queries"]["count"].as_u64().unwrap();
    let (events, jobs) = (&stats["events"], &stats["jobs"]);
    (events["stored"].clone(), jobs["states"].clone(), stats["providers"]["active_last_hour"].clone(), queries)
}

#[test]
fn statistics_are_asked_of_the_store_once() {
    let mut world = World::open_relay();
    world.awake_for(200);
    let conn = world.client();
    let (alice, bob, carol) = (Author::new(1), Author::new(2), Author::new(3));
    let first = told(&mut world);
    assert_eq!((&first.0, &first.2, first.3), (&json!(0), &json!(0), 2), "the totals and the counts");
    let request = alice.sign(5050, NOW, &[], "");
    let short = alice.sign(5051, NOW, &[&["expiration", &(NOW + 10).to_string()]], "");
    for (n, event) in [request.clone(), short, bob.answer(7000, &request, &[&["status", "processing"]])]
        .into_iter()
        .chain([bob.answer(6050, &request, &[]), carol.answer(6050, &request, &[])])
        .enumerate()
    {
        assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
        let (stored, _, active, queries) = told(&mut world);
        assert_eq!((stored, active, queries), (json!(n + 1), json!([0, 0, 1, 1, 2][n]), 2), "{n}");
    }
    // What a sweep changes is told, too; what there is and what has to be known of it are two more questions.
    world.pass(4000);
    let (_, states, active, queries) = told(&mut world);
    assert_eq!((&states["success"], &states["expired"], active), (&json!(1), &json!(1), json!(0)));
    assert_eq!(queries, 4);
    // Who vanishes is not active.
    assert_eq!(world.ask(conn, json!(["EVENT", carol.answer(7000, &request, &[&["status", "partial"]])]))[0][2], true);
    assert_eq!(told(&mut world).2, 1);
    let vanish = carol.sign(62, NOW + 4000, &[&["relay", "ALL_RELAYS"]], "");
    assert_eq!(world.ask(conn, json!(["EVENT", vanish]))[0][2], true);
    assert_eq!(told(&mut world).2, 0);
}

#[test]
fn statistics_are_asked_again_when_a_group_has_landed_unknown() {
    let mut world = World::open_relay();
    world.awake_for(200);
    let conn = world.client();
    let (alice, bob) = (Author::new(1), Author::new(2));
    let request = alice.sign(5050, NOW, &[], "");
    world.ask(conn, json!(["EVENT", request]));
    told(&mut world);
    // It lands, and what is asked afterwards does not say that a provider is active.
    world.faults.push_back(Fault::LandsAndFails);
    world.ask(conn, json!(["EVENT", bob.answer(6050, &request, &[])]));
    let first = told(&mut world);
    assert_eq!((&first.0, &first.2), (&json!(2), &json!(1)));
    for seconds in [1, 61, 3000] {
        world.now += seconds * 1000;
        let (stored, _, active, queries) = told(&mut world);
        assert_eq!((stored, active, queries), (json!(2), json!(1), first.3), "{seconds}");
    }
}

#[test]
fn the_size_of_the_database_is_what_it_said_last_and_has_its_price() {
    let mut world = World::open_relay();
    let conn = world.client();
    let storage = |world: &mut World| world.stats()["storage"].take();
    let before = storage(&mut world);
    assert_eq!((&before["bytes"], &before["month_dollars"]["bytes"]), (&Value::Null, &Value::Null));
    for name in ["nexus_storage_bytes", "nexus_storage_max_bytes"] {
        assert!(!world.http_text(Api::Metrics).contains(name), "what is not known is left out");
    }
    world.size = Some(8_000_000_000);
    world.ask(conn, json!(["EVENT", Author::new(1).note("a")]));
    let told = storage(&mut world);
    assert_eq!((&told["bytes"], &told["month_dollars"]["bytes"]), (&json!(8_000_000_000_u64), &json!(6.0)));
    assert_eq!(told["month_dollars_above_included"], 2.25);
    // An answer without it, or none at all, changes nothing.
    world.size = None;
    world.ask(conn, json!(["EVENT", Author::new(1).note("b")]));
    world.broken = true;
    world.ask(conn, json!(["EVENT", Author::new(1).note("c")]));
    assert_eq!(storage(&mut world)["bytes"], 8_000_000_000_u64);
    let text = world.http_text(Api::Metrics);
    for line in ["nexus_storage_bytes 8000000000", "nexus_storage_month_dollars{for=\"bytes\"} 6"] {
        assert!(text.lines().any(|known| known == line), "no {line} in\n{text}");
    }
}

#[test]
fn a_query_that_fails_is_logged_with_who_asked() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.broken = true;
    world.log.clear();
    world.ask(conn, json!(["REQ", "a", {"kinds": [1]}]));
    assert_eq!(world.http(Api::Handlers(5050)).0, 503);
    let other = world.client();
    world.say(conn, json!(["EVENT", Author::new(1).note("a")]));
    world.say(conn, json!(["EVENT", Author::new(1).note("b")]));
    world.say(other, json!(["EVENT", Author::new(1).note("b")]));
    world.commit_all();
    let lines: Vec<Value> = world.log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed = json!({"level": "error", "what": "query failed", "error": "disk on fire", "kind": "other"});
    let of = |name: &str, id: String| {
        let mut line = failed.clone();
        line[name] = json!(id);
        line
    };
    assert_eq!(lines[..2], [of("connection", conn.to_string()), of("request", RequestId(0).to_string())]);
    let refused = lines.iter().rfind(|line| line["what"] == "events are refused, the store fails").unwrap();
    assert_eq!((&refused["connection"], &refused["events"]), (&json!(format!("{conn} {other}")), &json!("2")));
}

#[test]
fn a_request_is_named_as_cloudflare_names_it() {
    let name = RequestId::of_ray("230b030023ae2822-SJC").unwrap();
    assert_eq!(name.to_string(), "230b030023ae2822");
    for odd in ["", "-", "230b", "230b030023ae28220-SJC", "230b030023ae282g-SJC"] {
        assert_eq!(RequestId::of_ray(odd), None, "{odd}");
    }
}

#[test]
fn the_history_has_what_happened_minute_by_minute_and_is_bounded() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let ask = |world: &mut World, n: u64, answered: bool| {
        let request = buyer.sign(5050, world.now / 1000, &[], &n.to_string());
        world.ask(conn, json!(["EVENT", request]));
        if answered {
            let (id, p) = (request.id.to_string(), buyer.key().to_string());
            world.now += 800;
            world.ask(conn, json!(["EVENT", provider.sign(6050, world.now / 1000, &[&["e", &id], &["p", &p]], "")]));
        }
    };
    ask(&mut world, 1, true);
    ask(&mut world, 2, false);
    world.now += 60_000;
    ask(&mut world, 3, true);
    ask(&mut world, 4, true);
    let history = |world: &mut World, step| world.http(Api::History(step)).1["points"].take();
    let points = history(&mut world, Step::Minute);
    let told = |point: &Value| [&point["stored"], &point["results"], &point["states"]["success"]].map(Clone::clone);
    // Before the first group, before the first of the next minute, and now.
    let told: Vec<_> = points.as_array().unwrap().iter().map(told).collect();
    let null = Value::Null;
    assert_eq!(told, [[json!(0), json!(0), null], [json!(3), json!(1), json!(1)], [json!(7), json!(2), json!(3)]]);
    let p50 = points[2]["p50_ms"].as_u64().unwrap();
    assert!((500..=1000).contains(&p50), "{p50}");
    assert_eq!((&points[1]["at"], &points[2]["at"]), (&json!(NOW + 60), &json!(world.now / 1000)));

    // Two days of a note each minute: a day of minutes and an hour each are left.
    world.reset(false);
    world.settle();
    for n in 0..2 * 1440 {
        world.now += 60_000;
        world.ask(conn, json!(["EVENT", Author::new(3).sign(1, world.now / 1000, &[], &n.to_string())]));
    }
    let rows = world.column("SELECT count(*) || ' ' || sum(hour) FROM history");
    let (all, hours): (u64, u64) =
        rows[0].split_once(' ').map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap())).unwrap();
    assert!((1440..=1440 + 25 + 60).contains(&all) && (48..=51).contains(&hours), "{rows:?}");
    world.now += 16_000;
    assert_eq!(history(&mut world, Step::Hour).as_array().unwrap().len() as u64, hours + 1);
    let minutes = history(&mut world, Step::Minute).as_array().unwrap().len();
    assert!((1440..=1442).contains(&minutes), "{minutes}");
}

#[test]
fn metrics_are_the_statistics_in_prometheus_form() {
    let mut world = World::open_relay();
    let conn = world.client();
    let (buyer, provider) = (Author::new(1), Author::new(2));
    let request = buyer.sign(5050, NOW, &[], "");
    let (id, p) = (request.id.to_string(), buyer.key().to_string());
    world.ask(conn, json!(["EVENT", request]));
    world.now += 700;
    world.ask(conn, json!(["EVENT", provider.sign(6050, NOW, &[&["e", &id], &["p", &p]], "")]));
    let text = world.http_text(Api::Metrics);
    for line in [
        "nexus_connections_open 1",
        "nexus_events_stored_total 2",
        "nexus_events_by_kind_total{kind=\"5050\"} 1",
        "nexus_jobs{state=\"success\"} 1",
        "nexus_jobs{state=\"open\"} 0",
        "nexus_jobs_by_kind{kind=\"5050\",state=\"success\"} 1",
        "nexus_jobs_time_to_result_seconds_bucket{le=\"0.5\"} 0",
        "nexus_jobs_time_to_result_seconds_bucket{le=\"1\"} 1",
        "nexus_jobs_time_to_result_seconds_bucket{le=\"86400\"} 1",
        "nexus_jobs_time_to_result_seconds_bucket{le=\"+Inf\"} 1",
        "nexus_jobs_time_to_result_seconds_count 1",
        "# TYPE nexus_jobs_time_to_result_seconds histogram",
    ] {
        assert!(text.lines().any(|known| known == line), "no {line} in\n{text}");
    }
    let sum = text.lines().find_map(|line| line.strip_prefix("nexus_jobs_time_to_result_seconds_sum "));
    assert!((0.7..0.72).contains(&sum.unwrap().parse::<f64>().unwrap()));
}
