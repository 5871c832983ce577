//! Kind numbers and the classes NIP-01 sorts them into.

/// An encrypted direct message (NIP-04).
pub const DIRECT_MESSAGE: u16 = 4;
/// A deletion request (NIP-09).
pub const DELETION: u16 = 5;
/// A repost of a note (NIP-18).
pub const REPOST: u16 = 6;
/// A repost of anything else (NIP-18).
pub const GENERIC_REPOST: u16 = 16;
/// A request to vanish (NIP-62).
pub const VANISH: u16 = 62;
/// A gift wrap (NIP-59).
pub const GIFT_WRAP: u16 = 1059;
/// A gift wrap that is never stored (NIP-59).
pub const EPHEMERAL_GIFT_WRAP: u16 = 21059;
/// A label (NIP-32).
pub const LABEL: u16 = 1985;
/// Handler information (NIP-89).
pub const HANDLER: u16 = 31990;
/// A NIP-42 authentication event: never stored, never broadcast.
pub const AUTHENTICATION: u16 = 22242;
/// Says who asks over HTTP (NIP-98): never stored, never broadcast.
pub const HTTP_AUTH: u16 = 27235;

/// What a relay keeps of an event (NIP-01, "Kinds").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KindClass {
    /// All are kept.
    Regular,
    /// The newest per author and kind is kept.
    Replaceable,
    /// None is kept.
    Ephemeral,
    /// The newest per author, kind and `d` tag is kept.
    Addressable,
}

impl KindClass {
    /// The class of `kind`. Numbers NIP-01 assigns to no class are regular.
    pub const fn of(kind: u16) -> Self {
        match kind {
            0 | 3 | 10_000..=19_999 => Self::Replaceable,
            20_000..=29_999 => Self::Ephemeral,
            30_000..=39_999 => Self::Addressable,
            _ => Self::Regular,
        }
    }
}
