//! A bounded history of the counts: a snapshot of a minute taken with the first group in it, kept for a
//! day, and the first of each hour, kept for a month. While nothing is stored nothing is written.

use serde::{Deserialize, Serialize};

use super::{Rows, Statement, StoreError, integer};
use crate::market::history::Snapshot;

/// Minutes that are kept, and minutes for which the first of each hour are.
const DAY: u64 = 1440;
const MONTH: u64 = 30 * DAY;

/// How far apart the points of a history are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Step {
    /// A day of minutes.
    Minute,
    /// A month of hours.
    Hour,
}

impl Step {
    /// By its name in a query.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Minute, Self::Hour].into_iter().find(|step| step.name() == name)
    }

    /// Its name in a query.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }

    /// Seconds.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }
}

/// The counts of now as the columns of a snapshot.
const COLUMNS: &str = "t.stored, (SELECT json_group_object(s, n) FROM ( \
      SELECT substr(c.key, 3 + instr(substr(c.key, 3), ' ')) AS s, sum(c.value) AS n \
      FROM json_each(t.counts) AS c WHERE c.key GLOB 'j *' GROUP BY 1)) AS states, \
    (SELECT json_group_object(substr(c.key, 3), c.value) FROM json_each(t.counts) AS c \
      WHERE c.key GLOB 'r [0-9]*') AS results FROM totals AS t";

/// Takes the snapshot of `minute` (minutes since 1970) unless there is one; the database knows whether it is the
/// first of its hour. With `clean` what is too old goes.
pub fn snapshot(minute: u64, clean: bool) -> Vec<Statement> {
    let mut list = vec![Statement {
        sql: format!(
            "INSERT OR IGNORE INTO history (minute, hour, stored, states, results) \
             SELECT ?1, NOT EXISTS (SELECT 1 FROM history WHERE minute >= ?2), {COLUMNS}"
        )
        .into(),
        params: vec![integer(minute), integer(minute / 60 * 60)],
    }];
    if clean {
        list.push(Statement {
            sql: "DELETE FROM history WHERE minute < ?1 AND NOT hour OR minute < ?2".into(),
            params: vec![integer(minute.saturating_sub(DAY)), integer(minute.saturating_sub(MONTH))],
        });
    }
    list
}

/// The history up to `now` (Unix seconds), which is the last snapshot; see [`decode`].
pub fn read(step: Step, now: u64) -> Vec<Statement> {
    let object = "json_object('at', at, 'stored', stored, 'states', json(states), 'results', json(results)) AS r";
    let (kept, which) = match step {
        Step::Minute => (DAY, "true"),
        Step::Hour => (MONTH, "hour"),
    };
    vec![
        Statement {
            sql: format!(
                "SELECT {object} FROM (SELECT minute * 60 AS at, stored, states, results FROM history \
                 WHERE minute >= ?1 AND {which} ORDER BY minute)"
            )
            .into(),
            params: vec![integer((now / 60).saturating_sub(kept))],
        },
        Statement {
            sql: format!("SELECT {object} FROM (SELECT cast(?1 AS INTEGER) AS at, {COLUMNS})").into(),
            params: vec![integer(now)],
        },
    ]
}

/// The answer to [`read`], in the order of time.
pub fn decode(rows: &Rows) -> Result<Vec<Snapshot>, StoreError> {
    let snapshot = |row: &String| {
        serde_json::from_str::<Snapshot>(row).map_err(|error| StoreError::new(format!("history row: {error}")))
    };
    rows.iter().flatten().map(snapshot).collect()
}
