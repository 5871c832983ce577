//! Memory is a cache: what an engine holds of its connections, asked by a subscription that nothing can
//! match, for which it has to write down the whole connection. The engine is thrown away after that.

use std::collections::{BTreeMap, BTreeSet};

use nexus::gateway::ConnId;
use nexus::node::Node;
use nexus::nostr::{Filter, PublicKey};
use nexus::seam::Input;
use serde_json::Value;

use crate::common::host::remembered;
use crate::host::Host;
use crate::record::Record;

const PROBE: &str = "(probe)";

/// A connection as the engine has it: challenge, keys, subscriptions with their filters.
#[derive(Debug, PartialEq)]
pub struct Held {
    challenge: String,
    keys: BTreeSet<PublicKey>,
    subs: BTreeMap<String, Vec<Filter>>,
}

/// What `relay` holds of its connections; `None` of one that may ask nothing, having no keys.
pub fn held(mut relay: Node, host: &Host) -> BTreeMap<ConnId, Option<Held>> {
    let ask = |relay: &mut Node, conn: ConnId| {
        let text = format!(r#"["REQ","{PROBE}",{{"ids":[]}}]"#);
        remembered(&relay.handle(Input::Received { conn, text }, host.now)).map(read)
    };
    host.attachments.keys().map(|conn| (*conn, ask(&mut relay, *conn))).collect()
}

fn read(attachment: &str) -> Held {
    let value: Value = serde_json::from_str(attachment).unwrap();
    let filters = |list: &Value| {
        list.as_array().unwrap().iter().map(|filter| Filter::parse(&filter.to_string()).unwrap()).collect()
    };
    let subs = value["s"].as_array().unwrap().iter();
    Held {
        challenge: value["c"].as_str().unwrap().to_owned(),
        keys: serde_json::from_value(value["k"].clone()).unwrap(),
        subs: subs
            .map(|sub| (sub[0].as_str().unwrap().to_owned(), filters(&sub[2])))
            .filter(|(id, _)| id != PROBE)
            .collect(),
    }
}

/// Compares what an engine holds with the record. Subscriptions that were being read when the memory
/// was lost are closed; that is in the record as well.
pub fn check(held: &BTreeMap<ConnId, Option<Held>>, record: &Record, locked: bool) -> Result<(), String> {
    let open: Vec<ConnId> = record.clients.iter().filter(|(_, client)| client.open).map(|(conn, _)| *conn).collect();
    if held.keys().copied().collect::<Vec<_>>() != open {
        return Err(format!("{:?} are open, not {open:?}", held.keys()));
    }
    for (conn, held) in held {
        let client = &record.clients[conn];
        let expected = (!locked || !client.keys.is_empty()).then(|| Held {
            challenge: crate::common::world::challenge(*conn),
            keys: client.keys.clone(),
            subs: client.subs.iter().map(|(id, sub)| (id.clone(), sub.watch.filters.clone())).collect(),
        });
        if *held != expected {
            return Err(format!("{conn} is held as {held:?}, not {expected:?}"));
        }
    }
    Ok(())
}
