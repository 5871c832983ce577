//! What is shown of a job, to whom, and what it costs to look.

use nexus::gateway::Api;
use nexus::message::PartitionId;
use nexus::nostr::{Event, PublicKey};
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::gateways::Gateways;
use crate::common::world::World;

fn look(world: &mut World, job: &Event, key: Option<&Author>) -> Value {
    let (status, answer) = world.http(Api::Job(job.id, key.map(Author::key)));
    assert_eq!(status, 200, "{answer}");
    answer
}

/// Publishes an event that came at a time of its own, and says when.
fn publish(world: &mut World, event: &Event) -> u64 {
    let conn = world.client();
    world.now += 1500;
    let came = world.now;
    assert_eq!(world.publish(conn, event)[2], true);
    // What is shown of a job is shared for a moment.
    world.now += 3000;
    came
}

fn states(answer: &Value) -> Vec<(&str, Option<u64>)> {
    let state = |state: &'_ Value| (state["state"].as_str().map(str::to_owned), state["at_ms"].as_u64());
    let all: Vec<_> = answer["states"].as_array().unwrap().iter().map(state).collect();
    all.into_iter().map(|(state, at)| (&*state.unwrap().leak(), at)).collect()
}

fn answered_by(answer: &Value) -> Vec<Value> {
    answer["answers"].as_array().unwrap().iter().map(|answer| answer["pubkey"].clone()).collect()
}

#[test]
fn a_job_is_told_with_its_states_times_and_amounts_and_without_content() {
    let mut world = World::open_relay();
    let [buyer, provider, other] = [1, 2, 3].map(Author::new);
    let (p, q) = (provider.key().to_string(), other.key().to_string());
    let secret = "what nobody is told";
    let tags: &[&[&str]] =
        &[&["i", secret, "text"], &["param", secret, secret], &["bid", "9000"], &["p", &p], &["p", &q]];
    let job = buyer.sign(5050, NOW, tags, secret);
    assert_eq!(world.http(Api::Job(job.id, None)).0, 404);
    let asked = publish(&mut world, &job);
    let open = look(&mut world, &job, None);
    assert_eq!((&open["state"], &open["kind"], &open["customer"]), (&json!("open"), &json!(5050), &json!(buyer.key())));
    assert_eq!((&open["bid_msats"], &open["encrypted"]), (&json!(9000), &json!(false)));
    assert_eq!(open["asked"], json!([{"pubkey": provider.key()}, {"pubkey": other.key()}]));
    assert_eq!((&open["answers"], &open["expires_at"]), (&json!([]), &json!(NOW + 86_400)));
    assert_eq!((&open["first_feedback_ms"], &open["first_result_ms"]), (&Value::Null, &Value::Null));

    let pay = provider.answer(7000, &job, &[&["status", "payment-required", secret], &["amount", "7000", "lnbc1x"]]);
    let odd = other.answer(7000, &job, &[&["status", "thinking"]]);
    let works = provider.answer(7000, &job, &[&["status", "processing"]]);
    let result = provider.sign(
        6050,
        NOW,
        &[
            &["request", &job.to_json()],
            &["amount", "7000"],
            &["e", &job.id.to_string()],
            &["p", &buyer.key().to_string()],
        ],
        secret,
    );
    let came = [&pay, &odd, &works, &result].map(|event| publish(&mut world, event));
    let done = look(&mut world, &job, None);
    let expected = [("open", asked), ("payment-required", came[0]), ("processing", came[2]), ("success", came[3])];
    assert_eq!(states(&done), expected.map(|(state, at)| (state, Some(at))));
    assert_eq!((&done["state"], &done["first_result_by"]), (&json!("success"), &json!(provider.key())));
    assert_eq!((&done["first_feedback_ms"], &done["first_result_ms"]), (&json!(came[0]), &json!(came[3])));
    let told = |event: &Event, at: u64, status: Value, amount: Value, counts: bool| json!({"id": event.id, "kind": event.kind, "pubkey": event.pubkey, "at_ms": at, "status": status, "amount_msats": amount, "counts": counts});
    let expected = [
        told(&pay, came[0], json!("payment-required"), json!(7000), true),
        told(&odd, came[1], Value::Null, Value::Null, false),
        told(&works, came[2], json!("processing"), Value::Null, true),
        told(&result, came[3], Value::Null, json!(7000), true),
    ];
    assert_eq!(done["answers"], json!(expected));
    assert_eq!((&done["answers_left_out"], &done["asked_left_out"]), (&json!(false), &json!(0)));
    assert!(done["more"].as_str().unwrap().contains("NIP-98"), "{done}");
    for text in [secret, "lnbc1x", "thinking"] {
        assert!(!done.to_string().contains(text), "{done}");
    }
    // Who has a part in it is told that this is all.
    for (author, is_party) in [(&buyer, true), (&provider, true), (&Author::new(9), false)] {
        let more = look(&mut world, &job, Some(author))["more"].clone();
        assert_eq!(more == Value::Null, is_party, "{more}");
    }
}

#[test]
fn of_an_encrypted_job_strangers_are_told_states_and_times_alone() {
    let mut world = World::open_relay();
    let [buyer, asked, also, stranger] = [1, 2, 3, 4].map(Author::new);
    let keys = [&asked, &also].map(|author| author.key().to_string());
    let job = buyer.sign(5050, NOW, &[&["encrypted"], &["p", &keys[0]], &["p", &keys[1]]], "");
    let times = [
        publish(&mut world, &job),
        publish(&mut world, &asked.answer(7000, &job, &[&["status", "processing"], &["amount", "5"]])),
        publish(&mut world, &also.answer(6050, &job, &[])),
    ];
    let shown = |world: &mut World, key| {
        let answer = look(world, &job, key);
        let known = [("open", times[0]), ("processing", times[1]), ("success", times[2])];
        assert_eq!(states(&answer), known.map(|(state, at)| (state, Some(at))));
        assert_eq!((&answer["encrypted"], &answer["first_result_ms"]), (&json!(true), &json!(times[2])));
        answer
    };
    for key in [None, Some(&stranger)] {
        let answer = shown(&mut world, key);
        let mut names: Vec<&String> = answer.as_object().unwrap().keys().collect();
        names.sort();
        let all = [
            "encrypted",
            "expires_at",
            "first_feedback_ms",
            "first_result_ms",
            "id",
            "more",
            "state",
            "states",
            "version",
        ];
        assert_eq!(names, all);
        for key in [&buyer, &asked, &also].map(|author| author.key().to_string()) {
            assert!(!answer.to_string().contains(&key), "{answer}");
        }
    }
    let of_buyer = shown(&mut world, Some(&buyer));
    assert_eq!(answered_by(&of_buyer), [json!(asked.key()), json!(also.key())]);
    assert_eq!(of_buyer["answers"][0]["amount_msats"], 5);
    assert_eq!((&of_buyer["first_result_by"], &of_buyer["customer"]), (&json!(also.key()), &json!(buyer.key())));
    // Each provider sees what it was asked, and its own answers.
    let of_asked = shown(&mut world, Some(&asked));
    assert_eq!(answered_by(&of_asked), [json!(asked.key())]);
    assert_eq!((&of_asked["first_result_by"], &of_asked["kind"]), (&Value::Null, &json!(5050)));
    assert_eq!(of_asked["asked"].as_array().unwrap().len(), 2);
    let of_also = shown(&mut world, Some(&also));
    assert_eq!((answered_by(&of_also), &of_also["first_result_by"]), (vec![json!(also.key())], &json!(also.key())));
}

#[test]
fn an_answer_that_is_for_its_parties_is_shown_to_them() {
    let mut world = World::open_relay();
    let [buyer, open, hidden] = [1, 2, 3].map(Author::new);
    // It comes before the request is known, and after that is known to be for everybody.
    let job = buyer.sign(5050, NOW, &[], "");
    publish(&mut world, &hidden.answer(7000, &job, &[&["status", "processing"], &["encrypted"]]));
    let early = look(&mut world, &job, None);
    assert_eq!((&early["kind"], &early["encrypted"], &early["answers"]), (&Value::Null, &Value::Null, &json!([])));
    assert_eq!(
        (&early["state"], answered_by(&look(&mut world, &job, Some(&hidden)))),
        (&json!("processing"), vec![json!(hidden.key())])
    );
    publish(&mut world, &job);
    publish(&mut world, &open.answer(6050, &job, &[]));
    let both = [json!(hidden.key()), json!(open.key())];
    for (author, expected) in [(&buyer, &both[..]), (&hidden, &both[..]), (&open, &both[1..])] {
        assert_eq!(answered_by(&look(&mut world, &job, Some(author))), expected);
    }
    assert_eq!(answered_by(&look(&mut world, &job, None)), both[1..]);
}

#[test]
fn a_job_that_is_over_says_how_and_when() {
    let mut world = World::open_relay();
    let [buyer, provider] = [1, 2].map(Author::new);
    // It expires, and is told to have before it is removed, and after.
    let short = buyer.sign(5050, NOW, &[&["expiration", &(NOW + 60).to_string()], &["bid", "5"]], "");
    let asked = publish(&mut world, &short);
    assert_eq!(look(&mut world, &short, None)["expires_at"], NOW + 60);
    world.now = (NOW + 61) * 1000;
    let over = look(&mut world, &short, None);
    assert_eq!(
        (&over["state"], &over["expires_at"], &over["bid_msats"]),
        (&json!("expired"), &Value::Null, &Value::Null)
    );
    assert_eq!(states(&over), [("open", Some(asked)), ("expired", Some((NOW + 60) * 1000))]);
    world.pass(4000);
    let removed = look(&mut world, &short, None);
    assert_eq!(states(&removed), [("open", Some(asked)), ("expired", None)], "when, nothing says any more");
    assert_eq!(removed["customer"], json!(buyer.key()));
    // A late answer counts.
    let late =
        provider.sign(6050, world.now / 1000, &[&["e", &short.id.to_string()], &["p", &buyer.key().to_string()]], "");
    let came = publish(&mut world, &late);
    assert_eq!(states(&look(&mut world, &short, None)), [("open", Some(asked)), ("success", Some(came))]);

    // It is cancelled by its customer, whoever else says so.
    let now = world.now / 1000;
    let job = buyer.sign(5050, now, &[], "to be cancelled");
    publish(&mut world, &job);
    let id = job.id.to_string();
    publish(&mut world, &provider.sign(5, now, &[&["e", &id]], ""));
    assert_eq!(look(&mut world, &job, None)["state"], "open");
    let at = publish(&mut world, &buyer.sign(5, now, &[&["e", &id]], ""));
    let cancelled = look(&mut world, &job, None);
    assert_eq!(states(&cancelled)[1..], [("cancelled", Some(at))]);
    assert_eq!((&cancelled["customer"], &cancelled["expires_at"]), (&json!(buyer.key()), &Value::Null));
}

#[test]
fn who_vanishes_is_not_named_any_more() {
    let mut world = World::open_relay();
    let [buyer, provider, other] = [1, 2, 3].map(Author::new);
    let job = buyer.sign(5050, NOW, &[&["p", &provider.key().to_string()]], "");
    for event in [&job, &provider.answer(6050, &job, &[]), &other.answer(7000, &job, &[&["status", "processing"]])] {
        publish(&mut world, event);
    }
    let vanish = |author: &Author| author.sign(62, NOW + 60, &[&["relay", "ALL_RELAYS"]], "");
    world.now = (NOW + 60) * 1000;
    publish(&mut world, &vanish(&provider));
    let answer = look(&mut world, &job, None);
    assert_eq!((&answer["first_result_by"], answered_by(&answer)), (&Value::Null, vec![json!(other.key())]));
    assert_eq!(answer["state"], "success");
    publish(&mut world, &vanish(&buyer));
    for _ in 0..2 {
        let answer = look(&mut world, &job, None);
        assert_eq!([&answer["customer"], &answer["kind"], &answer["asked"]], [&Value::Null; 3], "{answer}");
        assert!(!answer.to_string().contains(&buyer.key().to_string()), "{answer}");
        world.pass(4000);
    }
}

#[test]
fn what_is_read_of_a_job_is_bounded_and_paid_by_the_network() {
    let rates = [
        ("AUTH_REQUIRED", "false"),
        ("RATE_LIMITS", "on"),
        ("RATE_GUEST", "events 1000/1000 queries 1/3 bytes 10000000/100000000"),
    ];
    let mut world = World::new(&rates);
    let buyer = Author::new(1);
    let job = buyer.sign(5050, NOW, &[], "");
    let conn = world.open_from("192.0.2.1").unwrap();
    world.publish(conn, &job);
    for n in 0..70 {
        let provider = Author::numbered(n);
        world.publish(conn, &provider.answer(6050, &job, &[]));
        world.publish(conn, &provider.answer(7000, &job, &[&["status", "processing"]]));
    }
    let mut ask = |seconds: u64, key: Option<PublicKey>| {
        world.now += seconds * 1000;
        let request = world.request(Api::Job(job.id, key), Some("192.0.2.9".to_owned()));
        world.settle();
        let (status, body, retry_after_s) = world.response(request).unwrap();
        (*status, serde_json::from_str::<Value>(body).unwrap(), *retry_after_s)
    };
    let (status, answer, _) = ask(0, None);
    assert_eq!(
        (status, answer["answers"].as_array().unwrap().len(), &answer["answers_left_out"]),
        (200, 100, &json!(true))
    );
    assert_eq!(ask(0, None).0, 200, "it is kept for a moment");
    assert_eq!([2, 3].map(|n| ask(0, Some(Author::new(n).key())).0), [200, 200]);
    let (status, error, retry_after_s) = ask(0, Some(Author::new(4).key()));
    assert_eq!((status, retry_after_s), (429, Some(1)), "{error}");
    assert_eq!(ask(0, None).0, 200);
    assert_eq!(ask(10, None).0, 200);
}

#[test]
fn a_job_is_found_in_its_partition_and_its_cancellation_at_home() {
    let buyer = Author::new(1);
    let mut all = Gateways::with(2, 3, &[]);
    let mut seen = [false; 3];
    for n in 0..12 {
        let job = buyer.sign(5050, NOW, &[], &n.to_string());
        seen[PartitionId::of_job(&job.id, 3).0 as usize] = true;
        assert_eq!(
            all.http(1, Api::Job(job.id, None))["error"].as_str().unwrap().split(';').next(),
            Some("no job of this id is known here")
        );
        assert_eq!(all.ask(0, json!(["EVENT", job]))[0][2], true);
        let came = all.now;
        all.now += 2000;
        assert_eq!(all.ask(0, json!(["EVENT", Author::new(2).answer(6050, &job, &[])]))[0][2], true);
        let answered = all.now;
        let look = |all: &mut Gateways| {
            all.now += 3000;
            all.http(1, Api::Job(job.id, None))
        };
        assert_eq!(states(&look(&mut all)), [("open", Some(came)), ("success", Some(answered))]);
        assert_eq!(all.ask(0, json!(["EVENT", buyer.delete(std::slice::from_ref(&job))]))[0][2], true);
        let cancelled = look(&mut all);
        let at = cancelled["states"][2]["at_ms"].as_u64().unwrap();
        assert!((answered..=all.now).contains(&at), "{cancelled}");
        assert_eq!((&cancelled["state"], &cancelled["customer"]), (&json!("cancelled"), &json!(buyer.key())));
    }
    assert_eq!(seen, [true; 3]);
}
