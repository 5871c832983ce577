//! Managing a relay from a terminal (NIP-86): a client of any relay that can be managed, and of nothing of this program.

mod call;
mod key;
mod methods;
mod show;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::log;

/// The variable that has the secret key where no file is named.
const KEY: &str = "NEXUS_ADMIN_KEY";

/// What is asked of which relay, by whom.
#[derive(clap::Args)]
#[command(
    after_help = "The secret key of an owner, as hex or nsec, is in a file that nobody else may read (--key-file), or in NEXUS_ADMIN_KEY.",
    after_long_help = methods::help()
)]
pub struct Asked {
    /// The relay, as clients connect to it: wss://relay.example.com
    #[arg(long, value_name = "URL")]
    relay: String,
    /// File with the owner's secret key, as hex or nsec; no other user may be able to read it
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// PEM file of certificates that are trusted in place of the usual ones
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Write the result as JSON, for programs
    #[arg(long)]
    json: bool,
    /// What is to be done; supportedmethods lists what the relay can do
    method: String,
    /// What the method is about: keys as npub or hex, events as note, nevent or hex
    params: Vec<String>,
    /// The parameters as a list of JSON, as they are
    #[arg(long, value_name = "JSON", conflicts_with = "params")]
    raw: Option<String>,
}

/// What went wrong.
#[derive(Debug, PartialEq)]
enum Wrong {
    /// How it was called; nothing was sent.
    Use(String),
    /// The relay does not do it, in its own words.
    Refused(String),
    /// There is no answer, or none that is one.
    NoAnswer(String),
}

impl Wrong {
    /// What the program ends with.
    const fn code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Use(_) => 2,
            Self::NoAnswer(_) => 3,
        }
    }
}

/// Asks, and tells what was answered.
pub fn run(asked: &Asked) -> ExitCode {
    match ask(asked) {
        Ok(result) => {
            let text = if asked.json { result.to_string() } else { show::text(&result) };
            // A reader that has gone has seen enough.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            let code = wrong.code();
            let (Wrong::Use(text) | Wrong::Refused(text) | Wrong::NoAnswer(text)) = wrong;
            log::put(&format!("nexus: {}", show::plain(&text)));
            ExitCode::from(code)
        }
    }
}

fn ask(asked: &Asked) -> Result<Value, Wrong> {
    let params = match &asked.raw {
        Some(raw) => serde_json::from_str::<Vec<Value>>(raw)
            .map_err(|error| Wrong::Use(format!("--raw must be a list of JSON: {error}")))?,
        None => methods::params(&asked.method, &asked.params).map_err(Wrong::Use)?,
    };
    let url = call::url(&asked.relay).map_err(Wrong::Use)?;
    let agent = call::agent(asked.ca.as_deref()).map_err(Wrong::Use)?;
    let key = key::secret(asked.key_file.as_deref(), std::env::var(KEY).ok()).map_err(Wrong::Use)?;
    let body = serde_json::json!({ "method": asked.method, "params": params }).to_string();
    call::call(&agent, &url, &key, &body)
}
