//! Files of SQL that `wrangler d1 export` writes, statement by statement: one may be larger than there is memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use rusqlite::Connection;

use super::Failed;
use super::bar::Bar;

/// Where in SQL a byte is.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    /// In none of these.
    Statement,
    /// In what ends with the same quotation mark.
    Quotes(u8),
    /// Behind `--`.
    Comment,
}

/// Statements of a file one after the other.
struct Statements<R> {
    source: R,
    /// Of the file, so far.
    bytes: u64,
    begun: Vec<u8>,
    within: Within,
}

impl<R: BufRead> Statements<R> {
    fn of(source: R) -> Self {
        Self { source, bytes: 0, begun: Vec::new(), within: Within::Statement }
    }

    /// The next one with what ends it, or the rest of the file; nothing at its end.
    fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        loop {
            let chunk = self.source.fill_buf()?;
            if chunk.is_empty() {
                let rest = std::mem::take(&mut self.begun);
                return Ok(Some(rest).filter(|rest| !rest.trim_ascii().is_empty()));
            }
            let mut taken = 0;
            let mut ended = false;
            for byte in chunk {
                taken += 1;
                // SQLite reads no further than this byte, which may stand in a text.
                match (self.within, byte) {
                    (Within::Quotes(b'\''), 0) => self.begun.extend_from_slice(b"'||char(0)||'"),
                    _ => self.begun.push(*byte),
                }
                match (self.within, byte) {
                    (Within::Statement, b';') => ended = true,
                    (Within::Statement, b'\'' | b'"') => self.within = Within::Quotes(*byte),
                    (Within::Statement, b'-') if self.begun.ends_with(b"--") => self.within = Within::Comment,
                    (Within::Quotes(mark), byte) if mark == *byte => self.within = Within::Statement,
                    (Within::Comment, b'\n') => self.within = Within::Statement,
                    _ => {}
                }
                if ended {
                    break;
                }
            }
            self.source.consume(taken);
            self.bytes += taken as u64;
            if ended {
                return Ok(Some(std::mem::take(&mut self.begun)));
            }
        }
    }
}

/// Does what a file says to a database, as one transaction.
pub fn load(db: &Connection, file: &Path) -> Result<(), Failed> {
    let of = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let wrong = |error: rusqlite::Error| of(&format!("not what D1 exports: {error}"));
    let source = File::open(file).map_err(|error| of(&error))?;
    let size = source.metadata().map_err(|error| of(&error))?.len();
    let mut bar = Bar::new(size, 0, "statements", 0);
    let mut statements = Statements::of(BufReader::with_capacity(1 << 20, source));
    let mut count = 0;
    db.execute_batch("BEGIN").map_err(wrong)?;
    while let Some(statement) = statements.next().map_err(|error| of(&error))? {
        let sql = String::from_utf8(statement).map_err(|_| of(&"not what D1 exports: it is not UTF-8"))?;
        // All of it is one transaction, as it may say itself.
        if !["BEGIN TRANSACTION;", "COMMIT;"].contains(&sql.trim()) {
            db.execute_batch(&sql).map_err(wrong)?;
        }
        count += 1;
        bar.show(statements.bytes, count);
    }
    db.execute_batch("COMMIT").map_err(wrong)?;
    bar.end();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_where_sqlite_ends_them() {
        let all = [
            "CREATE TABLE t (a TEXT -- it's a; comment\n);",
            "\nINSERT INTO \"t;\" VALUES ('a;b -- ''c''', x'00');",
            "INSERT INTO t VALUES(replace('a\\nb','\\n',char(10)));",
            " SELECT 1 - -1 -- the rest",
        ];
        for capacity in [1, 3, 1000] {
            let text = all.concat();
            let mut statements = Statements::of(BufReader::with_capacity(capacity, text.as_bytes()));
            let mut found = Vec::new();
            while let Some(statement) = statements.next().unwrap() {
                found.push(String::from_utf8(statement).unwrap());
            }
            assert_eq!(found, all);
            assert_eq!(statements.bytes, text.len() as u64);
        }
    }

    #[test]
    fn a_text_may_have_nul() {
        let db = Connection::open_in_memory().unwrap();
        let path = std::env::temp_dir().join(format!("nexus-nul-{}.sql", std::process::id()));
        std::fs::write(
            &path,
            "BEGIN TRANSACTION;\nCREATE TABLE t (a TEXT);\nINSERT INTO t VALUES('\0a''\0');\nCOMMIT;\n",
        )
        .unwrap();
        load(&db, &path).unwrap();
        let bytes: Vec<u8> = db.query_row("SELECT CAST(a AS BLOB) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(bytes, b"\0a'\0");
        std::fs::remove_file(path).unwrap();
    }
}
