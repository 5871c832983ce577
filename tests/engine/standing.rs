//! Who is listed before whom (NIP-89), and that nobody can buy or take away a place with keys that cost nothing.

use nexus::gateway::{Api, ConnId};
use nexus::nostr::Event;
use serde_json::{Value, json};

use crate::common::events::{Author, NOW};
use crate::common::world::World;

/// A relay, a connection that publishes, and a number for what must differ.
struct Stage {
    world: World,
    conn: ConnId,
    count: u32,
}

/// The handler information of a kind.
fn handler(by: &Author, created_at: u64, d: &str, kind: &str) -> Event {
    by.sign(31990, created_at, &[&["d", d], &["k", kind]], "")
}

fn label(by: &Author, about: &Author, created_at: u64, word: &str) -> Event {
    let key = about.key().to_string();
    by.sign(1985, created_at, &[&["L", "quality"], &["l", word, "quality"], &["p", &key]], "")
}

impl Stage {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let mut world = World::new(&[&[("AUTH_REQUIRED", "false")], settings].concat());
        let conn = world.client();
        Self { world, conn, count: 0 }
    }

    fn put(&mut self, event: &Event) {
        let frames = self.world.ask(self.conn, json!(["EVENT", event]));
        assert!(frames.iter().any(|frame| frame[0] == "OK" && frame[2] == true), "{frames:?}");
    }

    /// A job of `buyer`, with the result of each of `providers` so many milliseconds later.
    fn deal(&mut self, buyer: &Author, providers: &[&Author], ms: u64) {
        self.count += 1;
        let request = buyer.sign(5050, self.world.now / 1000, &[], &self.count.to_string());
        self.put(&request);
        self.world.now += ms;
        for provider in providers {
            self.put(&provider.answer(6050, &request, &[]));
        }
    }

    /// What is listed for the kind 5050, when it is asked anew.
    fn list(&mut self) -> Vec<Value> {
        self.world.pass(20);
        self.world.http(Api::Handlers(5050)).1["handlers"].as_array().unwrap().clone()
    }

    fn entry(&mut self, of: &Author) -> Option<Value> {
        self.list().into_iter().find(|entry| entry["pubkey"] == json!(of.key()))
    }

    /// Their places, the best first.
    fn order(&mut self, among: &[&Author]) -> Vec<usize> {
        let place = |entry: &Value| among.iter().position(|author| entry["pubkey"] == json!(author.key()));
        self.list().iter().filter_map(place).collect()
    }
}

#[test]
fn labels_of_one_key_neither_erase_nor_launder_what_customers_said() {
    let (provider, stranger) = (Author::new(2), Author::new(66));
    let others = [Author::new(3), Author::new(4)];
    // Whose hundred labels come later than all others.
    for flood in [&stranger, &provider] {
        let mut stage = Stage::new();
        stage.put(&handler(&provider, NOW, "h", "5050"));
        for n in 0..20 {
            let buyer = Author::new(100 + n);
            stage.deal(&buyer, &[&provider, &others[0], &others[1]], 100);
            stage.put(&label(&buyer, &provider, NOW, "bad"));
        }
        let told = |stage: &mut Stage| {
            let entry = stage.entry(&provider).unwrap();
            (entry["standing"].clone(), entry["reputation"][0].clone())
        };
        let before = told(&mut stage);
        assert_eq!(before.0, json!(-0.8), "twenty customers who are known blame it");
        for n in 0..100 {
            let key = provider.key().to_string();
            let tags: &[&[&str]] = &[&["L", "x"], &["l", "good", "x"], &["p", &key]];
            stage.put(&flood.sign(1985, NOW + 600, tags, &n.to_string()));
            stage.put(&flood.sign(1985, NOW + 600 - n, &[&["l", "good"], &["p", &key]], &n.to_string()));
        }
        let after = told(&mut stage);
        assert_eq!(after.1, before.1);
        assert!((after.0.as_f64().unwrap() - -0.8).abs() < 0.02, "{after:?}");
    }
}

#[test]
fn a_label_goes_with_its_event() {
    let (provider, one, two, three) = (Author::new(2), Author::new(3), Author::new(4), Author::new(5));
    let mut stage = Stage::new();
    stage.put(&handler(&provider, NOW, "h", "5050"));
    let votes = |stage: &mut Stage| stage.entry(&provider).unwrap()["reputation"].as_array().unwrap().len();
    let (first, second) = (label(&one, &provider, NOW, "good"), label(&two, &provider, NOW, "fast"));
    let key = provider.key().to_string();
    let soon = (NOW + 100).to_string();
    let third = three.sign(1985, NOW, &[&["l", "brief"], &["p", &key], &["expiration", &soon]], "");
    for event in [&first, &second, &third] {
        stage.put(event);
    }
    assert_eq!(votes(&mut stage), 3);
    stage.put(&one.sign(5, NOW, &[&["e", &first.id.to_string()]], ""));
    assert_eq!(votes(&mut stage), 2, "deleted");
    stage.put(&two.sign(62, NOW + 50, &[&["relay", "ALL_RELAYS"]], ""));
    assert_eq!(votes(&mut stage), 1, "vanished");
    stage.world.now = (NOW + 100) * 1000;
    assert_eq!(votes(&mut stage), 0, "expired");
    for _ in 0..3 {
        stage.world.pass(3600);
    }
    assert!(stage.world.column("SELECT voter FROM votes").is_empty());
}

#[test]
fn two_hundred_keys_of_one_hand_do_not_lift_a_provider_above_one_with_five_known_customers() {
    let [honest, cheat, other, another] = [1, 2, 3, 4].map(Author::new);
    let mut stage = Stage::new();
    for provider in [&honest, &cheat] {
        stage.put(&handler(provider, NOW, "h", "5050"));
    }
    for n in 0..5 {
        let buyer = Author::new(100 + n);
        // Slow, and the others come last.
        stage.deal(&buyer, &[&honest], 60_000);
        stage.deal(&buyer, &[&other], 10);
        stage.deal(&buyer, &[&another], 10);
    }
    for n in 0..200 {
        let puppet = Author::numbered(n);
        stage.deal(&puppet, &[&cheat], 1);
        stage.put(&label(&puppet, &cheat, NOW, "excellent"));
        stage.put(&label(&puppet, &honest, NOW, "scam"));
    }
    assert_eq!(stage.order(&[&honest, &cheat]), [0, 1]);
    let (honest, cheat) = (stage.entry(&honest).unwrap(), stage.entry(&cheat).unwrap());
    assert_eq!([&honest["known_customers"], &cheat["known_customers"]], [&json!(5), &json!(0)]);
}

#[test]
fn many_jobs_of_one_customer_are_one_opinion() {
    let [honest, cheat, puppet] = [1, 2, 3].map(Author::new);
    let mut stage = Stage::new();
    for provider in [&honest, &cheat] {
        stage.put(&handler(provider, NOW, "h", "5050"));
    }
    for n in 0..40 {
        let buyer = Author::new(100 + n);
        stage.deal(&buyer, &[&honest], 2000);
        stage.put(&label(&buyer, &honest, NOW, "good"));
        // The cheat serves them, too, but slowly; its own puppet speeds its figures up.
        stage.deal(&buyer, &[&cheat], 30_000);
    }
    for _ in 0..200 {
        stage.deal(&puppet, &[&cheat], 1);
    }
    assert_eq!(stage.order(&[&honest, &cheat]), [0, 1]);
    let median = |entry: Option<Value>| entry.unwrap()["median_ms"].as_u64().unwrap();
    let (fast, slow) = (median(stage.entry(&honest)), median(stage.entry(&cheat)));
    assert!((1900..2300).contains(&fast) && (28_000..32_000).contains(&slow), "{fast} {slow}");
}

#[test]
fn a_provider_that_is_here_is_listed_whatever_others_publish() {
    let mut stage = Stage::new();
    let mut all: Vec<Author> = (0..401).map(Author::numbered).collect();
    all.sort_by_key(Author::key);
    // With the highest key of all.
    let honest = all.pop().unwrap();
    let (buyer, flood) = (Author::new(1), Author::new(2));
    stage.world.agent(&honest);
    stage.put(&handler(&honest, NOW - 1000, "h", "5050"));
    stage.deal(&buyer, &[&honest], 10);
    for (n, author) in all.iter().enumerate() {
        // Half of them are here and offer something else, half offer the same and are not here.
        if n % 2 == 0 {
            stage.world.agent(author);
        }
        stage.put(&handler(author, NOW + 300, "s", if n % 2 == 0 { "5051" } else { "5050" }));
    }
    for n in 0..500 {
        stage.put(&handler(&flood, NOW + 600, &n.to_string(), "5050"));
    }
    assert_eq!(stage.order(&[&honest]), [0]);
    assert_eq!(stage.entry(&honest).unwrap()["rank"], 1);
}

#[test]
fn a_provider_with_known_customers_is_listed_though_it_is_away() {
    let mut stage = Stage::new();
    let (honest, others, buyer) = (Author::new(1), [Author::new(3), Author::new(4)], Author::new(2));
    stage.put(&handler(&honest, NOW - 1000, "h", "5050"));
    stage.deal(&buyer, &[&honest, &others[0], &others[1]], 10);
    for n in 0..600 {
        let author = Author::numbered(n);
        // They are newer, some of them are here, and all of them have had a job.
        stage.put(&handler(&author, NOW + 600, "s", "5050"));
        if n < 110 {
            stage.world.agent(&author);
            stage.deal(&Author::numbered(5000 + n), &[&author], 1);
        }
    }
    assert!(stage.entry(&honest).is_some());
    assert_eq!(stage.list().len(), 100);
}

#[test]
fn the_document_says_what_a_clique_costs() {
    let mut stage = Stage::with(&[("ROWS_PER_DAY", "1000000")]);
    let keys: Vec<Author> = (0..8).map(Author::numbered).collect();
    let (customers, others) = keys.split_at(5);
    let providers: Vec<&Author> = others.iter().collect();
    for customer in customers {
        stage.deal(customer, &providers, 1);
    }
    let rows = stage.world.stats()["storage"]["rows"]["today"].clone();
    let events = stage.world.stored().len();
    stage.put(&handler(providers[0], NOW, "h", "5050"));
    assert_eq!(stage.entry(providers[0]).unwrap()["known_customers"], 5);
    let document = include_str!("../../docs/market.md").split_whitespace().collect::<Vec<_>>().join(" ");
    for cost in [format!(" {} keys ", keys.len()), format!(" {events} events"), format!(" {rows} rows")] {
        assert!(document.contains(&cost), "docs/market.md does not say{cost}");
    }
}
