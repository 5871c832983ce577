//! Who may read an event: everybody, or those it is for (NIP-04, NIP-17, NIP-59, and encrypted jobs).
//!
//! [`readers`] is the one rule. Live events ask it; what is stored carries its answer into the index, so
//! that stored events, live ones and counts agree.

use std::collections::BTreeSet;

use super::job::{JobProfile, Part};
use crate::nostr::{Event, Filter, PublicKey, Values, gate};

/// Those who may read an event that not everybody may.
pub type Readers = BTreeSet<PublicKey>;

/// Who may read `event`; `None` is everybody. `part` is its part in a job, `encrypted` whether that job
/// is known to be for its parties alone.
pub fn readers(event: &Event, part: Option<&Part>, encrypted: bool) -> Option<Readers> {
    gate::readers(event).or_else(|| {
        let part = part.filter(|part| part.is_answer() && (encrypted || part.encrypted))?;
        Some(part.parties(event))
    })
}

/// Whether somebody who has proven `keys` may read what is for `readers`.
pub fn may_read(readers: Option<&Readers>, keys: &Values<PublicKey>) -> bool {
    readers.is_none_or(|readers| keys.iter().any(|key| readers.contains(key)))
}

/// Whether a key is a party of a job: its customer, or one of those who were `asked`. What is for the parties alone shows nobody
/// else more of a job than its state and times.
pub fn is_party(customer: &PublicKey, asked: &[PublicKey], key: &PublicKey) -> bool {
    key == customer || asked.contains(key)
}

/// Whether some events of `kind` may be kept from some readers.
pub fn may_be_private(profile: &JobProfile, kind: u16) -> bool {
    gate::is_gated(kind) || profile.is_answer(kind)
}

/// Whether somebody who has proven `keys` may read every event that `filter` can match, whatever is stored:
/// only then may an answer say that it is complete (NIP-67). It is so when no kind that the filter asks for
/// may be private, when the filter asks for events that name the viewer (`#p`: direct messages and gift wraps
/// are for all they name, and an answer names its customer alone), or for the viewer's own, gift wraps aside.
pub fn shows_all(profile: &JobProfile, filter: &Filter, keys: &Values<PublicKey>) -> bool {
    let is_own = |value: &String| PublicKey::parse(value).is_some_and(|key| keys.contains(&key));
    let named = filter.tags.get(&b'p').is_some_and(|values| values.iter().all(is_own));
    let own = filter.authors.as_ref().is_some_and(|authors| authors.iter().all(|author| keys.contains(author)));
    let shown = |kind: &u16| !may_be_private(profile, *kind) || own && !gate::keeps_out_author(*kind);
    named || filter.kinds.as_ref().is_some_and(|kinds| kinds.iter().all(shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::job::NIP90;

    #[test]
    fn an_answer_is_known_to_be_complete_by_its_filter_and_the_proven_keys() {
        let [me, other] = [1, 2].map(|n| PublicKey::new([n; 32]));
        let (mine, job) = (me.to_string(), "ab".repeat(32));
        let keys = Values::from([me]);
        let shown = |filter: &str, keys: &Values<PublicKey>| {
            let filter = filter.replace("ME", &mine).replace("OTHER", &other.to_string()).replace("JOB", &job);
            shows_all(&NIP90, &Filter::parse(&filter).unwrap(), keys)
        };
        for (filter, guest, agent) in [
            ("{}", false, false),
            (r#"{"ids":["JOB"]}"#, false, false),
            (r#"{"ids":["JOB"],"kinds":[1]}"#, true, true),
            (r#"{"kinds":[0,1,5050,31990]}"#, true, true),
            (r#"{"kinds":[1,4]}"#, false, false),
            (r##"{"kinds":[6050,7000],"#e":["JOB"]}"##, false, false),
            (r##"{"kinds":[6050,7000],"#p":["ME"]}"##, false, true),
            (r##"{"kinds":[6050,7000],"#p":["ME","OTHER"]}"##, false, false),
            (r##"{"kinds":[1059],"#p":["ME"]}"##, false, true),
            (r##"{"#p":["ME"]}"##, false, true),
            (r#"{"kinds":[4,6050],"authors":["ME"]}"#, false, true),
            (r#"{"kinds":[4],"authors":["ME","OTHER"]}"#, false, false),
            (r#"{"kinds":[1059],"authors":["ME"]}"#, false, false),
            (r#"{"authors":["ME"]}"#, false, false),
        ] {
            assert_eq!((shown(filter, &Values::default()), shown(filter, &keys)), (guest, agent), "{filter}");
        }
    }
}
