//! NIP-98: who asks over HTTP.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use nexus::nostr::Event;
use nexus::nostr::auth::Authority;
use nexus::nostr::http_auth::{Asked, check, read};

use crate::common::events::{Author, NOW};

/// The SHA-256 of `{}`.
const HASH: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
const POST: Asked<'static> = Asked { method: "POST", path: "/", body: Some(b"{}") };

fn signed(kind: u16, at: u64, tags: &[[&str; 2]]) -> Event {
    let tags: Vec<&[&str]> = tags.iter().map(|tag| tag.as_slice()).collect();
    Author::new(7).sign(kind, at, &tags, "")
}

fn relays() -> Vec<Authority> {
    ["wss://relay.example", "ws://127.0.0.1:7777"].into_iter().map(|url| Authority::of(url).unwrap()).collect()
}

#[test]
fn the_url_may_be_written_as_a_socket_or_as_http() {
    for u in [
        "wss://relay.example",
        "https://relay.example/",
        "https://RELAY.example:443",
        "ws://127.0.0.1:7777/",
        "http://127.0.0.1:7777",
    ] {
        let event = signed(27235, NOW - 60, &[["u", u], ["method", "post"], ["payload", HASH]]);
        assert_eq!(check(&event, &POST, &relays(), NOW), Ok(()), "{u}");
    }
}

#[test]
fn what_is_not_as_nip98_has_it_is_refused() {
    let right = [["u", "https://relay.example/"], ["method", "POST"], ["payload", HASH]];
    assert_eq!(check(&signed(27235, NOW, &right), &POST, &relays(), NOW), Ok(()));
    let change = |at: usize, value: &'static str| {
        let mut tags = right;
        tags[at][1] = value;
        signed(27235, NOW, &tags)
    };
    let mut forged = signed(27235, NOW, &right);
    forged.content = "x".to_owned();
    for event in [
        signed(22242, NOW, &right),
        signed(27235, NOW - 61, &right),
        signed(27235, NOW + 61, &right),
        change(0, "https://other.example/"),
        change(0, "https://relay.example/admin"),
        change(0, "https://relay.example/?a=b"),
        change(0, "http://relay.example/"),
        change(0, "ftp://relay.example/"),
        change(1, "GET"),
        change(2, "00"),
        signed(27235, NOW, &right[..2]),
        forged,
    ] {
        assert!(check(&event, &POST, &relays(), NOW).is_err(), "{event:?}");
    }
}

#[test]
fn a_path_counts_with_its_query() {
    let asked = Asked { method: "GET", path: "/api/jobs/1?wait=3", body: None };
    let get = |u| signed(27235, NOW, &[["u", u], ["method", "GET"]]);
    assert_eq!(check(&get("https://relay.example/api/jobs/1?wait=3"), &asked, &relays(), NOW), Ok(()));
    for other in
        ["https://relay.example/api/jobs/1", "https://relay.example/api/jobs/1?wait=4", "https://relay.example"]
    {
        assert!(check(&get(other), &asked, &relays(), NOW).is_err(), "{other}");
    }
}

#[test]
fn the_header_has_the_event_in_base64() {
    let event = signed(27235, NOW, &[["u", "https://relay.example"], ["method", "POST"]]);
    for text in [STANDARD.encode(event.to_json()), STANDARD_NO_PAD.encode(event.to_json())] {
        assert_eq!(read(Some(&format!("Nostr {text}"))).unwrap(), event);
        assert_eq!(read(Some(&format!("nostr  {text} "))).unwrap(), event);
    }
    for header in ["", "Nostr", "Bearer x", "Nostr !", "Nostr e30=", &format!("Nostr {}", "A".repeat(9000))] {
        assert!(read(Some(header)).is_err(), "{header}");
    }
    assert!(read(None).is_err());
}
