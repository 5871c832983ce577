//! The table of settings: what can be set, its default and what it means.

/// One setting, as an operator writes it.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The variable's name.
    pub key: &'static str,
    /// What holds when it is unset or empty.
    pub default: &'static str,
    /// What it means, with its unit.
    pub meaning: &'static str,
}

const fn setting(key: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { key, default, meaning }
}

/// Every setting there is.
pub const SETTINGS: &[Setting] = &[
    setting("RELAY_NAME", "Nexus", "name in the information document; keep it under 30 characters"),
    setting("RELAY_DESCRIPTION", "A Nostr relay for the agents' compute market", "a sentence about the relay"),
    setting(
        "RELAY_URL",
        "",
        "the wss:// URLs clients reach the relay by, separated by spaces; AUTH events must name one",
    ),
    setting(
        "RELAY_PUBKEY",
        "",
        "the operator's public key, 64 hex digits: the owner, who may call the management API (NIP-86)",
    ),
    setting("RELAY_CONTACT", "", "how to reach the operator, such as mailto:ops@example.com"),
    setting("RELAY_ICON", "", "URL of a square image"),
    setting("AUTH_REQUIRED", "true", "whether a connection must prove a key (NIP-42) before anything else"),
    setting("MAX_MESSAGE_LENGTH", "131072", "bytes in one message from a client"),
    setting("MAX_CONNECTIONS_PER_IP", "1000", "open connections from one IPv4 address or IPv6 /64 network"),
    setting("MAX_GUESTS_PER_IP", "20", "of these, connections that have not proven a key"),
    setting(
        "MAX_UNHEARD_BYTES",
        "33554432",
        "bytes sent to a connection, or to all of a network together, and not known to be read before one is closed",
    ),
    setting("MAX_SUBSCRIPTIONS", "32", "open subscriptions of one connection"),
    setting("MAX_FILTERS", "16", "filters in one REQ"),
    setting("MAX_FILTER_VALUES", "1000", "values in the lists of one filter"),
    setting("MAX_SUBID_LENGTH", "64", "characters in a subscription id"),
    setting("MAX_LIMIT", "500", "stored events one filter returns at most"),
    setting("DEFAULT_LIMIT", "500", "stored events a filter without a limit returns"),
    setting("MAX_EVENT_TAGS", "2000", "tags of one event"),
    setting("MAX_CONTENT_LENGTH", "102400", "characters in an event's content"),
    setting("MIN_POW_DIFFICULTY", "0", "leading zero bits an event id must have and its nonce tag commit to (NIP-13)"),
    setting("CREATED_AT_LOWER_LIMIT", "94608000", "seconds an event may lie in the past"),
    setting("CREATED_AT_UPPER_LIMIT", "900", "seconds an event may lie in the future"),
    setting("JOB_PROFILE", "nip90", "which kinds are job requests, results and feedback; there is nip90"),
    setting("RETAIN_REQUESTS", "86400", "seconds from its created_at that a job request is kept; 0 keeps it"),
    setting("RETAIN_FEEDBACK", "86400", "the same for job feedback"),
    setting("RETAIN_RESULTS", "604800", "the same for job results"),
    setting("RETAIN_HANDLERS", "0", "the same for handler information (NIP-89), which is kept until replaced"),
    setting("RETAIN_OTHERS", "0", "the same for all other events but deletion requests"),
    setting("HANDLERS_API", "true", "whether /api/handlers ranks the handlers of a kind"),
    setting(
        "STATS",
        "public",
        "who is told the numbers and about jobs: public, or owners (who prove RELAY_PUBKEY by NIP-98; of a job its parties, too)",
    ),
    setting(
        "STATS_SHARED_SECONDS",
        "2",
        "seconds for which all who ask for numbers are given the same; 0 asks each time",
    ),
    setting("RATE_LIMITS", "on", "off lifts all limits of rate and connections, for benchmarks and private relays"),
    setting(
        "RATE_GUEST",
        "events 10/100 queries 5/50 bytes 65536/1048576",
        "tokens a second / burst of an IP before AUTH; an AUTH costs an event token",
    ),
    setting(
        "RATE_AGENT",
        "events 20/200 queries 20/200 bytes 262144/8388608",
        "the same of a proven key, all its connections together",
    ),
    setting(
        "RATE_PROVIDER",
        "events 60/600 queries 60/600 bytes 786432/25165824",
        "the same of a key with a live handler that can be ranked (NIP-89) and results for three customers",
    ),
    setting(
        "RATE_LISTED",
        "events 200/2000 queries 200/2000 bytes 2097152/67108864",
        "the same of the keys in LISTED_KEYS",
    ),
    setting(
        "RATE_NETWORK",
        "events 200/2000 queries 200/2000 bytes 2621440/83886080",
        "the same of all keys of an IP together, shared fairly; LISTED_KEYS do not count",
    ),
    setting("TRUSTED_NETWORKS", "", "addresses whose keys are not held to RATE_NETWORK, as in BLOCKED_NETWORKS"),
    setting(
        "ROWS_PER_DAY",
        "",
        "rows that may be written in a day (UTC), let out by the hour; the free plan of D1 has 100000; empty: no limit",
    ),
    setting(
        "MAX_DATABASE_BYTES",
        "",
        "bytes of the database, or of that of a partition, from which on it takes nothing more; empty: no limit",
    ),
    setting(
        "STORE",
        "d1",
        "what databases are on Cloudflare: d1, or object (the SQLite of their objects); kept as it is",
    ),
    setting(
        "ACCESS",
        "open",
        "who may do what: open (everybody all), members (who is allowed publishes), closed (who is allowed enters); LISTED_KEYS, RELAY_PUBKEY and what it allows are allowed",
    ),
    setting("BLOCKED_KEYS", "", "public keys that may not publish or prove themselves, 64 hex digits each"),
    setting("BLOCKED_NETWORKS", "", "addresses that may not connect, as 192.0.2.7, 198.51.100.0/24 or 2001:db8::/32"),
    setting(
        "GATEWAYS",
        "",
        "gateways that share the connections, each an object (natively a thread) of its own, 1 to 256; empty: 1, natively one for each core but one",
    ),
    setting(
        "PARTITIONS",
        "1",
        "databases that share what is stored, each with an object (natively a thread) of its own, 1 to 64; a relay that has events keeps the number it has",
    ),
    setting(
        "PLACES",
        "",
        "places (Cloudflare's location hints: wnam enam sam weur eeur apac oc afr me), each with GATEWAYS gateways for the continents it is nearest to; empty: none",
    ),
    setting(
        "LOCATION",
        "",
        "the place (as in PLACES) of databases and of the objects that have them, for who deploys for the first time; empty: near who comes first",
    ),
    setting(
        "JURISDICTION",
        "",
        "what Cloudflare keeps databases and objects within: eu, us or fedramp, without PLACES and LOCATION; empty: anywhere; kept as it is",
    ),
    setting("LOG_LEVEL", "info", "the least that is logged: debug, info, warn or error"),
    setting("LISTED_KEYS", "", "public keys, 64 hex digits each, separated by spaces"),
];
