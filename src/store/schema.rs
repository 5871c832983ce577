//! The tables and indexes that this version needs, as the migrations make them, and how those of a database
//! differ. Names every difference; mends none.

use std::collections::BTreeMap;
use std::fmt;

use super::{Statement, StoreError};
use crate::trees::Gather;

/// What brings a database from one schema to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Of its file.
    pub name: &'static str,
    /// Its statements.
    pub sql: &'static str,
}

/// Every file of `migrations/` in its order: after the first a database is of schema 1, and so on.
pub const MIGRATIONS: &[Migration] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// Differences that a message names; more are counted.
const NAMED_MAX: usize = 8;
/// What is said of each thing that is there and not needed.
const UNKNOWN: &str = "is unknown";

/// Tables, and the indexes and triggers on them, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema(BTreeMap<String, Object>);

/// A table, an index or a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    /// `table`, `index` or `trigger`.
    sort: String,
    /// The table it is on, or itself.
    table: String,
    /// What a table's parentheses hold, one text for each column and constraint, and what follows them. Of
    /// others the whole text is one.
    parts: Vec<String>,
}

/// Why a database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differences {
    /// The ways in which it differs, in words.
    all: Vec<String>,
    /// Whether it has all that is needed, and more.
    is_more: bool,
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<&str> = self.all.iter().take(NAMED_MAX).map(String::as_str).collect();
        write!(f, "it has another schema than this version needs: {}", named.join("; "))?;
        match self.all.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for Differences {}

/// Why a database is not migrated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It has had more migrations than this version knows.
    Later,
    /// It has not what the migrations make that it has had.
    Differs(Differences),
}

impl Schema {
    /// What a database has after migrations.
    pub fn after(migrations: &[Migration]) -> Self {
        let mut schema = Self::default();
        for migration in migrations {
            for statement in words(migration.sql).split(|word| word == ";") {
                schema.alter(statement);
            }
        }
        schema
    }

    /// What this version needs.
    pub fn needed() -> Self {
        Self::after(MIGRATIONS)
    }

    /// The migrations that a database lacks which has this schema and has had so many of them.
    pub fn missing<'a>(&self, had: usize, migrations: &'a [Migration]) -> Result<&'a [Migration], Unfit> {
        let (had, missing) = migrations.split_at_checked(had).ok_or(Unfit::Later)?;
        self.check(&Self::after(had)).map_err(Unfit::Differs)?;
        Ok(missing)
    }

    /// Does what a statement does to a schema. What SQLite itself makes of each migration is compared with it by a test.
    fn alter(&mut self, statement: &[String]) {
        let words: Vec<&str> = statement.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["alter", "table", table, "add", "column", column @ ..] | ["alter", "table", table, "add", column @ ..] => {
                let Some(object) = self.0.get_mut(*table) else { return };
                let behind = usize::from(object.parts.last().is_some_and(|part| is_option(part)));
                object.parts.insert(object.parts.len().saturating_sub(behind), column.join(" "));
            }
            ["alter", "table", table, "drop", "column", column] | ["alter", "table", table, "drop", column] => {
                let Some(object) = self.0.get_mut(*table) else { return };
                object.parts.retain(|part| part.split(' ').next() != Some(*column));
            }
            ["alter", "table", table, "rename", "to", name] => {
                let (on, as_on) = (format!(" on {table} "), format!(" on {name} "));
                for object in self.0.values_mut().filter(|object| object.table == *table) {
                    object.table = (*name).to_owned();
                    if object.sort != "table" {
                        object.parts.iter_mut().for_each(|part| *part = part.replace(&on, &as_on));
                    }
                }
                if let Some(object) = self.0.remove(*table) {
                    self.0.insert((*name).to_owned(), object);
                }
            }
            ["drop", "table", .., name] => self.0.retain(|_, object| object.table != *name),
            ["drop", _, .., name] => self.0.retain(|other, _| other != name),
            _ => self.0.extend(object(statement)),
        }
    }

    /// The names of its tables.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, object)| object.sort == "table").map(|(name, _)| name.as_str())
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks a database for its schema: one row for each table and index. Decode with [`decode`](Self::decode).
    pub fn read() -> Statement {
        Statement::new("SELECT sql AS r FROM sqlite_schema WHERE sql IS NOT NULL", vec![])
    }

    /// The answer to [`read`](Self::read).
    pub fn decode(rows: &[String]) -> Self {
        Self(rows.iter().filter_map(|sql| object(&words(sql))).gather())
    }

    /// Compares what a database has with what is needed. Tables that are not needed are somebody else's and
    /// no difference; what is not needed on a table that is, is one.
    pub fn check(&self, needed: &Self) -> Result<(), Differences> {
        let mut all = Vec::new();
        for (name, object) in &needed.0 {
            match self.0.get(name) {
                None => all.push(format!("{} {name} is missing", object.sort)),
                Some(found) => object.compare(name, found, &mut all),
            }
        }
        for (name, found) in self.0.iter().filter(|(name, _)| !needed.0.contains_key(*name)) {
            if needed.0.contains_key(&found.table) {
                all.push(format!("{} {name} on {} {UNKNOWN}", found.sort, found.table));
            }
        }
        let is_more = all.iter().all(|difference| difference.ends_with(UNKNOWN));
        if all.is_empty() { Ok(()) } else { Err(Differences { all, is_more }) }
    }
}

/// Checks the rows that answered [`Schema::read`] against what this version needs.
pub fn check(rows: &[String]) -> Result<(), StoreError> {
    check_for(rows, MIGRATIONS)
}

/// How many migrations a database has had, by the rows that answered [`Schema::read`]: none says more than this version knows.
pub fn had(rows: &[String]) -> Result<usize, StoreError> {
    let found = Schema::decode(rows);
    let fits = |had: &usize| MIGRATIONS.get(..*had).is_some_and(|had| found.check(&Schema::after(had)).is_ok());
    (1..=MIGRATIONS.len()).rev().find(fits).map_or_else(|| check(rows).and(Ok(MIGRATIONS.len())), Ok)
}

/// The same against what migrations make; which of them a database has had is told from its tables.
pub fn check_for(rows: &[String], migrations: &[Migration]) -> Result<(), StoreError> {
    let found = Schema::decode(rows);
    let needed = Schema::after(migrations);
    if !needed.0.keys().any(|name| found.0.contains_key(name)) {
        return Err(StoreError::new("it has no tables; apply the migrations"));
    }
    let Err(differences) = found.check(&needed) else { return Ok(()) };
    let earlier = (1..migrations.len()).rev().find_map(|version| {
        let (had, missing) = migrations.split_at_checked(version)?;
        found.check(&Schema::after(had)).ok().and(missing.first()).map(|next| (version, next.name))
    });
    Err(StoreError::new(match earlier {
        Some((version, next)) => {
            let needs = migrations.len();
            format!("it is of schema {version}, this version needs {needs}: apply the migrations, from {next} on")
        }
        None if differences.is_more => {
            format!("{differences}; a later version has written it, or somebody has changed it")
        }
        None => differences.to_string(),
    }))
}

impl Object {
    /// Names what `found` has otherwise.
    fn compare(&self, name: &str, found: &Self, all: &mut Vec<String>) {
        if self == found {
            return;
        }
        let of = |parts: &[String], others: &[String]| -> Vec<String> {
            parts.iter().filter(|part| !others.contains(part)).cloned().collect()
        };
        let (mut missing, mut unknown) = (of(&self.parts, &found.parts), of(&found.parts, &self.parts));
        let first = |part: &String| part.split(' ').next().unwrap_or_default().to_owned();
        missing.retain(|part| {
            let Some(at) = unknown.iter().position(|other| first(other) == first(part)) else { return true };
            all.push(format!("{} {name} has `{}`, not `{part}`", self.sort, unknown.remove(at)));
            false
        });
        all.extend(missing.iter().map(|part| format!("{} {name} lacks `{part}`", self.sort)));
        all.extend(unknown.iter().map(|part| format!("{} {name} has `{part}`, which {UNKNOWN}", self.sort)));
        if of(&self.parts, &found.parts).is_empty() && of(&found.parts, &self.parts).is_empty() {
            all.push(format!("{} {name} has its columns in another order", self.sort));
        }
    }
}

/// What a statement makes, with its name; nothing if it makes nothing.
fn object(words: &[String]) -> Option<(String, Object)> {
    let rest = words.strip_prefix(&["create".to_owned()])?;
    let rest = rest.iter().map(String::as_str).filter(|word| *word != "unique").collect::<Vec<_>>();
    let (sort, name) = (*rest.first()?, (*rest.get(1)?).to_owned());
    let on = rest.iter().position(|word| *word == "on").and_then(|at| rest.get(at + 1));
    match sort {
        "table" => {
            let object = Object { sort: sort.to_owned(), table: name.clone(), parts: columns(rest.get(2..)?) };
            Some((name, object))
        }
        "index" | "trigger" => {
            let object = Object { sort: sort.to_owned(), table: (*on?).to_owned(), parts: vec![words.join(" ")] };
            Some((name, object))
        }
        _ => None,
    }
}

/// Whether it is what may follow a table's parentheses.
fn is_option(part: &str) -> bool {
    part.split(" , ").all(|option| matches!(option, "without rowid" | "strict"))
}

/// What stands in a table's parentheses, apart at its commas, and what follows them.
fn columns(words: &[&str]) -> Vec<String> {
    let (mut parts, mut depth) = (vec![Vec::new()], 0_usize);
    for word in words {
        let before = depth;
        match *word {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let splits = before.min(depth) == 0 && before.max(depth) == 1 || *word == "," && depth == 1;
        match parts.last_mut() {
            Some(last) if !splits => last.push(*word),
            _ => parts.push(Vec::new()),
        }
    }
    parts.iter().map(|part| part.join(" ")).filter(|part| !part.is_empty()).collect()
}

/// The words and signs of SQL in one form, whoever has written it: small letters outside of strings, names without
/// quotes, no comments.
fn words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = sql.chars().peekable();
    while let Some(char) = rest.next() {
        let mut word = String::new();
        match char {
            '-' if rest.peek() == Some(&'-') => {
                rest.by_ref().find(|char| *char == '\n');
                continue;
            }
            '/' if rest.peek() == Some(&'*') => {
                let mut last = ' ';
                rest.by_ref().skip(1).find(|char| std::mem::replace(&mut last, *char) == '*' && *char == '/');
                continue;
            }
            char if char.is_whitespace() => continue,
            '\'' => {
                word.push(char);
                word.extend(rest.by_ref().take_while(|char| *char != '\''));
                word.push(char);
            }
            '"' | '`' => word.extend(rest.by_ref().take_while(|inner| *inner != char).flat_map(char::to_lowercase)),
            char if is_of_word(char) => {
                word.extend(char.to_lowercase());
                while let Some(char) = rest.next_if(|char| is_of_word(*char)) {
                    word.extend(char.to_lowercase());
                }
            }
            char => word.push(char),
        }
        words.push(word);
    }
    words
}

fn is_of_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(texts: &[&str]) -> Schema {
        Schema::decode(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    fn told(found: &[&str], needed: &[&str]) -> Vec<String> {
        schema(found).check(&schema(needed)).err().map(|differences| differences.all).unwrap_or_default()
    }

    #[test]
    fn the_way_it_is_written_is_no_difference() {
        let needed = "CREATE TABLE t (a TEXT NOT NULL, -- what, and why\n b INTEGER CHECK (b = 1), PRIMARY KEY (a, b)) WITHOUT ROWID";
        let other = "create table \"t\"(a text/* , */not null,b integer check(b=1),primary key(a,b))without rowid";
        assert_eq!(told(&[other], &[needed]), Vec::<String>::new());
    }

    #[test]
    fn each_difference_is_named() {
        let needed = [
            "CREATE TABLE t (a TEXT NOT NULL, b INTEGER, c TEXT DEFAULT 'B  b')",
            "CREATE UNIQUE INDEX i ON t (a, b) WHERE a > 1",
            "CREATE TABLE u (a TEXT)",
            "CREATE INDEX j ON t (b)",
        ];
        let found = [
            "CREATE TABLE t (b TEXT, c TEXT DEFAULT 'b b', d TEXT)",
            "CREATE INDEX i ON t (a, b) WHERE a > 1",
            "CREATE INDEX k ON t (c)",
            "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT 1; END",
            "CREATE TABLE _cf_KV (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID",
            "CREATE INDEX l ON _cf_KV (value)",
        ];
        assert_eq!(
            told(&found, &needed),
            [
                "index i has `create index i on t ( a , b ) where a > 1`, not `create unique index i on t ( a , b ) where a > 1`",
                "index j is missing",
                "table t has `b text`, not `b integer`",
                "table t has `c text default 'b b'`, not `c text default 'B  b'`",
                "table t lacks `a text not null`",
                "table t has `d text`, which is unknown",
                "table u is missing",
                "index k on t is unknown",
                "trigger r on t is unknown",
            ]
        );
        assert_eq!(
            told(&["CREATE TABLE t (b TEXT, a TEXT)"], &["CREATE TABLE t (a TEXT, b TEXT)"]),
            ["table t has its columns in another order"]
        );
        assert_eq!(
            told(&["CREATE TABLE t (a TEXT PRIMARY KEY)"], &["CREATE TABLE t (a TEXT PRIMARY KEY) WITHOUT ROWID"]),
            ["table t lacks `without rowid`"]
        );
    }

    #[test]
    fn many_are_counted() {
        let error = Schema::default().check(&Schema::needed()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("table dealings is missing; "), "{text}");
        assert!(text.ends_with(&format!("; and {} more", error.all.len() - NAMED_MAX)), "{text}");
    }
}
