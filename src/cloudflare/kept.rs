//! What an object keeps in its own storage of its links to others: its incarnation, and of a partition which gateways have
//! clients and how far all of them were told.

use worker::{Result, SqlStorage};

use crate::link::Incarnation;
use crate::node::{Address, Keep};

/// Numbers of incarnations that one life may use.
const OF_A_LIFE: u64 = 1 << 20;
const INCARNATION: &str = "incarnation";
const TOLD: &str = "told";
const GATEWAY: &str = "gateway ";

/// What is kept.
pub struct Kept {
    /// That of the life which begins: above all before.
    pub incarnation: Incarnation,
    /// Gateways that have clients.
    pub gateways: Vec<Address>,
    /// Up to which number they have been told of everything.
    pub told: u64,
}

#[derive(serde::Deserialize)]
struct Row {
    name: String,
    value: f64,
}

/// A life begins.
pub fn begin(sql: &SqlStorage) -> Result<Kept> {
    sql.exec("CREATE TABLE IF NOT EXISTS links (name TEXT PRIMARY KEY, value INTEGER NOT NULL)", None)?;
    let next = "INSERT INTO links VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1";
    sql.exec(next, vec![INCARNATION.into()])?;
    let mut kept = Kept { incarnation: Incarnation(0), gateways: Vec::new(), told: 0 };
    for Row { name, value } in sql.exec("SELECT name, value FROM links", None)?.to_array::<Row>()? {
        let value = value as u64;
        match name.as_str() {
            INCARNATION => kept.incarnation = Incarnation(value * OF_A_LIFE),
            TOLD => kept.told = value,
            name => kept.gateways.extend(name.strip_prefix(GATEWAY).and_then(|n| n.parse().ok()).map(Address)),
        }
    }
    Ok(kept)
}

/// Keeps something.
pub fn keep(sql: &SqlStorage, keep: Keep) -> Result<()> {
    let set = |name: String, value: u64| {
        let statement = "INSERT OR REPLACE INTO links (name, value) VALUES (?, ?)";
        sql.exec(statement, vec![name.into(), (value as f64).into()])
    };
    match keep {
        Keep::Told(upto) => set(TOLD.to_owned(), upto),
        Keep::Gateway(Address(n)) => set(format!("{GATEWAY}{n}"), 1),
        Keep::Gone(Address(n)) => sql.exec("DELETE FROM links WHERE name = ?", vec![format!("{GATEWAY}{n}").into()]),
    }?;
    Ok(())
}
