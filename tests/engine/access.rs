//! Who is told the relay's numbers and about jobs, by what was signed (NIP-98).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nexus::gateway::access::{admit, depends_on_key, is_for_one};
use nexus::gateway::{Api, Config};
use nexus::nostr::http_auth::Asked;
use nexus::store::history::Step;

use crate::common::events::{Author, NOW};
use crate::common::refusals;
use crate::common::world::{World, config};

const PATH: &str = "/api/somewhere?x=1";

/// The header by which somebody proves a key for [`PATH`].
fn header(author: &Author, created_at: u64) -> String {
    let tags: &[&[&str]] = &[&["u", "https://nexus.example/api/somewhere?x=1"], &["method", "GET"]];
    format!("Nostr {}", STANDARD.encode(author.sign(27_235, created_at, tags, "").to_json()))
}

/// What may be asked, or the status and the reason.
fn ask(config: &Config, api: Api, header: Option<&str>) -> Result<Api, (u16, String)> {
    let asked = Asked { method: "GET", path: PATH, body: None };
    admit(config, api, header, &asked, NOW * 1000).map_err(|away| {
        refusals::check(&format!("HTTP {}", away.status), &away.reason);
        (away.status, away.reason)
    })
}

#[test]
fn numbers_are_for_everybody_or_for_who_proves_the_owners_key() {
    let [owner, other] = [1, 2].map(Author::new);
    let key = owner.key().to_string();
    let (public, owners) = (config(&[]), config(&[("STATS", "owners"), ("RELAY_PUBKEY", &key)]));
    let (his, old, others) = (header(&owner, NOW), header(&owner, NOW - 61), header(&other, NOW));
    let numbers = [Api::Stats, Api::Metrics, Api::History(Step::Hour)];
    for api in numbers {
        // What somebody says of himself where it does not matter is not looked at.
        for header in [None, Some("Basic abc"), Some(&*his)] {
            assert_eq!(ask(&public, api, header), Ok(api));
        }
        assert!(!depends_on_key(&public, api) && !is_for_one(&public, api));
        assert!(depends_on_key(&owners, api) && is_for_one(&owners, api));
        assert_eq!(ask(&owners, api, Some(&his)), Ok(api));
        let status = |header| ask(&owners, api, header).unwrap_err().0;
        assert_eq!([None, Some("Basic abc"), Some(&old), Some(&others)].map(status), [401, 401, 401, 403]);
    }
    for api in [Api::Handlers(5050), Api::Health] {
        assert_eq!(ask(&owners, api, None), Ok(api));
        assert!(!is_for_one(&owners, api));
    }
}

#[test]
fn a_job_is_told_to_who_says_who_he_is_or_to_anybody() {
    let [owner, buyer] = [1, 2].map(Author::new);
    let job = buyer.sign(5050, NOW, &[], "").id;
    let key = owner.key().to_string();
    let (public, owners) = (config(&[]), config(&[("STATS", "owners"), ("RELAY_PUBKEY", &key)]));
    let his = header(&buyer, NOW);
    let api = Api::Job(job, None);
    assert_eq!(ask(&public, api, None), Ok(api));
    assert!(!is_for_one(&public, api));
    for config in [&public, &owners] {
        let proven = ask(config, api, Some(&his)).unwrap();
        assert_eq!(proven, Api::Job(job, Some(buyer.key())));
        assert!(is_for_one(config, proven));
        assert_eq!(ask(config, api, Some("Nostr abc")).unwrap_err().0, 401);
    }
    assert_eq!(ask(&owners, api, None).unwrap_err().0, 401);
}

#[test]
fn where_numbers_are_the_owners_a_job_is_told_to_him_and_its_parties() {
    let [owner, buyer, provider, stranger] = [1, 2, 3, 4].map(Author::new);
    let key = owner.key().to_string();
    let mut world = World::new(&[("AUTH_REQUIRED", "false"), ("STATS", "owners"), ("RELAY_PUBKEY", &key)]);
    let conn = world.client();
    let job = buyer.sign(5050, NOW, &[&["encrypted"], &["p", &provider.key().to_string()]], "");
    world.publish(conn, &job);
    let mut ask = |author: &Author| world.http(Api::Job(job.id, Some(author.key())));
    assert_eq!([&owner, &buyer, &provider].map(|author| ask(author).0), [200; 3]);
    let (status, answer) = ask(&stranger);
    refusals::check(&format!("HTTP {status}"), answer["error"].as_str().unwrap());
    assert_eq!(status, 403);
    // He is no party: what is encrypted is not for him.
    assert!(ask(&owner).1.get("customer").is_none());
    assert!(ask(&buyer).1.get("customer").is_some());
}
