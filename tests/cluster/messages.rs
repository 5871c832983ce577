//! Messages of every sort, made by chance: what travels between objects has to come as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nexus::link::{Batch, Incarnation};
use nexus::market::dealing::Dealing;
use nexus::market::handler::Record;
use nexus::market::reputation::Vote;
use nexus::market::{Part as JobPart, State};
use nexus::message::*;
use nexus::moderation::{Act, Method, Ruling, Rulings};
use nexus::nostr::deletion::Target;
use nexus::nostr::relay_msg::Completeness;
use nexus::nostr::{Event, EventId, Filter, PublicKey, Reason, Values, refusal};
use nexus::seam::{Network, Ticket};
use serde_json::json;

use crate::common::chance::Chance;
use crate::common::events::{Author, NOW, new_event};

/// Variants of each.
pub const TO_PARTITION: usize = 14;
pub const TO_GATEWAY: usize = 10;

/// Which variant it is, and its name; one that is new does not compile until it is numbered here and made below.
pub fn of_partition(message: &ToPartition) -> (usize, &'static str) {
    match message {
        ToPartition::Woke(_) => (0, "Woke"),
        ToPartition::Interest(_) => (1, "Interest"),
        ToPartition::Ephemeral { .. } => (2, "Ephemeral"),
        ToPartition::Publish(_) => (3, "Publish"),
        ToPartition::Read { .. } => (4, "Read"),
        ToPartition::Go(_) => (5, "Go"),
        ToPartition::Drop(_) => (6, "Drop"),
        ToPartition::WhoIs { .. } => (7, "WhoIs"),
        ToPartition::Left { .. } => (8, "Left"),
        ToPartition::Counted(_) => (9, "Counted"),
        ToPartition::Ask { .. } => (10, "Ask"),
        ToPartition::Position => (11, "Position"),
        ToPartition::Gauges(_) => (12, "Gauges"),
        ToPartition::Present { .. } => (13, "Present"),
    }
}

/// The same of what a partition says.
pub fn of_gateway(message: &ToGateway) -> (usize, &'static str) {
    match message {
        ToGateway::Position(_) => (0, "Position"),
        ToGateway::Verdict(_) => (1, "Verdict"),
        ToGateway::Push(_) => (2, "Push"),
        ToGateway::Ephemeral(_) => (3, "Ephemeral"),
        ToGateway::Answer { .. } => (4, "Answer"),
        ToGateway::Later { .. } => (5, "Later"),
        ToGateway::Known { .. } => (6, "Known"),
        ToGateway::Facts { .. } => (7, "Facts"),
        ToGateway::Rulings(_) => (8, "Rulings"),
        ToGateway::Acted(_) => (9, "Acted"),
    }
}

/// Texts that a form may spoil.
const TEXTS: [&str; 9] = [
    "",
    "a",
    "\"\\/",
    "\u{0}\u{1}\u{1f}\u{7f}",
    "\n\r\t\u{8}\u{c}",
    "zwölf \u{20ac}",
    "\u{1f600}",
    "\u{2028}\u{feff}",
    "\\u0001",
];
const NAMES: [&str; 8] = ["e", "p", "a", "d", "t", "-", "relay", "encrypted"];
const KINDS: [u16; 10] = [0, 1, 5, 62, 5050, 6050, 7000, 20001, 31990, 65535];

/// Makes messages.
pub struct Messages(pub Chance);

impl Messages {
    pub fn of(seed: u64) -> Self {
        Self(Chance::new(seed))
    }

    pub fn batch<T>(&mut self, messages: Vec<T>) -> Batch<T> {
        Batch {
            from: Incarnation(self.number()),
            to: self.maybe(|make| Incarnation(make.number())),
            asks: self.0.one_in(2),
            number: self.number(),
            received: self.number(),
            messages,
        }
    }

    pub fn for_partition(&mut self, variant: usize) -> ToPartition {
        match variant {
            0 => ToPartition::Woke(self.maybe(Self::number)),
            1 if self.0.one_in(4) => ToPartition::Interest(Interest::Everything),
            1 => ToPartition::Interest(Interest::Keys {
                came: self.list(Self::number).into(),
                went: self.list(Self::number).into(),
            }),
            2 => ToPartition::Ephemeral { from: self.maybe(Self::publisher), event: Arc::new(self.event()) },
            3 => ToPartition::Publish(Box::new(Publish {
                from: self.publisher(),
                new: self.stored_soon(),
                network: self.maybe(Self::network),
                is_limited: self.0.one_in(2),
                allowance: *self.0.pick(&[Allowance::Listed, Allowance::Dealt, Allowance::Everybody]),
            })),
            4 => ToPartition::Read {
                ticket: self.ticket(),
                question: self.question(),
                when: *self.0.pick(&[When::Known, When::Later, When::Now]),
            },
            5 => ToPartition::Go(self.ticket()),
            6 => ToPartition::Drop(self.ticket()),
            7 => ToPartition::WhoIs { ticket: self.ticket(), keys: self.list(Self::key) },
            8 => ToPartition::Left { keys: self.list(Self::key), network: self.maybe(Self::network) },
            9 => ToPartition::Counted(self.counts()),
            10 => ToPartition::Ask { ticket: self.ticket(), asked: self.asked(), database: self.0.one_in(2) },
            11 => ToPartition::Position,
            12 => ToPartition::Gauges(Box::new(self.gateway_gauges())),
            _ => ToPartition::Present { came: self.list(Self::provider), went: self.list(Self::provider) },
        }
    }

    pub fn for_gateway(&mut self, variant: usize) -> ToGateway {
        match variant {
            0 => ToGateway::Position(self.or_error(Self::number)),
            1 => ToGateway::Verdict(self.outcome()),
            2 => ToGateway::Push(Push { after: self.number(), upto: self.number(), parts: self.list(Self::part) }),
            3 => ToGateway::Ephemeral(Arc::new(self.event())),
            4 => ToGateway::Answer {
                ticket: self.ticket(),
                answer: self.or_error(|make| if make.0.one_in(4) { Err(make.reason()) } else { Ok(make.answer()) }),
                rows_read: self.number(),
                from_memory: self.0.one_in(2),
            },
            5 => ToGateway::Later { ticket: self.ticket(), bytes: self.bytes() },
            6 => ToGateway::Known {
                ticket: self.ticket(),
                known: self.or_error(|make| make.list(|make| (make.key(), make.known()))),
            },
            8 => {
                let mut rulings = Rulings::default();
                self.list(Self::ruling).into_iter().for_each(|ruling| rulings.add(ruling));
                ToGateway::Rulings(Arc::new(rulings))
            }
            9 => {
                let rulings = self.list(|make| (make.ruling(), make.maybe(Self::text)));
                let act = Act { by: self.key(), method: self.method(), params: self.text(), rulings };
                let removes = self.maybe(|make| (make.maybe(Self::key), Target::Everything));
                ToGateway::Acted(Arc::new(NewEvent::of_act(self.id(), act, removes, (self.number(), 900))))
            }
            _ => ToGateway::Facts {
                ticket: self.ticket(),
                facts: self.maybe(|make| make.or_error(Self::facts)),
                rows_read: self.number(),
                gauges: Box::new(self.gauges()),
            },
        }
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.0.one_in(2) { Some(make(self)) } else { None }
    }

    fn list<T>(&mut self, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.0.below(4)).map(|_| make(self)).collect()
    }

    fn or_error<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Result<T, StoreError> {
        if self.0.one_in(4) { Err(self.error()) } else { Ok(make(self)) }
    }

    /// Of any size.
    fn number(&mut self) -> u64 {
        let wide = self.0.below(1 << 32) << 32 | self.0.below(1 << 32);
        wide >> self.0.below(64)
    }

    /// Of any size that an object has room for.
    fn bytes(&mut self) -> usize {
        self.0.below(1 << 32) as usize
    }

    fn text(&mut self) -> String {
        let times = if self.0.one_in(20) { 300 } else { self.0.below(4) };
        (0..times).map(|_| *self.0.pick(&TEXTS)).collect()
    }

    pub fn ticket(&mut self) -> Ticket {
        serde_json::from_value(json!(self.number())).unwrap()
    }

    fn publisher(&mut self) -> Publisher {
        Publisher(self.number())
    }

    fn author(&mut self) -> Author {
        Author::new(self.0.below(250) as u8)
    }

    fn key(&mut self) -> PublicKey {
        PublicKey::new([(); 32].map(|()| self.0.below(256) as u8))
    }

    fn id(&mut self) -> EventId {
        self.key()
    }

    fn network(&mut self) -> Network {
        if self.0.one_in(2) {
            Network::from((self.0.below(1 << 32) as u32).to_be_bytes())
        } else {
            Network::from((u128::from(self.number()) << 64).to_be_bytes())
        }
    }

    fn error(&mut self) -> StoreError {
        StoreError { message: self.text(), kind: *self.0.pick(&ErrorKind::ALL) }
    }

    /// One of each prefix.
    fn reason(&mut self) -> Reason {
        match self.0.below(10) {
            0 => refusal::auth_first(),
            1 => refusal::deleted(),
            2 => refusal::already_have(),
            3 => refusal::lost_request(),
            4 => refusal::answer_kind(),
            5 => refusal::nobody_listens(),
            6 => refusal::target_missing(self.number()),
            7 => refusal::hour_taken(self.number()),
            8 => refusal::counts_too_many(self.number()),
            _ => refusal::unknown_filter_key(self.text()),
        }
    }

    fn event(&mut self) -> Event {
        let tags = self.list(|make| {
            let name = make.0.pick(&NAMES).to_string();
            let value = match name.as_str() {
                "e" | "p" => make.key().to_string(),
                "a" => format!("31990:{}:{}", make.author().key(), make.text()),
                "relay" => "ALL_RELAYS".to_owned(),
                _ => make.text(),
            };
            [vec![name, value], make.list(Self::text)].concat()
        });
        let tags: Vec<Vec<&str>> = tags.iter().map(|tag| tag.iter().map(String::as_str).collect()).collect();
        let tags: Vec<&[&str]> = tags.iter().map(Vec::as_slice).collect();
        let (kind, content) = (*self.0.pick(&KINDS), self.text());
        self.author().sign(kind, NOW + self.0.below(1000), &tags, &content)
    }

    fn stored_soon(&mut self) -> NewEvent {
        let event = self.event();
        let part = self.maybe(|make| JobPart {
            job: make.id(),
            role: make.role(),
            state: make.maybe(|make| *make.0.pick(&State::ALL)),
            kind: make.maybe(|make| *make.0.pick(&KINDS)),
            customer: make.key(),
            providers: make.list(Self::key),
            encrypted: make.0.one_in(2),
        });
        NewEvent {
            came_ms: self.number(),
            expires_at: self.maybe(Self::number),
            remember_until: self.number(),
            is_elsewhere: self.0.one_in(2),
            act: None,
            part,
            ..new_event(&event)
        }
    }

    fn role(&mut self) -> nexus::market::JobRole {
        use nexus::market::JobRole::{Feedback, Request, Result};
        *self.0.pick(&[Request, Feedback, Result])
    }

    fn stored(&mut self) -> Stored {
        (Arc::new(self.stored_soon()), self.maybe(|make| make.list(Self::key).into_iter().collect()))
    }

    fn filter(&mut self) -> Filter {
        Filter {
            ids: self.maybe(|make| make.values(Self::id)),
            authors: self.maybe(|make| make.values(Self::key)),
            kinds: self.maybe(|make| make.values(|make| *make.0.pick(&KINDS))),
            tags: self
                .list(|make| match *make.0.pick(b"eptdZ") {
                    letter @ (b'e' | b'p') => (letter, make.values(|make| make.key().to_string())),
                    letter => (letter, make.values(Self::text)),
                })
                .into_iter()
                .collect(),
            since: self.maybe(Self::number),
            until: self.maybe(Self::number),
            limit: self.maybe(Self::number),
        }
    }

    fn values<T: Ord>(&mut self, make: impl Fn(&mut Self) -> T) -> Values<T> {
        self.list(make).into_iter().collect()
    }

    fn question(&mut self) -> Question {
        let (filters, keys) = (self.list(Self::filter).into(), self.values(Self::key));
        if self.0.one_in(2) {
            return Question::Count { filters, keys };
        }
        let limits = (self.number(), self.number());
        let missed = self.maybe(|make| (make.number(), make.number()));
        Question::Stored { filters, limits, event_bytes_max: self.number(), keys, missed }
    }

    fn outcome(&mut self) -> Outcome {
        let verdict = match self.0.below(3) {
            0 => Verdict::Stored,
            1 => Verdict::Duplicate(self.reason()),
            _ => Verdict::Refused(self.reason()),
        };
        Outcome { to: self.publisher(), id: self.id(), verdict }
    }

    fn part(&mut self) -> Part {
        match self.0.below(3) {
            0 => Part::Event(self.stored()),
            1 => Part::Outcome(self.outcome()),
            _ => Part::Cancelled(self.id(), self.key()),
        }
    }

    fn answer(&mut self) -> Answer {
        if self.0.one_in(3) {
            return Answer::Count(self.number(), self.maybe(Self::text));
        }
        Answer::Stored(Page {
            events: self.list(|make| StoredEvent {
                seq: make.number(),
                id: make.id(),
                created_at: make.number(),
                text: if make.0.one_in(4) {
                    Text::Large(make.number())
                } else {
                    Text::Json(make.event().to_json().into())
                },
                expires_at: make.maybe(Self::number),
                private: make.0.one_in(2),
            }),
            completeness: *self.0.pick(&[Completeness::Finish, Completeness::More, Completeness::Unknown]),
            missed: self.list(Self::stored),
            end: self.maybe(|make| (make.number(), make.id())),
            known_from: self.number(),
        })
    }

    fn counts(&mut self) -> BTreeMap<String, u64> {
        self.list(|make| (make.text(), make.number())).into_iter().collect()
    }

    fn signed(&mut self) -> BTreeMap<String, i64> {
        self.list(|make| (make.text(), make.number().cast_signed())).into_iter().collect()
    }

    fn asked(&mut self) -> Asked {
        match self.0.below(10) {
            9 => Asked::Seen,
            0 => Asked::Counts,
            5 => Asked::Rulings(self.ruling().sort()),
            6 => Asked::Acts(self.maybe(Self::number)),
            3 => Asked::Records(self.list(Self::key)),
            1 => Asked::Handlers(*self.0.pick(&KINDS), self.list(Self::key)),
            2 => Asked::History(*self.0.pick(&[Step::Minute, Step::Hour])),
            4 => Asked::Job(self.id()),
            7 => Asked::Cancelled(self.id(), self.key()),
            _ => Asked::Health,
        }
    }

    fn method(&mut self) -> Method {
        self.0.pick(&Method::ALL).0
    }

    fn ruling(&mut self) -> Ruling {
        match self.0.below(6) {
            0 => Ruling::BannedKey(self.key()),
            1 => Ruling::AllowedKey(self.key()),
            2 => Ruling::BannedEvent(self.id()),
            3 => Ruling::DisallowedKind(*self.0.pick(&KINDS)),
            4 => Ruling::Manager(self.key(), self.method()),
            _ => Ruling::BlockedNetwork(self.0.pick(&["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"]).parse().unwrap()),
        }
    }

    fn facts(&mut self) -> Facts {
        match self.0.below(8) {
            7 => Facts::Seen(Box::new(self.seen())),
            5 => Facts::Moderation(self.list(Self::text)),
            0 => {
                let (since_ms, stored, flush) = (self.number(), self.number(), self.number());
                let counts = Box::new(Counts { since_ms, stored, flush, counts: self.signed() });
                Facts::Counts(counts, self.number(), self.snapshots())
            }
            1 => Facts::Handlers(self.list(Self::found), self.list(Self::key)),
            2 => Facts::History(self.snapshots()),
            3 => Facts::Records(self.list(|make| ProviderRecord {
                provider: make.key(),
                record: make.record(),
                customers: make.list(Self::key),
            })),
            4 => Facts::Job(self.maybe(|make| JobRows {
                known: make.text(),
                answers: make.list(Self::text),
                cancelled_ms: make.maybe(Self::number),
            })),
            6 => Facts::Cancelled(self.maybe(Self::number)),
            _ => Facts::Healthy,
        }
    }

    fn snapshots(&mut self) -> Vec<Snapshot> {
        self.list(|make| Snapshot {
            at: make.number(),
            stored: make.number(),
            states: make.signed(),
            results: make.list(|make| (make.0.below(26) as usize, make.number())).into_iter().collect(),
        })
    }

    fn record(&mut self) -> Record {
        let dealing = |make: &mut Self| Dealing {
            known: make.0.one_in(2),
            results: make.number(),
            errors: make.number(),
            speed: make.number(),
        };
        Record {
            results: self.number(),
            errors: self.number(),
            dealings: self.list(dealing),
            last_active: self.maybe(Self::number),
        }
    }

    fn found(&mut self) -> Found {
        let vote = |make: &mut Self| Vote {
            voter: make.key(),
            namespace: make.text(),
            labels: make.list(Self::text).into_iter().collect::<BTreeSet<_>>(),
            customer: make.0.one_in(2),
            known: make.0.one_in(2),
        };
        Found { event: self.event(), record: self.record(), votes: self.list(vote) }
    }

    fn known(&mut self) -> Known {
        Known { handler: self.0.one_in(2), served: self.0.one_in(2), dealt: self.0.one_in(2) }
    }

    fn gauges(&mut self) -> PartitionGauges {
        let mut storage = Storage { bytes: self.maybe(Self::number), ..Storage::default() };
        for _ in 0..self.0.below(5) {
            let error = self.maybe(Self::error);
            storage.committed(self.0.below(1 << 40), error.as_ref());
            let error = self.maybe(Self::error);
            storage.answered(self.0.below(1 << 40), error.as_ref());
        }
        PartitionGauges {
            storage,
            unsaved: self.counts(),
            flushing: self.maybe(|make| (make.number(), make.counts())),
            rows_per_day: self.maybe(Self::number),
            rows_today: self.number(),
            memory: ["events", "recent"].map(|share| (share, (self.bytes(), self.bytes()))).into(),
            elsewhere: self.maybe(Self::gateway_gauges),
        }
    }

    fn gateway_gauges(&mut self) -> GatewayGauges {
        GatewayGauges {
            woke_at: self.number(),
            counted: Counted {
                opened: self.number(),
                accepted: self.number(),
                duplicates: self.number(),
                events_sent: self.number(),
                auth_accepted: self.number(),
                auth_rejected: self.number(),
                refused_reqs: self.number(),
                bytes_received: self.number(),
                from_memory: self.number(),
                bytes_sent: self.number(),
            },
            open: self.bytes(),
            authenticated: self.bytes(),
            providers: self.bytes(),
            subscriptions: self.bytes(),
            memory: ["connections", "http"].map(|share| (share, (self.bytes(), self.bytes()))).into(),
            seen: self.seen(),
        }
    }

    fn seen(&mut self) -> Seen {
        let mut seen = Seen::default();
        for _ in 0..self.0.below(4) {
            let (key, network) = (self.maybe(Self::key), self.maybe(Self::network));
            let (at, proven, kind, times) =
                (self.0.below(1 << 40), self.0.one_in(2), self.maybe(|make| *make.0.pick(&KINDS)), self.0.below(9));
            seen.refused(Refused { at, key, proven, network, kind, reason: self.text(), times });
            seen.sent(key, network, self.0.below(2), self.0.below(1 << 20) as usize, at);
        }
        seen
    }

    fn provider(&mut self) -> Provider {
        Provider { is_new: self.0.one_in(2), key: self.key() }
    }
}
