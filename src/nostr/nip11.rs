//! The relay information document (NIP-11).

use serde::Serialize;

/// The document. Absent fields are left out, as the NIP asks.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)] // the NIP's own names
pub struct Document {
    pub name: String,
    pub description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pubkey: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    pub supported_nips: Vec<u16>,
    pub software: &'static str,
    pub version: &'static str,
    pub limitation: Limitation,
}

/// Limits a client must keep to; all of them are enforced. Some have no name in the NIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the NIP's own names
pub struct Limitation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections_per_ip: Option<u64>,
    pub max_unheard_bytes: u64,
    pub max_filters: u64,
    pub max_filter_values: u64,
    pub max_search_entries: u64,
    pub max_search_ranges: u64,
    pub max_message_length: u64,
    pub max_frame_length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_frame: Option<u64>,
    pub max_keys: u64,
    pub max_unasked_keys: u64,
    pub max_unasked_feedback: u64,
    pub max_subscriptions: u64,
    pub max_subid_length: u64,
    pub max_limit: u64,
    pub default_limit: u64,
    pub max_event_tags: u64,
    pub max_content_length: u64,
    pub min_pow_difficulty: u64,
    pub created_at_lower_limit: u64,
    pub created_at_upper_limit: u64,
    pub auth_required: bool,
    pub payment_required: bool,
    pub restricted_writes: bool,
}
