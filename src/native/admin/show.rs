//! A result as people read it.

use serde_json::{Map, Value};

use crate::calendar::{DAY_MS, civil};

/// What stands between columns.
const GAP: &str = "  ";
/// What is a time in Unix seconds.
const TIMES: [&str; 3] = ["at", "since", "created_at"];

/// A result: lists a line an entry, what entries have below its name.
pub fn text(result: &Value) -> String {
    match result {
        Value::Bool(true) => "done".to_owned(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => match list.iter().map(Value::as_object).collect::<Option<Vec<_>>>() {
            Some(entries) => table(&entries),
            None => list.iter().map(cell).collect::<Vec<_>>().join("\n"),
        },
        Value::Object(object) => {
            let rows: Vec<_> = object.iter().map(|(name, value)| vec![plain(name), named(name, value)]).collect();
            aligned(&rows)
        }
        value => cell(value),
    }
}

fn table(entries: &[&Map<String, Value>]) -> String {
    let mut names: Vec<&String> = Vec::new();
    for name in entries.iter().flat_map(|entry| entry.keys()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let head = names.iter().map(|name| plain(name)).collect();
    let get = |entry: &Map<String, Value>, name: &str| entry.get(name).map(|value| named(name, value));
    let row = |entry: &&Map<String, Value>| names.iter().map(|name| get(entry, name).unwrap_or_default()).collect();
    let rows: Vec<Vec<String>> = [head].into_iter().chain(entries.iter().map(row)).collect();
    aligned(&rows)
}

/// Rows of cells that stand below each other.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let length = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| length(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join(GAP).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A value by its name: a time is one of the calendar (UTC).
fn named(name: &str, value: &Value) -> String {
    let Some(seconds) = value.as_u64().filter(|_| TIMES.contains(&name)) else { return cell(value) };
    let (day, second) = (seconds / (DAY_MS / 1000), seconds % (DAY_MS / 1000));
    let (year, month, date) = civil(day.min(u32::MAX.into()));
    format!("{year}-{month:02}-{date:02} {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        value => plain(&value.to_string()),
    }
}

/// A text that somebody else wrote, without what a terminal does not show as it is.
pub fn plain(text: &str) -> String {
    let is_odd = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_odd(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_stand_below_each_other() {
        let list =
            json!([{"pubkey": "ab", "reason": "spam"}, {"pubkey": "cdef"}, {"pubkey": "ü", "reason": "\u{1b}[2J"}]);
        assert_eq!(text(&list), "pubkey  reason\nab      spam\ncdef\nü       \\u{1b}[2J");
        assert_eq!(text(&json!(["a", 7])), "a\n7");
        assert_eq!(text(&json!([])), "none");
        assert_eq!(text(&json!(true)), "done");
        assert_eq!(text(&json!({"mode": "open", "a": [1]})), "a     [1]\nmode  open");
        let log = json!([{"at": 1_795_255_000_u64, "number": 7}, {"at": 0, "number": 8}]);
        assert_eq!(text(&log), "at                   number\n2026-11-21 09:56:40  7\n1970-01-01 00:00:00  8");
        assert!(text(&json!({"since": u64::MAX})).starts_with("since  11761191-01-20"));
        assert_eq!(text(&json!("a\u{202e}b\n")), "a\\u{202e}b\\u{a}");
    }
}
