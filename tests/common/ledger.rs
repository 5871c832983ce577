//! Work on a database without an engine: what has to be known is read, decided, and written.

use std::sync::Arc;

use nexus::ledger::{Change, Changes, Decision, Facts, Mode, Needed, NewEvent, Outcome, Work};
use nexus::market::job::NIP90;
use nexus::market::retention::{Kept, Retention};
use nexus::nostr::{Event, EventId};
use nexus::store::counts::{self, Flush, Position};
use nexus::store::log::Write;
use nexus::store::{Statement, facts, write};

use super::events::new_event;
use super::{Database, write_after};

/// What was written.
pub struct Committed {
    pub before: Position,
    pub decision: Decision,
    pub after: Position,
}

impl Committed {
    pub fn outcome(&self, id: &EventId) -> Outcome {
        self.decision.outcomes[id]
    }

    /// What happened to events that were there before.
    pub fn changes(&self) -> &[Change] {
        &self.decision.events
    }
}

/// A group of events as clients send them.
pub fn group(events: &[&Event]) -> Work {
    new_group(events.iter().map(|event| new_event(event)))
}

pub fn new_group(events: impl IntoIterator<Item = NewEvent>) -> Work {
    Work::Events(events.into_iter().map(Arc::new).collect(), Mode::New)
}

/// The totals row.
pub fn position(db: &mut dyn Database) -> Position {
    counts::decode(&db.run(&[counts::read()]).unwrap()).unwrap()
}

/// What a database knows of what is needed for some work.
pub fn facts_for(db: &mut dyn Database, work: &Work) -> Facts {
    let needed = work.needed();
    let statements = facts::statements(&needed, true);
    let rows = if statements.is_empty() { Vec::new() } else { db.run(&statements).unwrap() };
    facts::decode(&needed, true, &rows).unwrap().expect("no group is too large here")
}

/// Whether statements ask what has to be known before something is written.
pub fn asks_facts(statements: &[Statement]) -> bool {
    let group = Needed { ids: [EventId::new([0; 32])].into(), ..Needed::default() };
    let removal = Needed { seqs: [1].into(), ..Needed::default() };
    let first = |needed: &Needed| facts::statements(needed, false)[0].sql.clone();
    statements.first().is_some_and(|asked| [group, removal].iter().any(|needed| first(needed) == asked.sql))
}

/// Decides some work by what a database knows now, and says how it is written; nothing is written yet.
pub fn prepare(db: &mut dyn Database, work: &Work, flush: &Flush, by: &Write) -> (Vec<Statement>, Committed) {
    prepare_kept(db, work, flush, &for_ever(), by)
}

/// The same where events of jobs are kept for some time.
pub fn prepare_kept(
    db: &mut dyn Database,
    work: &Work,
    flush: &Flush,
    kept: &Kept,
    by: &Write,
) -> (Vec<Statement>, Committed) {
    let before = position(db);
    let decision = work.decide(before.totals.last_seq, facts_for(db, work));
    let (statements, after) = write::statements(&decision.changes, &before, flush, kept, by);
    (statements, Committed { before, decision, after })
}

/// Writes some work, of one that has the log to itself; what changes nothing is not written.
pub fn carry_out(db: &mut dyn Database, work: &Work) -> Committed {
    let write = write_after(&position(db).totals);
    let (statements, committed) = prepare(db, work, &Flush::default(), &write);
    if committed.decision.changes.is_empty() {
        return Committed { after: committed.before.clone(), ..committed };
    }
    db.run(&statements).unwrap();
    committed
}

/// Events of jobs are kept for ever.
pub fn for_ever() -> Kept {
    Retention { requests: 0, feedback: 0, results: 0, handlers: 0, others: 0 }.of_jobs(&NIP90)
}

/// Writes what was counted, and nothing else.
pub fn save(db: &mut dyn Database, flush: &Flush, by: &Write) -> Vec<Statement> {
    write::statements(&Changes::default(), &position(db), flush, &for_ever(), by).0
}
