//! Where the text a connection is remembered by is kept: in the socket's attachment, or, when that is
//! too small for it, in the object's own SQLite with a mark in the attachment.

use worker::{Result, SqlStorage, WebSocket};

use crate::gateway::{ConnId, MAX_ATTACHED};

/// Says that the text is in the table. No attachment text is this.
const SPILLED: &str = "@";

/// Makes the table; costs nothing when it is there.
pub fn prepare(sql: &SqlStorage) -> Result<()> {
    sql.exec("CREATE TABLE IF NOT EXISTS attachments (conn TEXT PRIMARY KEY, text TEXT NOT NULL)", None)?;
    Ok(())
}

/// Keeps `text` in place of what was kept.
pub fn save(sql: &SqlStorage, socket: &WebSocket, conn: ConnId, text: &str) -> Result<()> {
    let spilled = load_attached(socket)?.as_deref() == Some(SPILLED);
    if serialized_size(text) <= MAX_ATTACHED {
        socket.serialize_attachment(text)?;
        if spilled {
            remove(sql, conn)?;
        }
        return Ok(());
    }
    sql.exec(
        "INSERT OR REPLACE INTO attachments (conn, text) VALUES (?, ?)",
        vec![conn.to_string().into(), text.into()],
    )?;
    if spilled { Ok(()) } else { socket.serialize_attachment(SPILLED) }
}

/// What was kept; empty when nothing was.
pub fn load(sql: &SqlStorage, socket: &WebSocket, conn: ConnId) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Row {
        text: String,
    }
    let attached = load_attached(socket)?.unwrap_or_default();
    if attached != SPILLED {
        return Ok(attached);
    }
    let cursor = sql.exec("SELECT text FROM attachments WHERE conn = ?", vec![conn.to_string().into()])?;
    Ok(cursor.to_array::<Row>()?.into_iter().next().map(|row| row.text).unwrap_or_default())
}

/// Forgets a connection that is gone.
pub fn forget(sql: &SqlStorage, socket: &WebSocket, conn: ConnId) -> Result<()> {
    if load_attached(socket)?.as_deref() == Some(SPILLED) { remove(sql, conn) } else { Ok(()) }
}

/// Removes what is kept of connections that are not among `open`, as after a deploy.
pub fn sweep(sql: &SqlStorage, open: &[ConnId]) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Row {
        conn: String,
    }
    for row in sql.exec("SELECT conn FROM attachments", None)?.to_array::<Row>()? {
        if !ConnId::parse(&row.conn).is_some_and(|conn| open.contains(&conn)) {
            sql.exec("DELETE FROM attachments WHERE conn = ?", vec![row.conn.into()])?;
        }
    }
    Ok(())
}

fn remove(sql: &SqlStorage, conn: ConnId) -> Result<()> {
    sql.exec("DELETE FROM attachments WHERE conn = ?", vec![conn.to_string().into()])?;
    Ok(())
}

fn load_attached(socket: &WebSocket) -> Result<Option<String>> {
    socket.deserialize_attachment()
}

/// V8 writes a string with one byte a character when all are Latin-1, else with two.
fn serialized_size(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { 2 * text.encode_utf16().count() }
}
