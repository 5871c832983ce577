//! What the methods of NIP-86 are about, so that a mistake is told before anything is sent. Methods that are not here, as a
//! relay may have its own, are sent as they are written.

use serde_json::Value;

use super::key;

/// What a parameter is.
#[derive(Clone, Copy, PartialEq)]
enum Sort {
    /// A public key.
    Key,
    /// An event's id.
    Event,
    /// A kind of events.
    Kind,
    /// A whole number.
    Number,
    /// Anything.
    Text,
}

use Sort::{Event, Key, Kind, Number, Text};

/// A parameter with its name.
type Param = (&'static str, Sort);
/// A method, what it must have, and what it may have behind that.
type Method = (&'static str, &'static [Param], &'static [Param]);

const KEY: &[Param] = &[("KEY", Key)];
const EVENT: &[Param] = &[("EVENT", Event)];
const KIND: &[Param] = &[("KIND", Kind)];
const IP: &[Param] = &[("IP", Text)];
const REASON: &[Param] = &[("REASON", Text)];
const ROLE: &[Param] = &[("ID", Text), ("LABEL", Text), ("DESCRIPTION", Text), ("COLOR", Text), ("ORDER", Number)];

/// Those of NIP-86, and what this relay has besides.
const METHODS: &[Method] = &[
    ("supportedmethods", &[], &[]),
    ("banpubkey", KEY, REASON),
    ("unbanpubkey", KEY, REASON),
    ("listbannedpubkeys", &[], &[]),
    ("allowpubkey", KEY, REASON),
    ("unallowpubkey", KEY, REASON),
    ("listallowedpubkeys", &[], &[]),
    ("createrole", ROLE, &[]),
    ("editrole", ROLE, &[]),
    ("deleterole", &[("ID", Text)], &[]),
    ("assignrole", &[("KEY", Key), ("ID", Text)], &[]),
    ("unassignrole", &[("KEY", Key), ("ID", Text)], &[]),
    ("listeventsneedingmoderation", &[], &[]),
    ("allowevent", EVENT, REASON),
    ("banevent", EVENT, REASON),
    ("listbannedevents", &[], &[]),
    ("changerelayname", &[("NAME", Text)], &[]),
    ("changerelaydescription", &[("DESCRIPTION", Text)], &[]),
    ("changerelayicon", &[("URL", Text)], &[]),
    ("allowkind", KIND, &[]),
    ("disallowkind", KIND, &[]),
    ("listallowedkinds", &[], &[]),
    ("blockip", IP, REASON),
    ("unblockip", IP, &[]),
    ("listblockedips", &[], &[]),
    ("purgepubkey", KEY, &[]),
    ("unbanevent", EVENT, &[]),
    ("listdisallowedkinds", &[], &[]),
    ("assignmethod", &[("KEY", Key), ("METHOD", Text)], &[]),
    ("unassignmethod", &[("KEY", Key), ("METHOD", Text)], &[]),
    ("listmethodassignees", &[], &[]),
    ("listauditlog", &[], &[("BEFORE", Number)]),
    ("listrefusals", &[], &[]),
    ("listsenders", &[], &[]),
];

/// How a method is called.
fn usage((name, must, may): &Method) -> String {
    let must = must.iter().map(|(name, _)| format!(" {name}"));
    let may = may.iter().map(|(name, _)| format!(" [{name}]"));
    [(*name).to_owned()].into_iter().chain(must).chain(may).collect()
}

/// What `--help` says of all of them.
pub fn help() -> String {
    let methods: Vec<String> = METHODS.iter().map(|method| format!("  {}", usage(method))).collect();
    format!(
        "Methods of NIP-86, and those that a Nexus has besides; supportedmethods lists what a relay has:\n{}\n\nThe secret key of an owner, as hex \
         or nsec, is in a file that nobody else may read (--key-file), or in {}.\n\nEnds with 0 when it is done, 1 when the \
         relay refuses, 2 when it was called wrongly, 3 when there is no answer.",
        methods.join("\n"),
        super::KEY
    )
}

/// What is sent for the parameters of a method, or what is wrong with them.
pub fn params(method: &str, given: &[String]) -> Result<Vec<Value>, String> {
    let Some(known) = METHODS.iter().find(|(name, ..)| *name == method) else {
        return given.iter().map(|text| guess(text)).collect();
    };
    let (_, must, may) = known;
    if given.len() < must.len() || given.len() > must.len() + may.len() {
        return Err(format!("it is called as: nexus admin --relay URL {}", usage(known)));
    }
    given.iter().zip(must.iter().chain(*may)).map(|(text, (name, sort))| value(*sort, name, text)).collect()
}

fn value(sort: Sort, name: &str, text: &str) -> Result<Value, String> {
    let number = |max: u64| {
        let number = text.parse::<u64>().ok().filter(|number| *number <= max);
        number.map(Value::from).ok_or_else(|| format!("{name} must be a whole number up to {max}, not {text:?}"))
    };
    match sort {
        Key => key::public(text).map(|key| key.to_string().into()),
        Event => key::event(text).map(|id| id.to_string().into()),
        Kind => number(u16::MAX.into()),
        Number => number(u32::MAX.into()),
        Text => Ok(text.into()),
    }
}

/// A parameter of a method that nothing is known of: keys and ids as hex, JSON but for texts as what it is.
fn guess(text: &str) -> Result<Value, String> {
    let begins = |starts: &[&str]| starts.iter().any(|start| text.starts_with(start));
    if begins(&["npub1", "nprofile1", "nsec1"]) {
        return value(Key, "", text);
    }
    if begins(&["note1", "nevent1"]) {
        return value(Event, "", text);
    }
    let known = serde_json::from_str(text).ok().filter(|value: &Value| !value.is_string());
    Ok(known.unwrap_or_else(|| text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_this_relay_is_known() {
        for (_, name) in crate::moderation::Method::ALL {
            assert!(METHODS.iter().any(|(known, ..)| *known == name), "{name}");
        }
    }

    fn of(method: &str, given: &[&str]) -> Result<Value, String> {
        let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
        params(method, &given).map(Value::from)
    }

    #[test]
    fn parameters_are_what_the_method_takes() {
        let hex = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e";
        let npub = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";
        assert_eq!(of("banpubkey", &[npub, "17"]).unwrap().to_string(), format!(r#"["{hex}","17"]"#));
        assert_eq!(of("banpubkey", &[hex]).unwrap().to_string(), format!(r#"["{hex}"]"#));
        assert_eq!(of("allowkind", &["5050"]).unwrap().to_string(), "[5050]");
        assert_eq!(of("supportedmethods", &[]).unwrap().to_string(), "[]");
        assert_eq!(
            of("banpubkey", &[]).unwrap_err(),
            "it is called as: nexus admin --relay URL banpubkey KEY [REASON]"
        );
        assert!(of("unblockip", &["192.0.2.1", "x"]).unwrap_err().ends_with("unblockip IP"));
        assert!(of("allowkind", &["65536"]).unwrap_err().starts_with("KIND must be a whole number up to 65535"));
        assert!(of("banevent", &[npub]).unwrap_err().contains("no event's id"));
    }

    #[test]
    fn of_a_method_that_is_not_known_texts_stay_texts() {
        let npub = "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg";
        let all = of("setmode", &[npub, "members", "17", r#"{"a":1}"#, "\"x\"", "true"]).unwrap();
        let hex = "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e";
        assert_eq!(all.to_string(), format!(r#"["{hex}","members",17,{{"a":1}},"\"x\"",true]"#));
        assert!(of("setmode", &["npub1x"]).is_err() && of("setmode", &["nsec1x"]).is_err());
    }
}
