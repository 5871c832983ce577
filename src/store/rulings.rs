//! What the operator has decided (`moderation`), and who did what when.

use std::sync::Arc;

use serde_json::json;

use super::{Param, Statement, StoreError, hex, integer, json_text};
use crate::moderation::{Act, Ruling, Rulings, Sort};
use crate::nostr::{EventId, MAX_INTEGER};

/// Acts that are kept.
const ACTS_MAX: u64 = 10_000;
/// Seconds for which an act is remembered by its id, so that it is not done again: more than it may be dated off (NIP-98).
pub const REPEATED_WITHIN: u64 = 200;

/// Reads all rulings, and the ids of acts since a time in Unix seconds.
pub fn read(since: u64) -> Statement {
    // From the last one back: what was done long ago is not read.
    let sql = format!(
        "SELECT sort || ':' || item AS r FROM rulings UNION ALL SELECT ':' || {} FROM acts \
         WHERE number > coalesce((SELECT number FROM acts WHERE at < ?1 ORDER BY number DESC LIMIT 1), 0) AND \
         number > (SELECT max(number) FROM acts) - 1000",
        hex("id")
    );
    Statement::new(sql, vec![integer(since)])
}

/// The rulings and the ids of acts in the rows of [`read`].
pub fn decode(rows: &[String]) -> Result<(Rulings, Vec<EventId>), StoreError> {
    let (mut rulings, mut acts) = (Rulings::default(), Vec::new());
    for row in rows {
        let unreadable = || StoreError::new(format!("the ruling {row:?} cannot be read"));
        match row.split_once(':').ok_or_else(unreadable)? {
            ("", id) => acts.push(EventId::parse(id).ok_or_else(unreadable)?),
            (word, item) => {
                let sort = Sort::of_word(word).ok_or_else(unreadable)?;
                rulings.add(Ruling::of(sort, item).ok_or_else(unreadable)?);
            }
        }
    }
    Ok((rulings, acts))
}

/// Reads what is ruled of a sort, each as the management API gives it.
pub fn of_sort(sort: Sort) -> Statement {
    let named = |name: &str| {
        format!(
            "SELECT json_object('{name}', item, 'reason', reason, 'since', since) AS r \
             FROM rulings WHERE sort = ?1 ORDER BY since, item"
        )
    };
    let sql = match sort {
        Sort::BannedKey | Sort::AllowedKey => named("pubkey"),
        Sort::BannedEvent => named("id"),
        Sort::BlockedNetwork => named("ip"),
        Sort::DisallowedKind => {
            "SELECT item AS r FROM rulings WHERE sort = ?1 ORDER BY CAST(item AS INTEGER)".to_owned()
        }
        Sort::Manager => {
            "SELECT json_object('pubkey', substr(item, 1, 64), 'methods', json_group_array(substr(item, 66))) AS r \
             FROM rulings WHERE sort = ?1 GROUP BY substr(item, 1, 64)"
                .to_owned()
        }
    };
    Statement::new(sql, vec![Param::Text(sort.word().into())])
}

/// Reads the last so many acts, or those before a number, each as the management API gives it.
pub fn acts(before: Option<u64>, count: u64) -> Statement {
    let sql = format!(
        "SELECT json_object('number', number, 'at', at, 'by', {}, 'method', method, 'params', json(params)) AS r \
         FROM acts WHERE number < ?1 ORDER BY number DESC LIMIT ?2",
        hex("actor")
    );
    Statement::new(sql, vec![integer(before.unwrap_or(MAX_INTEGER)), integer(count)])
}

/// Does what acts rule, and notes them.
pub(super) fn put(acts: &[(EventId, u64, Arc<Act>)]) -> Vec<Statement> {
    let mut list = Vec::new();
    for (id, at, act) in acts {
        for (ruling, reason) in &act.rulings {
            let (sort, item) = (Param::Text(ruling.sort().word().into()), Param::Text(ruling.to_string().into()));
            list.push(match reason {
                Some(reason) => Statement::new(
                    "INSERT INTO rulings (sort, item, reason, since) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (sort, item) DO UPDATE SET reason = excluded.reason",
                    vec![sort, item, Param::Text(reason.as_str().into()), integer(*at)],
                ),
                None => Statement::new("DELETE FROM rulings WHERE sort = ?1 AND item = ?2", vec![sort, item]),
            });
        }
        let params = json_text(&json!([id, at, act.by, act.method.name(), act.params]));
        list.push(Statement::new(
            "INSERT INTO acts (id, at, actor, method, params) \
             SELECT unhex(?1->>0), ?1->>1, unhex(?1->>2), ?1->>3, ?1->>4",
            vec![Param::Text(params.into())],
        ));
    }
    if !acts.is_empty() {
        let sql = "DELETE FROM acts WHERE number <= (SELECT max(number) FROM acts) - ?1";
        list.push(Statement::new(sql, vec![integer(ACTS_MAX)]));
    }
    list
}
