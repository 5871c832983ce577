//! The command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::backup::backup;
use super::env::{self, Settings};
use super::export::{export, export_sql};
use super::import::{import, import_whole};
use super::{Failed, admin, log, place, serve, sqlite};

/// A Nostr relay for a market in which software agents buy and sell compute.
#[derive(Parser)]
#[command(name = "nexus", version, about)]
struct Args {
    /// The settings; without one the environment and the defaults hold.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to do; to serve, when it is left out.
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the relay until SIGTERM; SIGHUP reads the settings again
    Serve,
    /// Store what a file has, one JSON object a line: events, and what else an export writes; goes on where it
    /// was interrupted
    Import {
        /// The file.
        #[arg(required_unless_present = "d1", conflicts_with = "d1")]
        file: Option<PathBuf>,
        /// Make the whole database of what `wrangler d1 export` has written, which holds counts and history as well; of
        /// several partitions a file each, in their order. The database must not be there
        #[arg(long, value_name = "FILE", num_args = 1..)]
        d1: Vec<PathBuf>,
    },
    /// Write what is stored to stdout, one JSON object a line: jobs, deletions and events
    Export {
        /// Events alone, and only those that this filter (NIP-01) matches.
        #[arg(long, value_name = "JSON")]
        filter: Option<String>,
        /// Of a file that `wrangler d1 export` has written, in place of the relay's database.
        #[arg(long, value_name = "FILE")]
        d1: Option<PathBuf>,
        /// Whole databases as SQL for `wrangler d1 execute --file`, in a folder that is empty or not there
        #[arg(long, value_name = "FOLDER", conflicts_with_all = ["filter", "d1"])]
        sql: Option<PathBuf>,
    },
    /// Copy the database while the relay runs, or not: a file that is whole, and checked. Of several partitions
    /// FILE, FILE-1 and so on
    Backup {
        /// The file, which must not be there.
        file: PathBuf,
    },
    /// Bring the database to the schema of this version, as serving does
    Migrate,
    /// Manage a relay, this one or any other, from here (NIP-86)
    Admin(admin::Asked),
    /// The settings
    Config {
        /// What to do with them.
        #[command(subcommand)]
        command: Settled,
    },
}

#[derive(Subcommand)]
enum Settled {
    /// Explain each mistake with its key and line
    Check,
    /// Write a file with every setting, its default and what it means
    Example,
}

const DEFAULT_FILE: &str = "nexus.toml";

/// Runs the program; what goes wrong is told on stderr.
pub fn main() -> ExitCode {
    let args = Args::parse();
    log::begin();
    match run(args) {
        Ok(code) => code,
        Err(error) => {
            log::put(&format!("nexus: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<ExitCode, Failed> {
    let asked_for = args.config.is_some();
    let file = args.config.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let read = || env::read(&file, asked_for, |key| std::env::var(key).ok());
    let settings = || read().map_err(|wrong| mistakes(&file, &wrong));
    let done = match args.command {
        None | Some(Command::Serve) => serve::serve(&settings()?, read),
        Some(Command::Import { file: Some(file), .. }) => import(&settings()?, &file),
        Some(Command::Import { file: None, d1 }) => import_whole(&settings()?, &d1),
        Some(Command::Backup { file }) => backup(&settings()?, &file),
        Some(Command::Export { sql: Some(folder), .. }) => export_sql(&settings()?, &folder),
        Some(Command::Export { filter, d1, sql: None }) => {
            let (paths, kept) = match d1 {
                Some(_) => (Vec::new(), None),
                None => {
                    let settings = settings()?;
                    place::check_to_read(&settings)?;
                    let kept = settings.config.retention.of_jobs(&settings.config.profile);
                    (settings.paths().collect(), Some(kept))
                }
            };
            export(&paths, kept.as_ref(), filter.as_deref(), d1.as_deref())
        }
        Some(Command::Admin(asked)) => return Ok(admin::run(&asked)),
        Some(Command::Migrate) => migrate(&settings()?),
        Some(Command::Config { command: Settled::Check }) => {
            let Settings { bind, gateways, path, .. } = settings()?;
            println!("{}: fine; {gateways} gateways at {bind}, events in {}", file.display(), path.display());
            Ok(())
        }
        Some(Command::Config { command: Settled::Example }) => {
            // A reader that has gone has seen enough.
            let _ = std::io::stdout().write_all(env::example().as_bytes());
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn mistakes(file: &Path, wrong: &[String]) -> Failed {
    let list: Vec<String> = wrong.iter().map(|sentence| format!("\n  {sentence}")).collect();
    format!("the settings of {} do not hold:{}", file.display(), list.concat()).into()
}

fn migrate(settings: &Settings) -> Result<(), Failed> {
    place::check_others(settings)?;
    for (partition, path) in place::partitions(settings) {
        let (mut db, applied) = sqlite::open_to_serve(&path)?;
        place::of(&mut db, &path, partition)?;
        println!("{}: {applied} migrations applied", path.display());
    }
    Ok(())
}
