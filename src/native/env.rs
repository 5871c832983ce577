//! Settings from `nexus.toml` and the environment. The engine's own are those of
//! [`SETTINGS`](crate::gateway::SETTINGS), each under a name in the file; the environment has the last word.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::HeaderName;
use toml::de::{DeTable, DeValue};

use super::proxy::Proxies;
use crate::gateway::{Config, SETTINGS, Setting};
use crate::message::PartitionId;
use crate::moderation::Range;

/// What only this host has to know.
const OWN: &[Setting] = &[
    Setting { key: "BIND", default: "127.0.0.1:7777", meaning: "address and port to listen at" },
    Setting {
        key: "FORWARDED_HEADER",
        default: "",
        meaning: "header in which a proxy before the relay names the client's address, such as X-Forwarded-For",
    },
    Setting {
        key: "TRUSTED_PROXIES",
        default: "127.0.0.0/8 ::1",
        meaning: "addresses and ranges of the proxies whose FORWARDED_HEADER counts; others are counted by their own address",
    },
    Setting {
        key: "TLS_CERT",
        default: "",
        meaning: "PEM file of the certificate and its chain; with it wss:// is served",
    },
    Setting { key: "TLS_KEY", default: "", meaning: "PEM file of the certificate's key" },
    Setting {
        key: "SILENCE_SECONDS",
        default: "60",
        meaning: "seconds a connection may be silent before it is pinged, and as many again before it is closed; 1 to 3600",
    },
    Setting {
        key: "STORAGE_PATH",
        default: "nexus.sqlite",
        meaning: "the database file; it is made if it is not there",
    },
];

/// Keys whose place in the file is not their own name in small letters under `limits`.
const PLACES: &[(&str, &str, &str)] = &[
    ("BIND", "server", "bind"),
    ("RELAY_NAME", "server", "name"),
    ("RELAY_DESCRIPTION", "server", "description"),
    ("RELAY_URL", "server", "url"),
    ("RELAY_PUBKEY", "server", "pubkey"),
    ("RELAY_CONTACT", "server", "contact"),
    ("RELAY_ICON", "server", "icon"),
    ("HANDLERS_API", "server", "handlers_api"),
    ("STATS", "server", "stats"),
    ("STATS_SHARED_SECONDS", "server", "stats_shared_seconds"),
    ("LOG_LEVEL", "server", "log_level"),
    ("GATEWAYS", "server", "gateways"),
    ("FORWARDED_HEADER", "server", "forwarded_header"),
    ("TRUSTED_PROXIES", "server", "trusted_proxies"),
    ("TLS_CERT", "server", "tls_cert"),
    ("TLS_KEY", "server", "tls_key"),
    ("SILENCE_SECONDS", "server", "silence_seconds"),
    ("STORAGE_PATH", "storage", "path"),
    ("PARTITIONS", "storage", "partitions"),
    ("AUTH_REQUIRED", "auth", "required"),
    ("ACCESS", "auth", "access"),
    ("RETAIN_REQUESTS", "retention", "requests"),
    ("RETAIN_FEEDBACK", "retention", "feedback"),
    ("RETAIN_RESULTS", "retention", "results"),
    ("RETAIN_HANDLERS", "retention", "handlers"),
    ("RETAIN_OTHERS", "retention", "others"),
    ("JOB_PROFILE", "jobs", "profile"),
];

/// Sections in the order they are explained in.
const SECTIONS: [&str; 6] = ["server", "storage", "auth", "limits", "retention", "jobs"];

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The engine's.
    pub config: Config,
    /// Where to listen.
    pub bind: SocketAddr,
    /// Threads that serve connections.
    pub gateways: u64,
    /// A header that names the client's address.
    pub proxies: Option<Proxies>,
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// How long a connection may be silent before it is pinged.
    pub silence: Duration,
    /// The database file, of several that of the first partition.
    pub path: PathBuf,
}

impl Settings {
    /// The database file of a partition: `nexus.sqlite`, `nexus-1.sqlite` and so on.
    pub fn path_of(&self, partition: PartitionId) -> PathBuf {
        numbered(&self.path, partition)
    }

    /// The database files of all partitions.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        PartitionId::all(self.config.partitions).map(|partition| self.path_of(partition))
    }
}

/// The file of a partition, where the first one's has a name: the others' have their numbers in it.
pub fn numbered(first: &Path, partition: PartitionId) -> PathBuf {
    let PartitionId(n @ 1..) = partition else { return first.to_owned() };
    let mut name = first.file_stem().unwrap_or_default().to_os_string();
    name.push(format!("-{n}"));
    let mut path = first.with_file_name(name);
    if let Some(extension) = first.extension() {
        path.add_extension(extension);
    }
    path
}

fn every() -> impl Iterator<Item = &'static Setting> {
    OWN.iter().chain(SETTINGS)
}

/// Section and name of a key.
fn place(key: &str) -> (&'static str, String) {
    match PLACES.iter().find(|(known, ..)| *known == key) {
        Some((_, section, name)) => (section, (*name).to_owned()),
        None => ("limits", key.to_ascii_lowercase()),
    }
}

/// A file with every setting, its default and what it means.
pub fn example() -> String {
    let mut text = "# Settings of a Nexus relay. What is left out has the default that is shown.\n\
                    # The environment has the last word: its name for each is in brackets.\n"
        .to_owned();
    for section in SECTIONS {
        let _ = writeln!(text, "\n[{section}]");
        for setting in every().filter(|setting| place(setting.key).0 == section) {
            let (key, (_, name)) = (setting.key, place(setting.key));
            let plain = setting.default.parse::<u64>().is_ok() || setting.default.parse::<bool>().is_ok();
            let value = if plain { setting.default.to_owned() } else { format!("{:?}", setting.default) };
            let _ = writeln!(text, "# {} [{key}]\n# {name} = {value}", setting.meaning);
        }
    }
    text
}

/// What a file says: by key, the value and its line.
type Said = BTreeMap<&'static str, (String, usize)>;

/// Reads a file, if it is there or was asked for, and the environment. Answers all that is wrong, one sentence
/// each, with its place.
pub fn read(
    file: &Path,
    asked_for: bool,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Settings, Vec<String>> {
    let shown = file.display().to_string();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked_for => String::new(),
        Err(error) => {
            return Err(vec![format!("{shown}: {error}; `nexus config example > {shown}` writes one to start from")]);
        }
    };
    let mut wrong = Vec::new();
    let said = parse(&text, &shown, &mut wrong);
    let of_environment = |key: &str| environment(key).filter(|value| !value.trim().is_empty());
    let value = |key: &str| of_environment(key).or_else(|| said.get(key).map(|(value, _)| value.clone()));
    let at = |key: &str| {
        let (section, name) = place(key);
        match (of_environment(key), said.get(key)) {
            (Some(_), _) => format!("{key} (environment)"),
            (_, Some((_, line))) => format!("{shown}:{line}: {section}.{name}"),
            _ => format!("{shown}: {section}.{name} ({key})"),
        }
    };
    let own = |key: &str| {
        let default = || OWN.iter().find(|setting| setting.key == key).map_or("", |setting| setting.default).to_owned();
        value(key).unwrap_or_else(default)
    };
    let bind = own("BIND").parse::<SocketAddr>().map_err(|_| {
        wrong.push(format!("{} must be an address and a port, as 0.0.0.0:7777, not {:?}", at("BIND"), own("BIND")));
    });
    let silence = own("SILENCE_SECONDS").parse::<u64>().ok().filter(|seconds| (1..=3600).contains(seconds));
    if silence.is_none() {
        let (at, given) = (at("SILENCE_SECONDS"), own("SILENCE_SECONDS"));
        wrong.push(format!("{at} must be a whole number from 1 to 3600, not {given:?}"));
    }
    let ranges = own("TRUSTED_PROXIES");
    let trusted = ranges.split([' ', ',']).filter(|range| !range.is_empty()).map(|range| {
        range.parse::<Range>().map_err(|()| {
            let at = at("TRUSTED_PROXIES");
            wrong.push(format!("{at} must be IP addresses or ranges, as 10.0.0.0/8, not {range:?}"));
        })
    });
    let trusted: Vec<Range> = trusted.flatten().collect();
    let header = Some(own("FORWARDED_HEADER")).filter(|name| !name.is_empty()).map(HeaderName::try_from).transpose();
    let header = header.unwrap_or_else(|_| {
        wrong.push(format!(
            "{} must be the name of a header, not {:?}",
            at("FORWARDED_HEADER"),
            own("FORWARDED_HEADER")
        ));
        None
    });
    let proxies = header.map(|header| Proxies { header, trusted: trusted.into() });
    let [cert, key] = ["TLS_CERT", "TLS_KEY"].map(|key| Some(own(key)).filter(|path| !path.is_empty()));
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
        (None, None) => None,
        (Some(_), None) => {
            wrong.push(format!("{} must be set as well as {}", at("TLS_KEY"), at("TLS_CERT")));
            None
        }
        (None, Some(_)) => {
            wrong.push(format!("{} must be set as well as {}", at("TLS_CERT"), at("TLS_KEY")));
            None
        }
    };
    // Who tries it on his own machine need not say how it is reached.
    let local = bind.ok().filter(|bind| bind.ip().is_loopback()).map(|bind| {
        let scheme = if tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{bind} {scheme}://localhost:{}", bind.port())
    });
    let config = Config::read(|key| value(key).or_else(|| local.clone().filter(|_| key == "RELAY_URL")));
    let config = config.map_err(|error| {
        wrong.extend(error.0.iter().map(|sentence| match sentence.split_once(' ') {
            Some((key, rest)) => format!("{} {rest}", at(key)),
            None => sentence.clone(),
        }));
    });
    match (config, bind, silence.map(Duration::from_secs)) {
        (Ok(config), Ok(bind), Some(silence)) if wrong.is_empty() => {
            let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
            // One core is left to the partition and its database.
            let gateways = config.gateways.unwrap_or_else(|| cores.saturating_sub(1).clamp(1, 256));
            let path = PathBuf::from(own("STORAGE_PATH"));
            Ok(Settings { config, bind, gateways, proxies, tls, silence, path })
        }
        _ => Err(wrong),
    }
}

/// Every value of a file by its key; what has no place is wrong.
fn parse(text: &str, shown: &str, wrong: &mut Vec<String>) -> Said {
    let line = |at: usize| text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
    let mut said = Said::new();
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let at = error.span().map_or(1, |span| line(span.start));
            wrong.push(format!("{shown}:{at}: {}", error.message()));
            return said;
        }
    };
    for (section, values) in table.get_ref() {
        let at = line(section.span().start);
        let section = section.get_ref().as_ref();
        let DeValue::Table(values) = values.get_ref() else {
            wrong.push(format!("{shown}:{at}: {section} must stand in a section; there are {}", SECTIONS.join(", ")));
            continue;
        };
        if !SECTIONS.contains(&section) {
            wrong.push(format!("{shown}:{at}: there is no section {section}; there are {}", SECTIONS.join(", ")));
            continue;
        }
        for (name, value) in values {
            let at = line(name.span().start);
            let name = name.get_ref().as_ref();
            let known = every().find(|setting| place(setting.key) == (section, name.to_owned()));
            match (known, plain(value.get_ref())) {
                (Some(setting), Some(value)) => drop(said.insert(setting.key, (value, at))),
                (Some(_), None) => {
                    wrong.push(format!(
                        "{shown}:{at}: {section}.{name} must be a text, a number, true or false, or a list"
                    ));
                }
                (None, _) => wrong.push(format!("{shown}:{at}: there is no {section}.{name}{}", alike(section, name))),
            }
        }
    }
    said
}

/// What may have been meant.
fn alike(section: &str, name: &str) -> String {
    let places = || every().map(|setting| place(setting.key));
    if let Some((other, _)) = places().find(|(_, known)| known == name) {
        return format!("; it stands in [{other}]");
    }
    let names: Vec<String> = places().filter(|(known, _)| *known == section).map(|(_, name)| name).collect();
    format!("; there are {}", names.join(", "))
}

/// A value as the environment would have it.
fn plain(value: &DeValue) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.as_str().replace('_', "")),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Array(list) => {
            let all: Option<Vec<String>> = list.iter().map(|value| plain(value.get_ref())).collect();
            all.map(|all| all.join(" "))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
