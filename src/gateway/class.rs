//! What each class of clients may do: rates of events, questions and bytes, as settings write them.
//!
//! Owns the text and the numbers. Never knows who is of which class or what is left of a quota.

use std::fmt;
use std::str::FromStr;

use super::Millis;
use super::quota::PATIENCE;

/// Tokens per second, or of burst, at the most.
const MAX_TOKENS: u64 = 1_000_000_000;

/// How fast a bucket fills and what it holds; written as "20/200".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens gained in a second; 1 or more.
    pub per_second: u64,
    /// Tokens in a full bucket; 1 or more.
    pub burst: u64,
}

impl Rate {
    /// Milli-tokens in a full bucket.
    pub(super) fn full(self) -> i64 {
        milli(self.burst.saturating_mul(1000))
    }

    /// The level below which nothing more is owed: ten bursts, or what is gained in the time that a message may wait.
    pub(super) fn lowest(self) -> i64 {
        self.full().saturating_mul(10).max(milli(PATIENCE.saturating_mul(self.per_second))).saturating_neg()
    }

    /// Milliseconds until so many milli-tokens have been gained; none when none are missing.
    pub(super) fn time_for(self, missing: i64) -> Millis {
        u64::try_from(missing).unwrap_or_default().div_ceil(self.per_second.max(1))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().ok().filter(|number| (1..=MAX_TOKENS).contains(number));
        let parse = || {
            let (per_second, burst) = text.split_once('/')?;
            Some(Self { per_second: number(per_second)?, burst: number(burst)? })
        };
        parse().ok_or_else(|| format!("must be <per second>/<burst>, both from 1 to {MAX_TOKENS}"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.per_second, self.burst)
    }
}

/// The rates of one class; written as "events 20/200 queries 20/200 bytes 262144/4194304".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Events published.
    pub events: Rate,
    /// Stored queries.
    pub queries: Rate,
    /// Bytes; one token is one byte.
    pub bytes: Rate,
}

impl Rates {
    /// The rate of a metered.
    pub const fn of(&self, metered: Metered) -> Rate {
        match metered {
            Metered::Events | Metered::Answers => self.events,
            Metered::Queries => self.queries,
            Metered::Bytes => self.bytes,
        }
    }

    /// By metered, in the order of [`Buckets::levels`].
    pub(super) fn by_metered(&self) -> [Rate; 4] {
        Metered::ALL.map(|metered| self.of(metered))
    }
}

impl FromStr for Rates {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut events, mut queries, mut bytes) = (None, None, None);
        let mut words = text.split_whitespace();
        while let Some(name) = words.next() {
            let slot = match name {
                "events" => &mut events,
                "queries" => &mut queries,
                "bytes" => &mut bytes,
                _ => return Err(format!("must name events, queries and bytes, not {name:?}")),
            };
            let rate: Rate = words.next().unwrap_or_default().parse().map_err(|must| format!("{must}, for {name}"))?;
            if slot.replace(rate).is_some() {
                return Err(format!("must name {name} once"));
            }
        }
        match (events, queries, bytes) {
            (Some(events), Some(queries), Some(bytes)) => Ok(Self { events, queries, bytes }),
            _ => Err("must name events, queries and bytes".to_owned()),
        }
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "events {} queries {} bytes {}", self.events, self.queries, self.bytes)
    }
}

/// What a holder is to the relay; each class has its own [`Rates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Has proven no key.
    Guest,
    /// Has proven a key.
    Agent,
    /// Has proven the key of a provider.
    Provider,
    /// Has proven a key that the operator lists.
    Listed,
}

impl Class {
    /// The class as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Agent => "agent",
            Self::Provider => "provider",
            Self::Listed => "listed",
        }
    }
}

/// Which of a holder's buckets pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metered {
    /// Events other than answers.
    Events,
    /// Results and feedback for jobs held here: filled like events, but no flood of these delays them.
    Answers,
    /// Stored queries.
    Queries,
    /// Bytes.
    Bytes,
}

impl Metered {
    /// Its own of the levels of all lanes.
    pub const fn level(self, levels: &mut [i64; 4]) -> &mut i64 {
        let [events, answers, queries, bytes] = levels;
        match self {
            Self::Events => events,
            Self::Answers => answers,
            Self::Queries => queries,
            Self::Bytes => bytes,
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::Events, Self::Answers, Self::Queries, Self::Bytes];

    /// The metered as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Answers => "answers",
            Self::Queries => "queries",
            Self::Bytes => "bytes",
        }
    }
}

/// Milli-tokens as levels are kept.
pub(super) fn milli(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> Rates {
        "events 20/200 queries 7/10 bytes 262144/4194304".parse().unwrap()
    }

    #[test]
    fn rates_are_read_as_they_are_written() {
        let text = "events 20/200 queries 7/10 bytes 262144/4194304";
        assert_eq!(rates().to_string(), text);
        assert_eq!(" bytes 262144/4194304\n queries  7/10 events 20/200 ".parse(), Ok(rates()));
        assert_eq!("1/1000000000".parse(), Ok(Rate { per_second: 1, burst: 1_000_000_000 }));
        for wrong in
            ["", "1", "/", "1/", "/1", "0/1", "1/0", "1/1000000001", "-1/1", "1/1/1", "1 /1", "1/99999999999999999999"]
        {
            assert!(wrong.parse::<Rate>().unwrap_err().starts_with("must be "), "{wrong}");
        }
        for wrong in
            ["", "events", "events 1/1", "events 1/1 queries 1/1", "size 1/1", "events 1/0 queries 1/1 bytes 1/1"]
        {
            assert!(wrong.parse::<Rates>().unwrap_err().starts_with("must "), "{wrong}");
        }
        assert_eq!(format!("{text} events 1/1").parse::<Rates>().unwrap_err(), "must name events once");
        let classes = [Class::Guest, Class::Agent, Class::Provider, Class::Listed].map(Class::as_str);
        assert_eq!(classes, ["guest", "agent", "provider", "listed"]);
    }
}
