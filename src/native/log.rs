//! The log, on stderr: text on a terminal, else JSON, one object a line, as on the other host, with its time before
//! it. Nobody needs to read it: what cannot be written is lost, and ends nothing.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::log;
use crate::log::Level;

/// Whether lines are for people.
static TEXT: AtomicBool = AtomicBool::new(false);

/// Begins to log; libraries tell warnings and what is worse.
pub fn begin() {
    TEXT.store(std::io::stderr().is_terminal(), Ordering::Relaxed);
    let format = tracing_subscriber::fmt().with_writer(std::io::stderr).event_format(Lines);
    // Only the first one counts; nothing else sets one.
    let _ = format.with_max_level(LevelFilter::WARN).try_init();
}

/// Writes a line, which is JSON, for whoever reads.
pub fn write(line: &str) {
    let text = TEXT.load(Ordering::Relaxed).then(|| serde_json::from_str::<Map<String, Value>>(line).ok()).flatten();
    put(&match (text, line.strip_prefix('{')) {
        (Some(fields), _) => format!("{} {}", time(), for_people(&fields)),
        (None, Some(rest)) => format!("{{\"time\":\"{}\",{rest}", time()),
        (None, None) => line.to_owned(),
    });
}

/// Writes a line to stderr as it is; one that nobody can read is lost.
pub fn put(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// The time of now, UTC, as RFC 3339 has it.
fn time() -> String {
    let mut time = String::new();
    // A text takes everything.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

/// Writes a line of the host's.
pub fn say(level: Level, what: &str, fields: &[(&str, String)]) {
    write(&log::line(level, what, fields));
}

fn for_people(fields: &Map<String, Value>) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let get = |name: &str| fields.get(name).map(text).unwrap_or_default();
    let rest = fields.iter().filter(|(name, _)| !matches!(name.as_str(), "level" | "what"));
    let rest: Vec<String> = rest.map(|(name, value)| format!(" {name}={}", text(value))).collect();
    format!("{:5} {}{}", get("level").to_uppercase(), get("what"), rest.concat())
}

/// What libraries tell, in the form of the engine's lines.
struct Lines;

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N> for Lines {
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        struct Fields(Map<String, Value>);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                let name = if field.name() == "message" { "what" } else { field.name() };
                self.0.insert(name.to_owned(), Value::from(format!("{value:?}")));
            }
        }
        let mut fields = Fields(Map::new());
        let level = event.metadata().level().as_str().to_lowercase();
        fields.0.insert("level".to_owned(), Value::from(level));
        event.record(&mut fields);
        match TEXT.load(Ordering::Relaxed) {
            true => writeln!(writer, "{} {}", time(), for_people(&fields.0)),
            false => {
                fields.0.insert("time".to_owned(), Value::from(time()));
                writeln!(writer, "{}", Value::Object(fields.0))
            }
        }
    }
}
