//! HyperLogLog registers that let a client merge the counts of several relays (NIP-45).

use sha2::{Digest, Sha256};

use super::event::leading_zero_bits;
use super::{Filter, PublicKey};

/// 256 registers over the authors of counted events.
pub struct Registers {
    offset: usize,
    registers: [u8; 256],
}

impl Registers {
    /// Empty registers for a filter with one tag condition of one value; NIP-45 defines the offset for
    /// no other (of several values "the first" depends on the order they were written in).
    pub fn of(filter: &Filter) -> Option<Self> {
        let mut tags = filter.tags.values();
        let (Some(values), None) = (tags.next(), tags.next()) else { return None };
        let mut values = values.iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        Some(Self { offset: offset(value)?, registers: [0; 256] })
    }

    /// Counts an author.
    pub fn add(&mut self, author: &PublicKey) {
        let bytes = author.as_bytes();
        let (Some(index), Some(rest)) = (bytes.get(self.offset), bytes.get(self.offset + 1..)) else { return };
        let rank = u8::try_from(leading_zero_bits(rest)).unwrap_or(u8::MAX).saturating_add(1);
        if let Some(register) = self.registers.get_mut(usize::from(*index)) {
            *register = rank.max(*register);
        }
    }

    /// 512 hex digits.
    pub fn to_hex(&self) -> String {
        hex::encode(self.registers)
    }
}

/// Which byte of a public key names the register: 8 to 23.
fn offset(value: &str) -> Option<usize> {
    let address = || {
        let mut parts = value.splitn(3, ':');
        let (kind, key, _) = (parts.next()?, parts.next()?, parts.next()?);
        kind.parse::<u16>().ok()?;
        PublicKey::parse(key)
    };
    let key = PublicKey::parse(value)
        .or_else(address)
        .unwrap_or_else(|| PublicKey::new(Sha256::digest(value.as_bytes()).into()));
    // Hex digit 32 is the upper half of byte 16.
    key.as_bytes().get(16).map(|byte| usize::from(byte >> 4) + 8)
}
