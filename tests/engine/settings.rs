//! Settings: one table, errors that name the key, and NIP-11 that tells the truth.

use nexus::gateway::{Config, SETTINGS, Setting};

use crate::common::world::config;

fn error(changes: &[(&str, &str)]) -> String {
    let lookup = |key: &str| {
        let changed = changes.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        changed.or_else(|| (key == "RELAY_URL").then(|| "wss://nexus.example".to_owned()))
    };
    Config::read(lookup).unwrap_err().to_string()
}

#[test]
fn a_value_that_does_not_parse_is_an_error_that_names_the_key() {
    let cases = [
        ("AUTH_REQUIRED", "yes", r#"AUTH_REQUIRED must be true or false, not "yes""#),
        ("MAX_LIMIT", "many", r#"MAX_LIMIT must be a whole number from 1 to 5000, not "many""#),
        ("MAX_LIMIT", "0", r#"MAX_LIMIT must be a whole number from 1 to 5000, not "0""#),
        ("MAX_LIMIT", "-1", r#"MAX_LIMIT must be a whole number from 1 to 5000, not "-1""#),
        ("MAX_LIMIT", "1e3", r#"MAX_LIMIT must be a whole number from 1 to 5000, not "1e3""#),
        ("STATS", "mine", r#"STATS must be public or owners, not "mine""#),
        ("STATS", "owners", r#"STATS needs an owner, whose key RELAY_PUBKEY is, not "owners""#),
        ("RELAY_PUBKEY", "npub1", r#"RELAY_PUBKEY must be 64 lower-case hex digits, not "npub1""#),
        ("RELAY_URL", " ", r#"RELAY_URL must name the ws:// or wss:// URLs clients reach this relay by, not """#),
        (
            "RELAY_URL",
            "wss://a https://b",
            r#"RELAY_URL must name the ws:// or wss:// URLs clients reach this relay by, not "wss://a https://b""#,
        ),
    ];
    for (key, value, expected) in cases {
        assert_eq!(error(&[(key, value)]).trim_start_matches("configuration: "), expected);
    }
    let both = error(&[("AUTH_REQUIRED", "1"), ("MAX_FILTERS", "x")]);
    assert!(both.contains("AUTH_REQUIRED") && both.contains("MAX_FILTERS"), "{both}");
    assert!(
        error(&[("MAX_LIMIT", "10"), ("DEFAULT_LIMIT", "11")]).contains("DEFAULT_LIMIT must not be above MAX_LIMIT")
    );
}

#[test]
fn every_numeric_setting_is_checked() {
    for setting in SETTINGS.iter().filter(|setting| setting.default.parse::<u64>().is_ok()) {
        assert!(error(&[(setting.key, "no number")]).contains(setting.key));
    }
}

#[test]
fn empty_means_default() {
    let blank: Vec<(&str, &str)> = SETTINGS
        .iter()
        .filter(|s| !matches!(s.key, "RELAY_URL" | "RATE_LIMITS" | "LOG_LEVEL"))
        .map(|s| (s.key, " "))
        .collect();
    assert_eq!(config(&blank), config(&[]));
}

#[test]
fn wrangler_toml_lists_every_setting_with_its_default() {
    let file = include_str!("../../wrangler.toml");
    let (_, vars) = file.split_once("[vars]").unwrap();
    let given: Vec<(&str, &str)> = vars.lines().filter_map(|line| line.split_once(" = ")).collect();
    let expected: Vec<(&str, String)> = SETTINGS.iter().map(|s| (s.key, format!("{:?}", s.default))).collect();
    assert_eq!(given, expected.iter().map(|(key, value)| (*key, value.as_str())).collect::<Vec<_>>());
    for (line, next) in vars.lines().zip(vars.lines().skip(1)) {
        assert!(next.starts_with('#') || line.starts_with('#') || next.is_empty(), "no comment above {next}");
    }
}

#[test]
fn the_operators_page_lists_every_setting_with_its_default() {
    let page = include_str!("../../docs/OPERATE.md");
    let (_, table) = page.split_once("\n| key | default | meaning |\n|---|---|---|\n").unwrap();
    let row = |s: &Setting| format!("| `{}` | {} | {} |", s.key, code(s.default), s.meaning);
    let rows: Vec<String> = SETTINGS.iter().map(row).collect();
    assert_eq!(table.lines().take_while(|line| line.starts_with('|')).collect::<Vec<_>>(), rows);
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{text}`") }
}

#[test]
fn the_document_says_what_is_enforced() {
    let changes = [
        ("RELAY_NAME", "Market"),
        ("RELAY_ICON", "https://nexus.example/icon.png"),
        ("AUTH_REQUIRED", "false"),
        ("MAX_LIMIT", "7"),
        ("DEFAULT_LIMIT", "5"),
        ("MAX_SUBSCRIPTIONS", "9"),
    ];
    let document = serde_json::to_value(config(&changes).document()).unwrap();
    assert_eq!(document["name"], "Market");
    assert_eq!(document["icon"], "https://nexus.example/icon.png");
    assert!(document.get("pubkey").is_none() && document.get("contact").is_none());
    let limitation = &document["limitation"];
    assert_eq!(limitation["auth_required"], false);
    assert_eq!((&limitation["max_limit"], &limitation["default_limit"]), (&7.into(), &5.into()));
    assert_eq!(limitation["max_subscriptions"], 9);
    let with = |rates, name| {
        serde_json::to_value(config(&[("RATE_LIMITS", rates)]).document()).unwrap()["limitation"][name].take()
    };
    for (lifted, value) in [("max_connections_per_ip", 1000), ("bytes_per_frame", 512)] {
        assert_eq!((with("on", lifted), with("off", lifted)), (value.into(), serde_json::Value::Null), "{lifted}");
    }
}
