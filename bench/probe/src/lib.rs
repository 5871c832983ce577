//! What the Worker of the limits (`worker.js`) calls: verifications, and the statements of a group.
//! No bindings: numbers go in and out, and texts by their place in memory.

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;

use nexus::ledger::{Memory, Mode, NewEvent, Work};
use nexus::market::job::NIP90;
use nexus::market::retention::{Kept, Retention};
use nexus::nostr::{Event, EventId, PublicKey, Signature, Tag};
use nexus::store::counts::{Flush, Position, Totals};
use nexus::store::log::{Write, WriteName};
use nexus::store::{Param, Statement, facts, write};
use secp256k1::{Keypair, schnorr};
use sha2::{Digest, Sha256};

/// Bytes of what is remembered of facts, as in an object.
const MEMORY_BYTES: usize = 1 << 20;

thread_local! {
    static EVENTS: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
    static TEXT: RefCell<String> = const { RefCell::new(String::new()) };
    static MEMORY: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

/// Events of jobs are kept as long as where the settings are not touched.
fn kept() -> Kept {
    let day = 86_400;
    Retention { requests: day, feedback: day, results: 7 * day, handlers: 0, others: 0 }.of_jobs(&NIP90)
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The `n`th event of a market: request, feedback, result, each of 600 to 1200 bytes.
fn event(n: u32, now: u64) -> Event {
    let keypair = |name: &str| Keypair::from_secret_bytes(hash(name)).expect("a key");
    let (customer, provider) =
        (keypair(&format!("customer {}", n / 3 % 8)), keypair(&format!("provider {}", n / 3 % 8)));
    let key = |pair: &Keypair| PublicKey::new(pair.x_only_public_key().0.to_byte_array());
    let tag = |values: &[&str]| Tag::new(values.iter().copied()).expect("a tag has a name");
    let job = |request: &Event| [tag(&["e", &request.id.to_string()]), tag(&["p", &request.pubkey.to_string()])];
    let (pair, kind, tags) = match n % 3 {
        0 => {
            let prompt = format!("{n}: what is a relay?");
            (customer, 5050, vec![tag(&["i", &prompt, "text"]), tag(&["bid", "21000"]), tag(&["t", "bench"])])
        }
        1 => (provider, 7000, [&job(&event(n - 1, now))[..], &[tag(&["status", "processing"])]].concat()),
        _ => (provider, 6050, [&job(&event(n - 2, now))[..], &[tag(&["amount", "21000"])]].concat()),
    };
    let content = "x".repeat(50 + n as usize * 37 % 500);
    let pubkey = key(&pair);
    let text = serde_json::to_string(&(0, &pubkey, now, kind, &tags, &content)).expect("strings");
    let id = hash(&text);
    let sig = Signature::new(schnorr::sign_no_aux_rand(&id, &pair).to_byte_array());
    Event { id: EventId::new(id), pubkey, created_at: now, kind, tags, content, sig }
}

/// Makes events number `first` to `first + count` of Unix second `now`, in place of those before.
#[unsafe(no_mangle)]
pub extern "C" fn prepare(first: u32, count: u32, now: f64) {
    EVENTS.with_borrow_mut(|events| *events = (first..first + count).map(|n| event(n, now as u64)).collect());
}

/// Verifies `count` of the events made; how many are good.
#[unsafe(no_mangle)]
pub extern "C" fn verify(count: u32) -> u32 {
    EVENTS.with_borrow(|events| {
        let good = |event: &&Event| black_box(*event).verify().is_ok();
        events.iter().cycle().take(count as usize).filter(good).count() as u32
    })
}

/// Writes the statements of a group of the events from `from` on as JSON, `[[sql, [param]]]`, for a log of a version with so many events;
/// its length in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn group(from: u32, size: u32, version: u32, last_seq: u32) -> u32 {
    let new = |event: &Event| NewEvent {
        text: event.to_json().into(),
        came_ms: event.created_at * 1000,
        expires_at: Some(event.created_at + 86_400),
        deletes: Vec::new(),
        part: NIP90.part_of(event),
        remember_until: event.created_at + 7 * 86_400,
        is_elsewhere: false,
        act: None,
        event: event.clone(),
    };
    let group: Vec<Arc<NewEvent>> = EVENTS
        .with_borrow(|events| events.iter().skip(from as usize).take(size as usize).map(new).map(Arc::new).collect());
    let param = |param: &Param| match param {
        Param::Text(text) => serde_json::Value::from(&**text),
        Param::Integer(number) => serde_json::Value::from(*number),
    };
    let statement = |s: &Statement| (s.sql.to_string(), s.params.iter().map(param).collect::<Vec<_>>());
    let number = u64::from(version);
    let write = Write { expected: number, name: WriteName { incarnation: 0, number } };
    let totals = Totals { version: number, last_seq: last_seq.into(), ..Totals::default() };
    let before = Position { totals, ..Position::default() };
    let (work, mut memory) =
        (Work::Events(group, Mode::New), MEMORY.take().unwrap_or_else(|| Memory::new(MEMORY_BYTES)));
    let (facts, assumed) = memory.facts(work.needed()).expect("nothing is likely to be there");
    let decision = work.decide(before.totals.last_seq, facts);
    let (mut statements, _) = write::statements(&decision.changes, &before, &Flush::default(), &kept(), &write);
    statements.splice(1..1, facts::assume(&assumed));
    memory.follow(&decision.changes);
    MEMORY.set(Some(memory));
    let list: Vec<_> = statements.iter().map(statement).collect();
    TEXT.set(serde_json::to_string(&list).expect("strings"));
    TEXT.with_borrow(|text| text.len() as u32)
}

/// Where the text is.
#[unsafe(no_mangle)]
pub extern "C" fn text() -> *const u8 {
    TEXT.with_borrow(|text| text.as_ptr())
}
