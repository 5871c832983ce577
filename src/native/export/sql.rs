//! Whole databases as files of SQL that `wrangler d1 execute --file` takes: every row of every table as it is, counts and
//! history among them. Knows of no table what it means, but of the one that no relay can do without: it is taken away first
//! and put back last, so a database that has not all of it yet, or too much, is one that the relay does not use.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::message::PartitionId;
use crate::native::backup::cause;
use crate::native::bar::Bar;
use crate::native::env::Settings;
use crate::native::{Failed, sqlite};
use crate::store::schema::Schema;

/// Bytes of a statement at the most: D1 takes 100,000.
const STATEMENT: usize = 90_000;
/// Bytes of a value, as SQL, that stand in the statement of its row; the rest is put behind them by others. Four such values
/// fit.
const CHUNK: usize = 20_000;
/// Bytes of a file: what wrangler reads, and sends to D1, at once.
const PIECE: u64 = 50_000_000;
/// The table that the relay does not do without.
const LAST: &str = "totals";

/// Writes the databases of all partitions into a folder, each as it is at one moment.
pub fn export_sql(settings: &Settings, folder: &Path) -> Result<(), Failed> {
    fs::create_dir_all(folder).map_err(|error| cause(folder, &error))?;
    if fs::read_dir(folder).map_err(|error| cause(folder, &error))?.next().is_some() {
        return Err(format!("{} is not empty: name another folder", folder.display()).into());
    }
    // Home first, as a backup does it.
    let names = PartitionId::all(settings.config.partitions).map(|it| (it, settings.path_of(it)));
    let held = names.map(|(partition, path)| {
        let (db, lacks) = sqlite::hold(&path)?;
        match lacks {
            0 => Ok((partition, db)),
            _ => Err(format!("{} is of an earlier version: run `nexus migrate` first", path.display()).into()),
        }
    });
    let held = held.collect::<Result<Vec<_>, Failed>>()?;
    let all: u64 = held.iter().filter_map(|(_, db)| sqlite::size(db)).sum();
    let mut bar = Bar::new(all, 0, "rows", 0);
    let mut rows = 0;
    for (partition, db) in &held {
        let binding = binding(*partition);
        let mut pieces = Pieces::of(folder, &binding)?;
        rows += write_all(db, &mut pieces, |bytes| bar.show(bytes.min(all), rows))?;
        let files = pieces.end()?;
        println!("{files} {} for {binding}:", if files == 1 { "file" } else { "files" });
        println!(
            "  for file in {}/{binding}-*.sql; do npx nexus-relay wrangler d1 execute {binding} --remote --yes --file \"$file\" \
             || break; done",
            folder.display()
        );
    }
    bar.end();
    Ok(())
}

/// The binding of a partition's database, as scripts/config.mjs names it.
fn binding(partition: PartitionId) -> String {
    match partition {
        PartitionId(0) => "DB".to_owned(),
        PartitionId(n) => format!("DB_{n}"),
    }
}

/// Files of SQL that are done one after the other.
struct Pieces {
    folder: PathBuf,
    binding: String,
    number: u32,
    bytes: u64,
    file: BufWriter<File>,
}

impl Pieces {
    fn of(folder: &Path, binding: &str) -> Result<Self, Failed> {
        let (folder, binding) = (folder.to_owned(), binding.to_owned());
        let file = begin(&folder, &binding, 1)?;
        Ok(Self { folder, binding, number: 1, bytes: 0, file })
    }

    /// Writes a statement, and those that belong into the same file.
    fn put(&mut self, statements: &[String]) -> Result<(), Failed> {
        let bytes: usize = statements.iter().map(String::len).sum();
        if self.bytes > 0 && self.bytes + bytes as u64 > PIECE {
            self.close()?;
            self.number += 1;
            self.file = begin(&self.folder, &self.binding, self.number)?;
            self.bytes = 0;
        }
        for statement in statements {
            writeln!(self.file, "{statement}").map_err(|error| cause(&self.folder, &error))?;
        }
        self.bytes += bytes as u64;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failed> {
        self.file.flush().and_then(|()| self.file.get_ref().sync_all()).map_err(|error| cause(&self.folder, &error))
    }

    /// How many files there are.
    fn end(mut self) -> Result<u32, Failed> {
        self.close()?;
        Ok(self.number)
    }
}

fn begin(folder: &Path, binding: &str, number: u32) -> Result<BufWriter<File>, Failed> {
    let path = folder.join(format!("{binding}-{number:04}.sql"));
    let file = File::options().write(true).create_new(true).open(&path).map_err(|error| cause(&path, &error))?;
    Ok(BufWriter::new(file))
}

/// Writes all rows; answers how many there were. `told` is told the bytes that are written, now and then.
fn write_all(db: &Connection, pieces: &mut Pieces, mut told: impl FnMut(u64)) -> Result<u64, Failed> {
    let needed = Schema::needed();
    let tables: Vec<&str> = needed.tables().filter(|table| *table != LAST).collect();
    pieces.put(&[
        "-- Into a database that has its tables, and nothing else. It fails of version where a relay has written to it.".to_owned(),
        format!("DELETE FROM {LAST} WHERE version = 0;"),
        format!("UPDATE {LAST} SET version = NULL;"),
    ])?;
    let (mut all, mut is_whole, mut bytes) = (0, Vec::new(), 0);
    for table in tables {
        let columns = columns(db, table)?;
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let head = format!("INSERT OR REPLACE INTO {table} ({}) VALUES", names.join(", "));
        let mut select = db.prepare(&format!("SELECT {} FROM {table}", names.join(", ")))?;
        let mut rows = select.query([])?;
        let (mut insert, mut count) = (String::new(), 0_u64);
        while let Some(row) = rows.next()? {
            let values = (0..columns.len()).map(|n| row.get_ref(n)).collect::<Result<Vec<_>, _>>()?;
            let (text, more) = row_of(table, &columns, &values);
            if !more.is_empty() || insert.len() + text.len() > STATEMENT {
                end(&mut insert, pieces)?;
            }
            let _ = write!(insert, "{}{text}", if insert.is_empty() { head.as_str() } else { "," });
            if !more.is_empty() {
                let first = std::mem::take(&mut insert) + ";";
                pieces.put(&[vec![first], more].concat())?;
            }
            count += 1;
            bytes += text.len() as u64;
            told(bytes);
        }
        end(&mut insert, pieces)?;
        is_whole.push(format!("(SELECT count(*) FROM {table}) = {count}"));
        all += count;
    }
    pieces.put(&last(db, &is_whole)?)?;
    Ok(all)
}

fn end(insert: &mut String, pieces: &mut Pieces) -> Result<(), Failed> {
    if insert.is_empty() {
        return Ok(());
    }
    pieces.put(&[std::mem::take(insert) + ";"])
}

/// The row without which no relay goes on, unless rows are missing: then it has no version, which D1 refuses.
fn last(db: &Connection, is_whole: &[String]) -> Result<Vec<String>, Failed> {
    let columns = columns(db, LAST)?;
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let list = names.join(", ");
    let mut select = db.prepare(&format!("SELECT {list} FROM {LAST}"))?;
    let mut rows = select.query([])?;
    let row = rows.next()?.ok_or("the database has no totals")?;
    let values = (0..columns.len()).map(|n| row.get_ref(n)).collect::<Result<Vec<_>, _>>()?;
    let (text, more) = row_of(LAST, &columns, &values);
    let inner = names.iter().map(|name| match *name {
        "version" => format!("iif({}, version, NULL)", is_whole.join(" AND ")),
        name => name.to_owned(),
    });
    let inner = inner.collect::<Vec<_>>().join(", ");
    let first = format!("WITH row ({list}) AS (VALUES{text}) INSERT INTO {LAST} ({list}) SELECT {inner} FROM row;");
    Ok([vec!["-- It fails of version where a file before this one was left out.".to_owned(), first], more].concat())
}

/// A column, and whether it is of the primary key.
struct Column {
    name: String,
    is_key: bool,
}

fn columns(db: &Connection, table: &str) -> Result<Vec<Column>, rusqlite::Error> {
    let mut select = db.prepare("SELECT name, pk > 0 FROM pragma_table_info(?1)")?;
    let columns = select.query_map([table], |row| Ok(Column { name: row.get(0)?, is_key: row.get(1)? }))?;
    columns.collect()
}

/// A row in parentheses, and statements that put behind its long values what did not fit.
fn row_of(table: &str, columns: &[Column], values: &[ValueRef]) -> (String, Vec<String>) {
    let (mut row, mut more) = (Vec::new(), Vec::new());
    let of_row = || {
        let keys = columns.iter().zip(values).filter(|(column, _)| column.is_key);
        keys.map(|(column, value)| format!("{} = {}", column.name, whole(value))).collect::<Vec<_>>().join(" AND ")
    };
    for (column, value) in columns.iter().zip(values) {
        let mut parts = parts(value).into_iter();
        row.push(parts.next().unwrap_or_default());
        let Column { name, .. } = column;
        more.extend(parts.map(|part| match value {
            ValueRef::Blob(_) => {
                format!("UPDATE {table} SET {name} = CAST({name} || {part} AS BLOB) WHERE {};", of_row())
            }
            _ => format!("UPDATE {table} SET {name} = {name} || {part} WHERE {};", of_row()),
        }));
    }
    (format!("({})", row.join(",")), more)
}

/// A value that is not long.
fn whole(value: &ValueRef) -> String {
    parts(value).concat()
}

/// A value as SQL, in parts that are put together again.
fn parts(value: &ValueRef) -> Vec<String> {
    match value {
        ValueRef::Null => vec!["NULL".to_owned()],
        ValueRef::Integer(number) => vec![number.to_string()],
        ValueRef::Real(number) => vec![format!("{number:?}")],
        ValueRef::Text(text) if is_plain(text) => {
            let chunks = text.chunks(CHUNK).map(|chunk| format!("'{}'", String::from_utf8_lossy(chunk)));
            or_empty(chunks, "''")
        }
        ValueRef::Text(text) => {
            let chunks = text.chunks(CHUNK / 2).map(|chunk| format!("CAST(X'{}' AS TEXT)", hex::encode(chunk)));
            or_empty(chunks, "''")
        }
        ValueRef::Blob(bytes) => {
            let chunks = bytes.chunks(CHUNK / 2).map(|chunk| format!("X'{}'", hex::encode(chunk)));
            or_empty(chunks, "X''")
        }
    }
}

fn or_empty(chunks: impl Iterator<Item = String>, empty: &str) -> Vec<String> {
    let chunks: Vec<String> = chunks.collect();
    if chunks.is_empty() { vec![empty.to_owned()] } else { chunks }
}

/// Whether a text is the same whoever splits SQL at what ends statements: wrangler takes `BEGIN TRANSACTION` out wherever it
/// stands, and what else stands in an event is its author's to choose.
fn is_plain(text: &[u8]) -> bool {
    let is_odd = |byte: &u8| !matches!(byte, b' '..=b'~') || matches!(byte, b'\'' | b';' | b'\\' | b'`' | b'?');
    let has = |words: &[u8]| text.windows(words.len()).any(|window| window.eq_ignore_ascii_case(words));
    !text.iter().any(is_odd) && ![&b"--"[..], b"/*", b"begin", b"commit"].iter().any(|words| has(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_however_long_and_odd() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t (a INTEGER, k TEXT, v, w, PRIMARY KEY (k, a)) WITHOUT ROWID").unwrap();
        let columns = columns(&db, "t").unwrap();
        let texts = ["", "plain", "it's; -- odd", "BEGIN TRANSACTION;COMMIT;", "\u{1}\n\u{2028}ü🙂\\", "-?`"];
        let long: Vec<String> = texts.iter().map(|text| text.repeat(20_000)).collect();
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        for (n, text) in texts.iter().map(|text| (*text).to_owned()).chain(long).enumerate() {
            for value in [
                ValueRef::Text(text.as_bytes()),
                ValueRef::Null,
                ValueRef::Integer(-5),
                ValueRef::Real(1.0),
                ValueRef::Blob(&bytes),
                ValueRef::Blob(b""),
            ] {
                let row =
                    [ValueRef::Integer(n as i64), ValueRef::Text(b"it's"), value, ValueRef::Text(text.as_bytes())];
                let (first, more) = row_of("t", &columns, &row);
                db.execute_batch("DELETE FROM t").unwrap();
                for statement in [vec![format!("INSERT INTO t VALUES{first}")], more].concat() {
                    assert!(statement.len() < 100_000 && statement.is_ascii() && !statement.contains("BEGIN"), "{n}");
                    db.execute_batch(&statement).unwrap();
                }
                let same = |row: &rusqlite::Row| {
                    Ok(row.get_ref(2)? == value && row.get_ref(3)? == ValueRef::Text(text.as_bytes()))
                };
                assert!(db.query_row("SELECT * FROM t", [], same).unwrap(), "{n} {value:?}");
            }
        }
    }
}
