//! The management API (NIP-86): which methods there are, what their parameters are, and what each asks for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Range, Ruling, Sort};
use crate::nostr::deletion::Target;
use crate::nostr::{EventId, PublicKey};

/// Characters of a reason.
const REASON_MAX: usize = 500;
/// Parameters of a method, and their bytes as JSON, which the audit log has.
const PARAMS_MAX: usize = 2;
const PARAMS_BYTES_MAX: usize = 4000;
/// Lines of the audit log that are given at once.
pub const AUDIT_LINES: u64 = 200;

/// A method of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)] // NIP-86 has them, and METHODS what is this relay's own
pub enum Method {
    SupportedMethods,
    BanPubkey,
    UnbanPubkey,
    ListBannedPubkeys,
    PurgePubkey,
    AllowPubkey,
    UnallowPubkey,
    ListAllowedPubkeys,
    BanEvent,
    UnbanEvent,
    AllowEvent,
    ListBannedEvents,
    AllowKind,
    DisallowKind,
    ListDisallowedKinds,
    BlockIp,
    UnblockIp,
    ListBlockedIps,
    AssignMethod,
    UnassignMethod,
    ListMethodAssignees,
    ListAuditLog,
    ListRefusals,
    ListSenders,
}

impl Method {
    pub(super) const FIRST: Self = Self::SupportedMethods;

    /// All, each with its name.
    pub const ALL: [(Self, &'static str); 24] = [
        (Self::SupportedMethods, "supportedmethods"),
        (Self::BanPubkey, "banpubkey"),
        (Self::UnbanPubkey, "unbanpubkey"),
        (Self::ListBannedPubkeys, "listbannedpubkeys"),
        (Self::PurgePubkey, "purgepubkey"),
        (Self::AllowPubkey, "allowpubkey"),
        (Self::UnallowPubkey, "unallowpubkey"),
        (Self::ListAllowedPubkeys, "listallowedpubkeys"),
        (Self::BanEvent, "banevent"),
        (Self::UnbanEvent, "unbanevent"),
        (Self::AllowEvent, "allowevent"),
        (Self::ListBannedEvents, "listbannedevents"),
        (Self::AllowKind, "allowkind"),
        (Self::DisallowKind, "disallowkind"),
        (Self::ListDisallowedKinds, "listdisallowedkinds"),
        (Self::BlockIp, "blockip"),
        (Self::UnblockIp, "unblockip"),
        (Self::ListBlockedIps, "listblockedips"),
        (Self::AssignMethod, "assignmethod"),
        (Self::UnassignMethod, "unassignmethod"),
        (Self::ListMethodAssignees, "listmethodassignees"),
        (Self::ListAuditLog, "listauditlog"),
        (Self::ListRefusals, "listrefusals"),
        (Self::ListSenders, "listsenders"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(method, _)| *method == self).map_or("", |(_, name)| *name)
    }

    /// The method of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(method, _)| *method)
    }

    /// Whether the owner alone may use it: who decides who decides.
    pub const fn is_owners(self) -> bool {
        matches!(self, Self::AssignMethod | Self::UnassignMethod)
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// The methods that the asker may use.
    Methods,
    /// What is ruled of a sort.
    List(Sort),
    /// Lines of the audit log before one, or the last.
    Audit(Option<u64>),
    /// What was refused lately.
    Refusals,
    /// Who sends most.
    Senders,
    /// Something that is done: what is ruled from now on or no longer, and what is removed.
    Act {
        /// With a reason for people; without one it is ruled no longer.
        rulings: Vec<(Ruling, Option<String>)>,
        /// Whose events go, and which event does.
        removes: Option<(Option<PublicKey>, Target)>,
    },
}

/// A call of a method.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which.
    pub method: Method,
    /// Its parameters.
    pub params: Vec<Value>,
}

impl Call {
    /// The call in the body of a request, or what is wrong with it.
    pub fn parse(body: &str) -> Result<Self, String> {
        let mut json: Value = serde_json::from_str(body).map_err(|error| format!("the body is no JSON: {error}"))?;
        let name = json.get("method").and_then(Value::as_str).ok_or("method must be a name")?;
        let method = Method::named(name)
            .ok_or_else(|| format!("there is no method {name:.40?}; supportedmethods lists those there are"))?;
        let params = match json.get_mut("params").map(Value::take) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(params)) => params,
            Some(_) => return Err("params must be an array".to_owned()),
        };
        Ok(Self { method, params })
    }

    /// Its parameters as the audit log has them.
    pub fn params_text(&self) -> String {
        Value::from(self.params.as_slice()).to_string()
    }

    /// What it asks for, or which parameter is wrong.
    pub fn task(&self) -> Result<Task, String> {
        if self.params.len() > PARAMS_MAX || self.params_text().len() > PARAMS_BYTES_MAX {
            return Err(format!("there are {PARAMS_MAX} parameters at most, of {PARAMS_BYTES_MAX} bytes together"));
        }
        let act = |rulings| Ok(Task::Act { rulings, removes: None });
        match self.method {
            Method::SupportedMethods => Ok(Task::Methods),
            Method::ListBannedPubkeys => Ok(Task::List(Sort::BannedKey)),
            Method::ListAllowedPubkeys => Ok(Task::List(Sort::AllowedKey)),
            Method::ListBannedEvents => Ok(Task::List(Sort::BannedEvent)),
            Method::ListDisallowedKinds => Ok(Task::List(Sort::DisallowedKind)),
            Method::ListBlockedIps => Ok(Task::List(Sort::BlockedNetwork)),
            Method::ListMethodAssignees => Ok(Task::List(Sort::Manager)),
            Method::ListAuditLog => match self.params.first() {
                None => Ok(Task::Audit(None)),
                Some(before) => before
                    .as_u64()
                    .map(|before| Task::Audit(Some(before)))
                    .ok_or_else(|| "params: [\"before\"?]".into()),
            },
            Method::ListRefusals => Ok(Task::Refusals),
            Method::ListSenders => Ok(Task::Senders),
            Method::BanPubkey => {
                let key = self.key()?;
                act(vec![(Ruling::BannedKey(key), Some(self.reason()?)), (Ruling::AllowedKey(key), None)])
            }
            Method::UnbanPubkey => act(vec![(Ruling::BannedKey(self.key()?), None)]),
            Method::AllowPubkey => {
                let key = self.key()?;
                act(vec![(Ruling::AllowedKey(key), Some(self.reason()?)), (Ruling::BannedKey(key), None)])
            }
            Method::UnallowPubkey => act(vec![(Ruling::AllowedKey(self.key()?), None)]),
            Method::PurgePubkey => {
                Ok(Task::Act { rulings: vec![], removes: Some((Some(self.key()?), Target::Everything)) })
            }
            Method::BanEvent => {
                let id = self.event()?;
                let rulings = vec![(Ruling::BannedEvent(id), Some(self.reason()?))];
                Ok(Task::Act { rulings, removes: Some((None, Target::Event(id))) })
            }
            Method::UnbanEvent | Method::AllowEvent => act(vec![(Ruling::BannedEvent(self.event()?), None)]),
            Method::AllowKind => act(vec![(Ruling::DisallowedKind(self.kind()?), None)]),
            Method::DisallowKind => act(vec![(Ruling::DisallowedKind(self.kind()?), Some(String::new()))]),
            Method::BlockIp => act(vec![(Ruling::BlockedNetwork(self.network()?), Some(self.reason()?))]),
            Method::UnblockIp => act(vec![(Ruling::BlockedNetwork(self.network()?), None)]),
            Method::AssignMethod => act(vec![(self.assigned()?, Some(String::new()))]),
            Method::UnassignMethod => act(vec![(self.assigned()?, None)]),
        }
    }

    /// Whom it bans, or takes all events of.
    pub fn stops(&self) -> Option<PublicKey> {
        let stops = matches!(self.method, Method::BanPubkey | Method::PurgePubkey);
        self.key().ok().filter(|_| stops)
    }

    fn text(&self, at: usize) -> Option<&str> {
        self.params.get(at).and_then(Value::as_str)
    }

    fn key(&self) -> Result<PublicKey, String> {
        let key = self.text(0).and_then(PublicKey::parse);
        key.ok_or_else(|| "the first parameter must be a public key, 64 lower-case hex digits".to_owned())
    }

    fn event(&self) -> Result<EventId, String> {
        let id = self.text(0).and_then(EventId::parse);
        id.ok_or_else(|| "the first parameter must be the id of an event, 64 lower-case hex digits".to_owned())
    }

    fn kind(&self) -> Result<u16, String> {
        let kind = self.params.first().and_then(Value::as_u64).and_then(|kind| u16::try_from(kind).ok());
        kind.ok_or_else(|| "the first parameter must be a kind, 0 to 65535".to_owned())
    }

    fn network(&self) -> Result<Range, String> {
        let range = self.text(0).and_then(|text| text.parse::<Range>().ok());
        range.map(Range::of_networks).ok_or_else(|| {
            "the first parameter must be an address, or the first bits of some as in 192.0.2.0/24".to_owned()
        })
    }

    fn assigned(&self) -> Result<Ruling, String> {
        let method = self.text(1).and_then(Method::named).filter(|method| !method.is_owners());
        let method = method.ok_or("the second parameter must be a method that can be assigned")?;
        Ok(Ruling::Manager(self.key()?, method))
    }

    /// Why, for people; nothing where nothing is said.
    fn reason(&self) -> Result<String, String> {
        match self.params.get(1) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(reason)) if reason.chars().count() <= REASON_MAX => Ok(reason.clone()),
            Some(_) => Err(format!("the reason must be a text of at most {REASON_MAX} characters")),
        }
    }
}
