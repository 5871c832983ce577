//! One request with its proof (NIP-98), and what is answered.

use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secp256k1::{Keypair, schnorr};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use url::Url;

use super::Wrong;

/// Kind of the events that prove who asks.
const HTTP_AUTH: u16 = 27_235;
/// How long all of it may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer at the most.
const MAX_ANSWER: u64 = 64 << 20;
/// Characters of an answer that is none that are shown.
const MAX_SHOWN: usize = 300;

/// Where a relay is asked whose WebSocket is here.
pub fn url(relay: &str) -> Result<Url, String> {
    let wrong = || format!("--relay must be a wss:// or ws:// URL, not {relay:?}");
    let mut url = Url::parse(relay.trim()).map_err(|_| wrong())?;
    let scheme = match url.scheme() {
        "wss" | "https" => "https",
        "ws" | "http" => "http",
        _ => return Err(wrong()),
    };
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(wrong());
    }
    url.set_scheme(scheme).map_err(|()| wrong())?;
    Ok(url)
}

/// What asks, which trusts the certificates of a file in place of the usual ones, if there is one.
pub fn agent(ca: Option<&Path>) -> Result<Agent, String> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = ca {
        let of = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let pem = std::fs::read(path).map_err(|error| of(&error))?;
        let certificate = |item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        };
        let all = parse_pem(&pem).filter_map(certificate).collect::<Result<Vec<Certificate>, _>>();
        let all = all.map_err(|error| of(&error))?;
        if all.is_empty() {
            return Err(of(&"no certificate in PEM form"));
        }
        tls = tls.root_certs(RootCerts::new_with_certs(&all));
    }
    let config = Agent::config_builder()
        .tls_config(tls.build())
        .timeout_global(Some(TIMEOUT))
        // Who is asked elsewhere is proven nothing.
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")));
    Ok(config.build().into())
}

/// Asks, and gives the result.
pub fn call(agent: &Agent, url: &Url, key: &Keypair, body: &str) -> Result<Value, Wrong> {
    let none = |error: ureq::Error| Wrong::NoAnswer(format!("{url}: {error}"));
    let proof = proof(url, key, body).map_err(Wrong::Use)?;
    let request = agent.post(url.as_str()).header("Content-Type", "application/nostr+json+rpc");
    let mut response = request.header("Authorization", format!("Nostr {proof}")).send(body).map_err(none)?;
    let status = response.status();
    if status.is_redirection() {
        let elsewhere = response.headers().get("Location").and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
        return Err(Wrong::NoAnswer(format!("{url} leads to {elsewhere}: name that in --relay, if you trust it")));
    }
    let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string().map_err(none)?;
    understand(status.as_u16(), &text)
}

/// The result in an answer, or what the relay says in place of it.
fn understand(status: u16, text: &str) -> Result<Value, Wrong> {
    let answer: Option<Value> = serde_json::from_str(text).ok().filter(Value::is_object);
    let get = |name: &str| answer.as_ref()?.get(name).filter(|value| !value.is_null());
    match (get("error"), get("result")) {
        (Some(Value::String(error)), _) if !error.is_empty() => Err(Wrong::Refused(error.clone())),
        (Some(error), None) => Err(Wrong::Refused(error.to_string())),
        (_, Some(result)) if (200..300).contains(&status) => Ok(result.clone()),
        _ => {
            let shown: String = text.trim().chars().take(MAX_SHOWN).collect();
            let what = format!("the relay answers HTTP {status}, and not as NIP-86 says: {shown}");
            Err(if matches!(status, 401 | 403) { Wrong::Refused(what) } else { Wrong::NoAnswer(what) })
        }
    }
}

/// An event that proves for this body, once, that the key's owner asks.
fn proof(url: &Url, key: &Keypair, body: &str) -> Result<String, String> {
    let mut random = [0; 40];
    getrandom::fill(&mut random).map_err(|error| format!("no random numbers: {error}"))?;
    let (aux, nonce) = random.split_first_chunk().ok_or("no random numbers")?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?.as_secs();
    let pubkey = hex::encode(key.x_only_public_key().0.to_byte_array());
    let payload = hex::encode(Sha256::digest(body));
    // The last one keeps apart what is asked twice in a second: a relay takes each event once.
    let tags = json!([["u", url.as_str()], ["method", "POST"], ["payload", payload], ["nonce", hex::encode(nonce)]]);
    let id = Sha256::digest(json!([0, pubkey, now, HTTP_AUTH, tags, ""]).to_string());
    let sig = schnorr::sign_with_aux_rand(&id, key, aux).to_byte_array();
    let event = json!({
        "id": hex::encode(id), "pubkey": pubkey, "created_at": now, "kind": HTTP_AUTH, "tags": tags, "content": "",
        "sig": hex::encode(sig),
    });
    Ok(STANDARD.encode(event.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nostr::Event;

    #[test]
    fn a_relay_is_asked_where_its_socket_is() {
        for (relay, at) in [
            ("wss://relay.example.com", "https://relay.example.com/"),
            ("ws://127.0.0.1:7777/", "http://127.0.0.1:7777/"),
            ("wss://example.com/relay", "https://example.com/relay"),
            ("https://example.com:443", "https://example.com/"),
        ] {
            assert_eq!(url(relay).unwrap().as_str(), at);
        }
        for wrong in ["relay.example.com", "ftp://a.example", "wss://me:x@a.example", "wss://a.example#b", ""] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_proven_is_an_event_of_its_own_each_time() {
        let key = secp256k1::SecretKey::from_secret_bytes([7; 32]).unwrap().keypair();
        let url = url("wss://relay.example.com").unwrap();
        let event = || {
            let json = STANDARD.decode(proof(&url, &key, "{}").unwrap()).unwrap();
            Event::parse(str::from_utf8(&json).unwrap()).unwrap()
        };
        let (one, other) = (event(), event());
        assert!(one.verify().is_ok() && other.verify().is_ok());
        assert_ne!(one.id, other.id);
        assert_eq!(
            (one.kind, one.tag_value("u"), one.tag_value("method")),
            (27_235, Some("https://relay.example.com/"), Some("POST"))
        );
        assert_eq!(one.tag_value("payload"), Some("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"));
    }

    #[test]
    fn the_relay_is_told_in_its_own_words() {
        let refused = |text: &str| Err(Wrong::Refused(text.to_owned()));
        assert_eq!(understand(200, r#"{"result":true}"#), Ok(true.into()));
        assert_eq!(understand(200, r#"{"result":[],"error":null}"#), Ok(json!([])));
        assert_eq!(understand(200, r#"{"result":true,"error":""}"#), Ok(true.into()));
        assert_eq!(understand(200, r#"{"result":false,"error":"no"}"#), refused("no"));
        assert_eq!(understand(401, r#"{"error":"auth: no"}"#), refused("auth: no"));
        assert_eq!(understand(200, r#"{"error":{"code":1}}"#), refused(r#"{"code":1}"#));
        assert!(matches!(understand(403, "who are you"), Err(Wrong::Refused(text)) if text.ends_with(": who are you")));
        for (status, text) in
            [(404, "not found"), (200, "<html>"), (200, "{}"), (200, "[]"), (500, r#"{"result":true}"#)]
        {
            assert!(matches!(understand(status, text), Err(Wrong::NoAnswer(_))), "{status} {text}");
        }
    }
}
