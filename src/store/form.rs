//! The form in which an event is stored, and how its canonical text (NIP-01) is made of it again, byte for byte.
//!
//! Ids, keys and signatures are bytes. Tags and content are the JSON that they are in the text, but for the id of the job
//! an event belongs to: its row has that already, so [`JOB`] stands for it in the tags. A row leaves the database as one
//! text of its parts, in which what is long comes last, and the canonical text is put together here: nothing of it is
//! parsed, and what is long is copied once.

use std::borrow::Cow;

use super::hex;
use crate::nostr::EventId;

/// What stands for the id of an event's job in its tags: no JSON has it as it is.
const JOB: char = '\u{1}';
/// In so many places; an id that the tags have more often stands there as it is. So the text of an event is hardly longer
/// than what its row has.
const MAX_PLACES: usize = 4;
/// Digits of an id or a key.
const DIGITS: usize = 64;
/// Bytes of names, quotes and digits of hex, which are the same in each text.
const FRAME: usize = 327;

/// What the row of an event has of its canonical text: hex, and JSON.
#[derive(Default)]
pub struct Parts<'a> {
    /// The id.
    pub id: &'a str,
    /// The author.
    pub pubkey: &'a str,
    /// The tags, in which [`JOB`] stands for the id of its job.
    pub tags: Cow<'a, str>,
    /// The content.
    pub content: &'a str,
    /// The signature.
    pub sig: &'a str,
}

impl<'a> Parts<'a> {
    /// Those of a canonical text; none of any other.
    pub fn of(text: &'a str, job: Option<&EventId>) -> Option<Self> {
        let hex = |rest: &'a str, digits| rest.split_at_checked(digits);
        let (id, rest) = hex(text.strip_prefix("{\"id\":\"")?, DIGITS)?;
        let (pubkey, rest) = hex(rest.strip_prefix("\",\"pubkey\":\"")?, DIGITS)?;
        // A quote inside of a string has a backslash before it, and no list of tags has a colon: what is looked for
        // stands only between the fields.
        let (_, rest) = rest.split_once(",\"tags\":")?;
        let (tags, rest) = rest.split_once(",\"content\":")?;
        let (rest, sig) = rest.strip_suffix("\"}")?.split_at_checked(rest.len().checked_sub(2 * DIGITS + 2)?)?;
        let content = rest.strip_suffix(",\"sig\":\"")?;
        let tags = match job {
            Some(job) => tags.replacen(&job.to_string(), JOB.encode_utf8(&mut [0; 4]), MAX_PLACES).into(),
            None => tags.into(),
        };
        Some(Self { id, pubkey, tags, content, sig })
    }
}

/// The tags of the event `e` as JSON.
pub fn tags(e: &str) -> String {
    format!("iif({e}.job IS NULL, {e}.tags, replace({e}.tags, char({}), {}))", u32::from(JOB), hex(&format!("{e}.job")))
}

/// The parts of the event `e`, of which [`text`] makes its canonical text.
pub fn parts(e: &str) -> String {
    format!(
        "hex({e}.id) || hex({e}.pubkey) || hex({e}.sig) || hex({e}.job) || ' ' || {e}.created_at || ' ' || {e}.kind \
         || ' ' || octet_length({e}.tags) || ' ' || {e}.tags || {e}.content"
    )
}

/// Bytes of the canonical text of the event `e`, at most.
pub fn text_bytes_max(e: &str) -> String {
    format!(
        "({FRAME} + length({e}.created_at) + length({e}.kind) + octet_length({e}.tags) + octet_length({e}.content) \
         + iif({e}.job IS NULL, 0, {}))",
        MAX_PLACES * DIGITS
    )
}

/// An event as it leaves the database.
#[derive(Debug, PartialEq, Eq)]
pub struct Canonical {
    /// Its id.
    pub id: EventId,
    /// Unix seconds.
    pub created_at: u64,
    /// Its canonical text.
    pub text: String,
}

/// Puts [`parts`] together; `None` if they are none.
pub fn text(parts: &str) -> Option<Canonical> {
    let (digits, rest) = parts.split_once(' ')?;
    let (created_at, rest) = rest.split_once(' ')?;
    let (kind, rest) = rest.split_once(' ')?;
    let (tags_bytes, rest) = rest.split_once(' ')?;
    let (tags, content) = rest.split_at_checked(tags_bytes.parse().ok()?)?;
    // As bytes are written by SQL.
    let digits = digits.to_ascii_lowercase();
    let (id, rest) = digits.split_at_checked(DIGITS)?;
    let (pubkey, rest) = rest.split_at_checked(DIGITS)?;
    let (sig, job) = rest.split_at_checked(2 * DIGITS)?;
    let mut text = String::with_capacity(parts.len() + FRAME - digits.len() + MAX_PLACES * job.len());
    let mut put = |parts: &[&str]| parts.iter().for_each(|part| text.push_str(part));
    put(&[
        "{\"id\":\"",
        id,
        "\",\"pubkey\":\"",
        pubkey,
        "\",\"created_at\":",
        created_at,
        ",\"kind\":",
        kind,
        ",\"tags\":",
    ]);
    for (place, tags) in tags.split(JOB).enumerate() {
        put(&[if place > 0 { job } else { "" }, tags]);
    }
    put(&[",\"content\":", content, ",\"sig\":\"", sig, "\"}"]);
    Some(Canonical { id: EventId::parse(id)?, created_at: created_at.parse().ok()?, text })
}
