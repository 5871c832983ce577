//! What an operator reads in the log: one JSON object a line, with a level, a name, and what it is about.
//! Never a secret, an address or an event's content.

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::seam::Effect;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every connection does.
    Debug,
    /// What the relay does by itself.
    Info,
    /// What went wrong and is tried again.
    Warn,
    /// What went wrong.
    Error,
}

impl Level {
    /// All of them.
    const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warn, Self::Error];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|level| level.as_str() == text).ok_or(())
    }
}

/// Writes a line, when lines of its level are wanted.
pub(crate) fn write(wanted: Level, level: Level, what: &str, fields: &[(&str, String)], out: &mut Vec<Effect>) {
    if level >= wanted {
        out.push(Effect::Log { level, line: line(level, what, fields) });
    }
}

/// A line of the log; hosts write what they alone know of by it.
pub fn line(level: Level, what: &str, fields: &[(&str, String)]) -> String {
    let mut line = Map::new();
    line.insert("level".to_owned(), Value::from(level.as_str()));
    line.insert("what".to_owned(), Value::from(what));
    line.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))));
    Value::Object(line).to_string()
}
