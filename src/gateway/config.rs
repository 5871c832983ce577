//! Settings, checked: hosts only look their values up.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::access::Audience;
use super::ban::Bans;
use super::charge::FRAME_BYTES;
use super::class::{Class, Rates};
use super::conn::MAX_KEYS;
use super::frames::MAX_FRAME_BYTES;
use super::log::Level;
use super::quota::Net;
use super::settings::SETTINGS;
use crate::market::JobProfile;
use crate::market::job::PROFILES;
use crate::market::retention::Retention;
use crate::message::{MAX_ENTRIES, MAX_RANGES, MAX_UNASKED_FEEDBACK, MAX_UNASKED_KEYS};
use crate::moderation::{Access, Range};
use crate::nostr::PublicKey;
use crate::nostr::auth::Authority;
use crate::nostr::nip11::{Document, Limitation};
use crate::places::{Jurisdiction, Place, Store};

/// Partitions there may be.
pub const PARTITIONS_MAX: u32 = 64;

/// NIPs this relay implements and tests.
const SUPPORTED_NIPS: &[u16] = &[1, 9, 11, 13, 17, 32, 40, 42, 45, 62, 67, 70, 86, 89, 90];
const SOFTWARE: &str = "https://github.com/OpenAgentsInc/nexus";

/// What bounds a client; every value is enforced and those NIP-11 has a name for are advertised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub max_message_length: u64,
    /// Per IPv4 address or IPv6 /64 network.
    pub max_connections_per_ip: u64,
    /// Of these, connections that have not proven a key.
    pub max_guests_per_ip: u64,
    /// Bytes to a connection that are not known to be read.
    pub max_unheard_bytes: u64,
    /// Per connection.
    pub max_subscriptions: u64,
    /// Per REQ.
    pub max_filters: u64,
    /// Per filter, over all its lists.
    pub max_filter_values: u64,
    /// Characters.
    pub max_subid_length: u64,
    /// Stored events per filter.
    pub max_limit: u64,
    /// Stored events per filter that sets no limit.
    pub default_limit: u64,
    /// Per event.
    pub max_event_tags: u64,
    /// Characters.
    pub max_content_length: u64,
    /// Bits (NIP-13).
    pub min_pow_difficulty: u64,
    /// Seconds before now.
    pub created_at_lower_limit: u64,
    /// Seconds after now.
    pub created_at_upper_limit: u64,
}

/// All settings, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // SETTINGS documents them
pub struct Config {
    pub name: String,
    pub description: String,
    pub relays: Vec<Authority>,
    pub pubkey: Option<PublicKey>,
    pub contact: Option<String>,
    pub icon: Option<String>,
    pub auth_required: bool,
    pub limits: Limits,
    pub profile: JobProfile,
    pub retention: Retention,
    pub handlers_api: bool,
    pub stats: Audience,
    pub stats_shared_seconds: u64,
    pub quotas: Option<Classes>,
    pub access: Access,
    pub bans: Bans,
    /// Who is allowed where not everybody is.
    pub members: BTreeSet<PublicKey>,
    pub rows_per_day: Option<u64>,
    /// How many gateways share the connections, where that is said.
    pub gateways: Option<u64>,
    /// How many partitions share what is stored, each with a database.
    pub partitions: u32,
    /// Where gateways are made on Cloudflare, that many in each.
    pub places: Vec<Place>,
    /// Where the objects with databases are made on Cloudflare.
    pub location: Option<Place>,
    /// What Cloudflare keeps all objects within.
    pub jurisdiction: Option<Jurisdiction>,
    pub store: Store,
    pub max_database_bytes: Option<u64>,
    pub log_level: Level,
}

/// What each class of clients may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    guest: Rates,
    agent: Rates,
    provider: Rates,
    listed: Rates,
    /// What all keys of one network may do together.
    pub(super) network: Rates,
    trusted_networks: Vec<Range>,
    /// The keys of class [`Class::Listed`].
    pub listed_keys: BTreeSet<PublicKey>,
}

impl Classes {
    /// Whether the keys of a network pay for themselves alone.
    pub(super) fn trusts(&self, net: Net) -> bool {
        matches!(net, Net::Address(ip) if self.trusted_networks.iter().any(|range| range.has(ip)))
    }

    /// The rates of a class.
    pub const fn rates(&self, class: Class) -> &Rates {
        match class {
            Class::Guest => &self.guest,
            Class::Agent => &self.agent,
            Class::Provider => &self.provider,
            Class::Listed => &self.listed,
        }
    }
}

/// What is wrong with the settings: one sentence for each that is, beginning with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: {}", self.0.join("; "))
    }
}

/// Looks values up, applies defaults and gathers what does not parse.
struct Reader<F> {
    lookup: F,
    wrong: Vec<String>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn text(&self, key: &str) -> String {
        let given = (self.lookup)(key).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        given.unwrap_or_else(|| {
            SETTINGS.iter().find(|s| s.key == key).map_or_else(String::new, |s| s.default.to_owned())
        })
    }

    fn optional(&self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|value| !value.is_empty())
    }

    fn wrong(&mut self, key: &str, must: &str) {
        self.wrong.push(format!("{key} {must}, not {:?}", self.text(key)));
    }

    fn parse<T: FromStr + Default>(&mut self, key: &str, must: &str) -> T {
        self.text(key).parse().unwrap_or_else(|_| {
            self.wrong(key, must);
            T::default()
        })
    }

    /// A whole number from `min` to `max`, or nothing where nothing is given.
    fn optional_number(&mut self, key: &str, min: u64, max: u64) -> Option<u64> {
        self.optional(key)?;
        Some(self.number(key, min, max))
    }

    /// A list, its values between spaces or commas; nothing when one of them does not parse.
    fn list<T, L: FromIterator<T>>(&mut self, key: &str, must: &str, parse: impl Fn(&str) -> Option<T>) -> Option<L> {
        let text = self.text(key);
        let list = text.split([' ', ',', '\n']).filter(|value| !value.is_empty()).map(parse).collect();
        if Option::is_none(&list) {
            self.wrong(key, must);
        }
        list
    }

    /// A whole number from `min` to `max`.
    fn number(&mut self, key: &str, min: u64, max: u64) -> u64 {
        match self.text(key).parse::<u64>() {
            Ok(number) if (min..=max).contains(&number) => number,
            _ => {
                self.wrong(key, &format!("must be a whole number from {min} to {max}"));
                min
            }
        }
    }
}

impl Config {
    /// Reads every setting through `lookup`, which returns `None` for one that is not set. An empty
    /// value counts as not set; a value that does not parse is an error, never a default.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut r = Reader { lookup, wrong: Vec::new() };
        let config = Self {
            name: r.text("RELAY_NAME"),
            description: r.text("RELAY_DESCRIPTION"),
            relays: relays(&mut r),
            pubkey: pubkey(&mut r),
            contact: r.optional("RELAY_CONTACT"),
            icon: r.optional("RELAY_ICON"),
            auth_required: r.parse("AUTH_REQUIRED", "must be true or false"),
            limits: Limits {
                // An event is one D1 value, which holds 2 MB.
                max_message_length: r.number("MAX_MESSAGE_LENGTH", 1024, 1_000_000),
                max_connections_per_ip: r.number("MAX_CONNECTIONS_PER_IP", 1, 32_000),
                max_guests_per_ip: r.number("MAX_GUESTS_PER_IP", 1, 32_000),
                max_unheard_bytes: r.number("MAX_UNHEARD_BYTES", 10_000_000, 10_000_000_000),
                max_subscriptions: r.number("MAX_SUBSCRIPTIONS", 1, 1000),
                max_filters: r.number("MAX_FILTERS", 1, 100),
                max_filter_values: r.number("MAX_FILTER_VALUES", 1, 10_000),
                max_subid_length: r.number("MAX_SUBID_LENGTH", 1, 64),
                max_limit: r.number("MAX_LIMIT", 1, 5000),
                default_limit: r.number("DEFAULT_LIMIT", 1, 5000),
                max_event_tags: r.number("MAX_EVENT_TAGS", 1, 10_000),
                max_content_length: r.number("MAX_CONTENT_LENGTH", 1, 1_000_000),
                min_pow_difficulty: r.number("MIN_POW_DIFFICULTY", 0, 256),
                created_at_lower_limit: r.number("CREATED_AT_LOWER_LIMIT", 60, 10_000_000_000),
                created_at_upper_limit: r.number("CREATED_AT_UPPER_LIMIT", 60, 10_000_000_000),
            },
            profile: profile(&mut r),
            retention: Retention {
                requests: r.number("RETAIN_REQUESTS", 0, 10_000_000_000),
                feedback: r.number("RETAIN_FEEDBACK", 0, 10_000_000_000),
                results: r.number("RETAIN_RESULTS", 0, 10_000_000_000),
                handlers: r.number("RETAIN_HANDLERS", 0, 10_000_000_000),
                others: r.number("RETAIN_OTHERS", 0, 10_000_000_000),
            },
            handlers_api: r.parse("HANDLERS_API", "must be true or false"),
            stats: r.parse("STATS", "must be public or owners"),
            stats_shared_seconds: r.number("STATS_SHARED_SECONDS", 0, 60),
            quotas: quotas(&mut r),
            access: r.parse("ACCESS", "must be open, members or closed"),
            bans: bans(&mut r),
            members: r.list("LISTED_KEYS", KEYS, PublicKey::parse).unwrap_or_default(),
            rows_per_day: r.optional_number("ROWS_PER_DAY", 10_000, 1_000_000_000_000),
            gateways: r.optional_number("GATEWAYS", 1, 256),
            places: r
                .list("PLACES", "must be location hints of Cloudflare's, such as weur enam", Place::of_hint)
                .unwrap_or_default(),
            location: r.optional("LOCATION").and_then(|hint| {
                let place = Place::of_hint(&hint);
                if place.is_none() {
                    r.wrong("LOCATION", "must be one of Cloudflare's location hints, such as weur");
                }
                place
            }),
            jurisdiction: r.optional("JURISDICTION").and_then(|name| {
                let jurisdiction = Jurisdiction::of_name(&name);
                if jurisdiction.is_none() {
                    r.wrong("JURISDICTION", "must be eu, us or fedramp");
                }
                jurisdiction
            }),
            partitions: u32::try_from(r.number("PARTITIONS", 1, PARTITIONS_MAX.into())).unwrap_or(1),
            store: r.parse("STORE", "must be d1 or object"),
            max_database_bytes: r.optional_number("MAX_DATABASE_BYTES", 1_000_000, 1_000_000_000_000_000),
            log_level: r.text("LOG_LEVEL").parse().unwrap_or_else(|()| {
                r.wrong("LOG_LEVEL", "must be debug, info, warn or error");
                Level::Info
            }),
        };
        if config.jurisdiction.is_some() && (config.location.is_some() || !config.places.is_empty()) {
            r.wrong("JURISDICTION", "must be empty where PLACES or LOCATION say where objects are");
        }
        if r.wrong.is_empty() && config.limits.default_limit > config.limits.max_limit {
            r.wrong("DEFAULT_LIMIT", "must not be above MAX_LIMIT");
        }
        if r.wrong.is_empty() && config.stats == Audience::Owners && config.pubkey.is_none() {
            r.wrong("STATS", "needs an owner, whose key RELAY_PUBKEY is");
        }
        if r.wrong.is_empty() { Ok(config) } else { Err(ConfigError(r.wrong)) }
    }

    /// Whether a connection must prove a key before anything else.
    pub fn must_prove(&self) -> bool {
        self.auth_required || self.access == Access::Closed
    }

    /// The NIP-11 document: what is advertised is what is enforced.
    pub fn document(&self) -> Document {
        let limits = &self.limits;
        Document {
            name: self.name.clone(),
            description: self.description.clone(),
            icon: self.icon.clone(),
            pubkey: self.pubkey.map(|key| key.to_string()),
            contact: self.contact.clone(),
            supported_nips: SUPPORTED_NIPS.to_vec(),
            software: SOFTWARE,
            version: env!("CARGO_PKG_VERSION"),
            limitation: Limitation {
                max_message_length: limits.max_message_length,
                max_frame_length: MAX_FRAME_BYTES as u64,
                // These two are lifted with the rates.
                bytes_per_frame: self.quotas.as_ref().map(|_| FRAME_BYTES),
                max_connections_per_ip: self.quotas.as_ref().map(|_| limits.max_connections_per_ip),
                max_keys: MAX_KEYS as u64,
                max_unasked_keys: MAX_UNASKED_KEYS,
                max_unasked_feedback: MAX_UNASKED_FEEDBACK,
                max_unheard_bytes: limits.max_unheard_bytes,
                max_filters: limits.max_filters,
                max_filter_values: limits.max_filter_values,
                max_search_entries: MAX_ENTRIES,
                max_search_ranges: MAX_RANGES,
                max_subscriptions: limits.max_subscriptions,
                max_subid_length: limits.max_subid_length,
                max_limit: limits.max_limit,
                default_limit: limits.default_limit,
                max_event_tags: limits.max_event_tags,
                max_content_length: limits.max_content_length,
                min_pow_difficulty: limits.min_pow_difficulty,
                created_at_lower_limit: limits.created_at_lower_limit,
                created_at_upper_limit: limits.created_at_upper_limit,
                auth_required: self.must_prove(),
                payment_required: false,
                restricted_writes: self.must_prove() || self.access != Access::Open,
            },
        }
    }
}

fn relays<F: Fn(&str) -> Option<String>>(r: &mut Reader<F>) -> Vec<Authority> {
    let text = r.text("RELAY_URL");
    let parsed: Option<Vec<Authority>> =
        text.split([' ', ',', '\n']).filter(|url| !url.is_empty()).map(Authority::of).collect();
    match parsed {
        Some(relays) if !relays.is_empty() => relays,
        _ => {
            r.wrong("RELAY_URL", "must name the ws:// or wss:// URLs clients reach this relay by");
            Vec::new()
        }
    }
}

fn profile<F: Fn(&str) -> Option<String>>(r: &mut Reader<F>) -> JobProfile {
    JobProfile::named(&r.text("JOB_PROFILE")).unwrap_or_else(|| {
        let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        r.wrong("JOB_PROFILE", &format!("must be one of {}", names.join(", ")));
        crate::market::job::NIP90
    })
}

/// What classes may do; `None` when rate limits are off.
fn quotas<F: Fn(&str) -> Option<String>>(r: &mut Reader<F>) -> Option<Classes> {
    let keys = ["RATE_GUEST", "RATE_AGENT", "RATE_PROVIDER", "RATE_LISTED", "RATE_NETWORK"];
    let [guest, agent, provider, listed, network] = keys.map(|key| {
        let rates = r.text(key).parse::<Rates>();
        rates.map_err(|must| r.wrong(key, &must)).ok()
    });
    let trusted_networks = networks(r, "TRUSTED_NETWORKS");
    let listed_keys: Option<BTreeSet<PublicKey>> = r.list("LISTED_KEYS", KEYS, PublicKey::parse);
    match r.text("RATE_LIMITS").as_str() {
        "on" => {
            let (guest, agent, provider, listed, network) = (guest?, agent?, provider?, listed?, network?);
            Some(Classes { guest, agent, provider, listed, network, trusted_networks, listed_keys: listed_keys? })
        }
        "off" => None,
        _ => {
            r.wrong("RATE_LIMITS", "must be on or off");
            None
        }
    }
}

/// What a list of public keys must be.
const KEYS: &str = "must be public keys of 64 lower-case hex digits";

/// Who is blocked.
fn bans<F: Fn(&str) -> Option<String>>(r: &mut Reader<F>) -> Bans {
    let keys = r.list("BLOCKED_KEYS", KEYS, PublicKey::parse);
    Bans::new(keys.unwrap_or_default(), networks(r, "BLOCKED_NETWORKS"))
}

/// A list of networks, as connections are counted by.
fn networks<F: Fn(&str) -> Option<String>>(r: &mut Reader<F>, key: &str) -> Vec<Range> {
    let must = "must be addresses, or their first bits as in 192.0.2.0/24";
    let ranges: Option<Vec<Range>> = r.list(key, must, |text| text.parse().ok());
    ranges.unwrap_or_default().into_iter().map(Range::of_networks).collect()
}

fn pubkey<F: Fn(&str) -> Option<String>>(r: &mut Reader<F>) -> Option<PublicKey> {
    let text = r.optional("RELAY_PUBKEY")?;
    let key = PublicKey::parse(&text);
    if key.is_none() {
        r.wrong("RELAY_PUBKEY", "must be 64 lower-case hex digits");
    }
    key
}
