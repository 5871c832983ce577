//! The form in which batches travel between objects: the number of the form, then the batch as postcard writes it.
//!
//! Owns that number, and how bytes are told from a batch. What a message is made of is written by its own type; types that
//! JSON has, too, are written in full there and in bytes here. The text of an event on its way to the database is not sent,
//! but made again of the event; nothing is verified again, as the other end is this relay.
//!
//! Decides nothing about a batch: whose it is, and whether it is taken, is the [link](crate::link)'s matter. Bytes of any
//! sort give a batch or an error, and memory is reserved for no more than they can hold. Both ends know one form alone:
//! while another one runs the version before, neither takes what the other says.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::link::Batch;

/// The form: another one whenever the bytes of any message change, or the [keys](crate::interest) of what it carries.
pub const WIRE: u16 = 2;

/// Why bytes are no batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// They are of another form than [`WIRE`]: of this one.
    Form(u16),
    /// They end within the number of their form.
    Short,
    /// A batch cannot be read of them.
    Unreadable(postcard::Error),
    /// So many bytes stand behind the batch.
    Trailing(usize),
}

impl std::error::Error for WireError {}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(theirs) => write!(f, "a batch of form {theirs}, where form {WIRE} is spoken"),
            Self::Short => f.write_str("a batch without the number of its form"),
            Self::Unreadable(why) => write!(f, "a batch that cannot be read: {why}"),
            Self::Trailing(bytes) => write!(f, "a batch with {bytes} bytes behind it"),
        }
    }
}

/// The bytes of a batch.
pub fn encode<T: Serialize>(batch: &Batch<T>) -> Vec<u8> {
    // Values of known length into memory: serialization cannot fail.
    postcard::to_allocvec(&(WIRE.to_be_bytes(), batch)).unwrap_or_default()
}

/// The batch of which these are the bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Batch<T>, WireError> {
    let (form, bytes) = bytes.split_first_chunk().ok_or(WireError::Short)?;
    let form = u16::from_be_bytes(*form);
    if form != WIRE {
        return Err(WireError::Form(form));
    }
    match postcard::take_from_bytes(bytes) {
        Ok((batch, [])) => Ok(batch),
        Ok((_, behind)) => Err(WireError::Trailing(behind.len())),
        Err(error) => Err(WireError::Unreadable(error)),
    }
}
