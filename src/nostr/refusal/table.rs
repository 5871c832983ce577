//! The table: for each refusal its code, what is filled in, the text, how it is told, what helps, and what it means.
//! A code is never given to something else. Limits and seconds are filled in where they are known.

use std::fmt::{self, Display};

use super::{Entry, Prefix, Reason, Then};

/// Makes of each entry a function that gives the [`Reason`], or the text where there is no prefix, and of all of them a
/// list.
macro_rules! refusals {
    ($list:ident = $prefix:ident; $($entries:tt)*) => {
        refusals! { @ $list, Some(Prefix::$prefix), Reason, (|text: fmt::Arguments<'_>| Reason::new(Prefix::$prefix, text)); $($entries)* }
    };
    ($list:ident; $($entries:tt)*) => {
        refusals! { @ $list, None, String, fmt::format; $($entries)* }
    };
    (@ $list:ident, $prefix:expr, $made:ty, $make:expr;
        $($(#[doc = $means:literal])+ $code:ident($($filled:ident),*): $text:literal, $told:literal, $then:ident;)*
    ) => {
        $(
            $(#[doc = $means])+
            pub fn $code($($filled: impl Display),*) -> $made {
                ($make)(format_args!($text))
            }
        )*

        const $list: &[Entry] = &[$(Entry {
            code: stringify!($code),
            prefix: $prefix,
            text: $text,
            told: $told,
            then: Then::$then,
           means: concat!($($means),+),
        }),*];
    };
}

/// All refusals, in the order of their prefixes; last what has none.
pub const ALL: [&[Entry]; 11] =
    [AUTH_REQUIRED, BLOCKED, DUPLICATE, ERROR, INVALID, MUTE, POW, RATE_LIMITED, RESTRICTED, UNSUPPORTED, PLAIN];

refusals! { AUTH_REQUIRED = AuthRequired;
    /// Until a key is proven only AUTH and CLOSE are taken here.
    auth_first(): "answer the AUTH challenge first (NIP-42)", "OK, CLOSED", Auth;
    /// The event is protected (NIP-70): prove the key that signed it.
    author_must_prove(): "this event may only be published by its author", "OK", Auth;
    /// The filters ask only for kinds that are shown to author and addressee.
    gated_kinds(): "these kinds are served to those they name (NIP-42)", "CLOSED", Auth;
    /// Only who proves a key may ask this, by a signed event (NIP-98).
    http_auth_missing(): "sign the request (NIP-98): Authorization: Nostr BASE64-OF-EVENT", "HTTP 401", Auth;
}

refusals! { BLOCKED = Blocked;
    /// The operator wants this event not to be here.
    banned_event(): "the operator of this relay has banned this event", "OK", Never;
    /// The operator wants nothing of this key.
    blocked_key(): "the operator of this relay has blocked this key", "OK, close 1008", Never;
    /// The operator wants nothing of this network.
    blocked_network(): "the operator of this relay has blocked this network", "HTTP 403, close 1008", Never;
    /// A deletion request or a request to vanish of the same key names it.
    deleted(): "this event was deleted by its author", "OK", Never;
    /// The operator wants no events of this kind.
    disallowed_kind(kind): "the operator of this relay takes no events of kind {kind}", "OK", Never;
    /// The repost has a protected event (NIP-70) inside: publish one that names it only.
    embeds_protected(): "a repost must not embed a protected event", "OK", Change;
    /// The customer has deleted the job request: do not work on it.
    job_cancelled(): "job cancelled", "OK", Never;
    /// There is no reconciliation here.
    no_negentropy(): "this relay does not do negentropy (NIP-77); use REQ", "NEG-ERR, NOTICE", Change;
}

refusals! { DUPLICATE = Duplicate;
    /// It was taken before; with OK true it is stored.
    already_have(): "already have this event", "OK true", Done;
    /// Of a replaceable or addressable event the newest alone is kept.
    newer_stored(): "a newer version of this event is stored", "OK, OK true", Done;
    /// A result of this key for this job is stored; it is the one that counts.
    answered_already(): "this provider has already answered the job", "OK", Done;
}

refusals! { ERROR = Error;
    /// The AUTH came after the connection had ended; nobody may be left to hear this.
    connection_closed(): "connection is closed", "OK", Wait;
    /// The operator's `MAX_DATABASE_BYTES` are reached; deletion requests are still taken.
    database_limit(max): "the relay's database has reached its limit of {max} bytes; publish again later", "OK", Wait;
    /// The relay's memory was reset while it worked on it, and what became of it is not known: ask or publish it again.
    lost_request(): "the relay lost this request; send it again", "CLOSED, OK", Wait;
    /// The memory for connections and their keys is taken; docs/OPERATE.md says how it is divided.
    no_room_for_keys(): "the relay has no room for another key; try again in some seconds", "OK", Wait;
    /// The memory for questions is taken.
    no_room_for_questions(): "more questions wait for an answer than there is memory for; try again in some seconds", "CLOSED", Wait;
    /// The memory for subscriptions is taken.
    no_room_for_subscriptions(): "the relay has no room for another subscription; try again later", "CLOSED", Wait;
    /// The database has failed for as long as an event waits.
    not_stored(cause): "the event could not be stored: {cause}; publish it again", "OK", Wait;
    /// The database takes deletion requests and requests to vanish alone.
    not_stored_full(cause): "the event could not be stored: {cause}; it takes deletion requests alone", "OK", Wait;
    /// What the database may write in a day is used up.
    not_stored_today(cause): "the event could not be stored: {cause}; publish it again after midnight UTC", "OK", Wait;
    /// The relay ends in a moment; it will be back.
    restarting(): "the relay restarts; connect again in some seconds", "NOTICE", Wait;
    /// The relay ends before the event could be stored.
    restarting_unstored(): "the relay restarts; publish it again in some seconds", "OK", Wait;
    /// More events wait for the database than there is room for.
    store_behind(): "the store is behind; try again in a few seconds", "OK", Wait;
    /// The subscription has ended: ask again, with a smaller `limit` or fewer kinds.
    too_many_live(): "more live events than can be kept while the stored are read", "CLOSED", Wait;
    /// The database has failed for as long as a question waits.
    unreadable(cause): "stored events could not be read: {cause}; try again", "CLOSED", Wait;
}

refusals! { INVALID = Invalid;
    /// An answer names its customer in a `p` tag.
    answer_customer_missing(): "p tag is missing; it names the customer", "OK", Change;
    /// The first `p` tag of an answer is the customer's key.
    answer_customer_spelled(): "p tag must be a public key, 64 lower-case hex digits", "OK", Change;
    /// The request this answers is of another kind.
    answer_kind(): "e tag names a job request that events of this kind do not answer", "OK", Change;
    /// An answer names its job request in an `e` tag.
    answer_job_missing(): "e tag is missing; it names the job request", "OK", Change;
    /// The `e` tag of an answer is an event id.
    answer_job_spelled(): "e tag must be an event id, 64 lower-case hex digits", "OK", Change;
    /// The request is another key's.
    answer_not_the_customer(): "p tag is not the customer of the job the e tag names", "OK", Change;
    /// The job is encrypted for providers among which this key is not.
    answer_not_asked(): "e tag names an encrypted job request whose p tags ask other providers", "OK", Never;
    /// All `e` tags of an answer name the same job.
    answer_several_jobs(): "e tag names several events; an answer is about one job", "OK", Change;
    /// AUTH takes the challenge that was sent last on this connection, or a fresh one that was sent on it.
    auth_challenge(): "challenge tag is not the challenge of this connection", "OK", Change;
    /// AUTH takes no other event.
    auth_kind(): "AUTH takes an event of kind 22242", "OK", Change;
    /// The AUTH event was made for another relay; `RELAY_URL` has this one's names.
    auth_other_relay(): "relay tag names another relay", "OK", Change;
    /// The AUTH event has no URL of a relay.
    auth_relay(): "relay tag must be this relay's ws:// or wss:// URL", "OK", Change;
    /// The AUTH event is too old, or one of the two clocks is wrong.
    auth_time(): "created_at is more than 10 minutes from now; check your clock", "OK", Change;
    /// What is where an event should be is none; the text names the field.
    bad_event(why): "event: {why}", "OK, NOTICE", Change;
    /// What is where a filter should be is none; the text names the key.
    bad_filter(why): "filter: {why}", "CLOSED", Change;
    /// A third one ends the connection.
    binary_frame(): "binary frames are not part of the protocol; send text", "NOTICE", Change;
    /// More characters than `max_content_length` (NIP-11).
    content_too_long(max): "content is over {max} characters", "OK", Change;
    /// An `a` tag of a deletion request that names nothing: nothing was deleted.
    deletes_address(): "a tag must be <kind>:<key>:<d>, the kind in digits, the key in lower-case hex", "OK", Change;
    /// An `e` tag of a deletion request that names nothing: nothing was deleted.
    deletes_event(): "e tag must be 64 lower-case hex digits", "OK", Change;
    /// The time of its `expiration` tag (NIP-40) is past.
    expired(): "the event has expired", "OK", Change;
    /// NIP-40.
    expiration_spelled(): "expiration tag must be a Unix time in seconds, digits alone", "OK", Change;
    /// Feedback says how the job stands, in a tag or encrypted.
    feedback_status_missing(): "status tag is missing; only encrypted feedback has none", "OK", Change;
    /// `created_at_upper_limit` (NIP-11).
    from_the_future(max): "created_at is more than {max} s in the future", "OK", Change;
    /// NIP-89.
    handler_content(): "content must be empty or a JSON object", "OK", Change;
    /// NIP-89.
    handler_kind(): "k tag must be a kind, 0 to 65535", "OK", Change;
    /// The event in the header `Authorization` is not as NIP-98 has it; the text says what is wrong.
    http_auth_event(why): "the event in Authorization (NIP-98): {why}", "HTTP 401", Change;
    /// An AUTH event is for the relay it names alone, and one of NIP-98 for the request that it signs.
    never_published(): "kinds 22242 and 27235 prove a key and are never published", "OK", Change;
    /// REQ and COUNT take at least one filter.
    no_filters(): "one or more filters are needed", "CLOSED", Change;
    /// The frame is no JSON, or no array.
    not_an_array(why): "message must be a JSON array: {why}", "OK, CLOSED, NEG-ERR, NOTICE", Change;
    /// A customer names events by their ids.
    request_event(): "e tag must name an event, 64 lower-case hex digits", "OK", Change;
    /// NIP-90.
    request_input(): "i tag must have a value, and for the types event and job that is an event id", "OK", Change;
    /// NIP-90.
    request_output(): "output tag must name a MIME type", "OK", Change;
    /// NIP-90.
    request_param(): "param tag must name a parameter", "OK", Change;
    /// A customer names providers by their keys.
    request_provider(): "p tag must name a public key, 64 lower-case hex digits", "OK", Change;
    /// NIP-90.
    request_relays(): "relays tag must name a relay", "OK", Change;
    /// The request inside is of another customer.
    result_customer(): "request tag is of another key than the p tag names", "OK", Change;
    /// The request inside was changed.
    result_id(): "request tag is not the event whose id it has", "OK", Change;
    /// The request inside is another job.
    result_job(): "request tag is another event than the e tag names", "OK", Change;
    /// A result of kind 6xxx answers a request of kind 5xxx with the same three digits.
    result_kind(request, result): "request tag is of kind {request}, which kind {result} does not answer", "OK", Change;
    /// All `request` tags of a result are alike.
    result_several(): "request tag is given several times, and differently", "OK", Change;
    /// NIP-90.
    result_spelled(): "request tag must be the job request as JSON", "OK", Change;
    /// The id is not a string, or empty.
    subscription_id(): "subscription id must be a non-empty string", "CLOSED, NOTICE", Change;
    /// NIP-01.
    takes_filters(message): "{message} takes an id and one or more filters", "NOTICE", Change;
    /// NIP-01, NIP-42.
    takes_one_event(message): "{message} takes one event", "OK, NOTICE", Change;
    /// NIP-01.
    takes_one_id(): "CLOSE takes one subscription id", "CLOSED, NOTICE", Change;
    /// More than `max_event_tags` (NIP-11).
    too_many_tags(max): "more than {max} tags", "OK", Change;
    /// `created_at_lower_limit` (NIP-11).
    too_old(max): "created_at is more than {max} s in the past", "OK", Change;
    /// Events of this kind are removed after so many seconds, and these are over.
    too_old_to_keep(kept): "created_at is too long ago; this relay keeps events of this kind for {kept} s", "OK", Change;
    /// The first element of the array is no string.
    typeless(): "message must begin with its type, a string", "NOTICE", Change;
    /// A request to vanish (NIP-62) that is not for this relay would do nothing.
    vanishes_elsewhere(): "relay tag must be ALL_RELAYS or this relay's URL", "OK", Change;
    /// The id was made of something else: see NIP-01 for how an event is serialized.
    wrong_id(): "id is not the sha256 of the event", "OK", Change;
    /// The signature is of another key, or of something else.
    wrong_sig(): "sig is not the author's signature of the id", "OK", Change;
}

refusals! { MUTE = Mute;
    /// An ephemeral event is not kept, and no open subscription asks for it.
    nobody_listens(): "nobody is listening to this ephemeral event", "OK", Done;
}

refusals! { POW = Pow;
    /// The id has fewer leading zero bits than `min_pow_difficulty` (NIP-11).
    difficulty(bits, min): "difficulty {bits} is less than {min}", "OK", Change;
    /// The `nonce` tag commits to less work than is asked for.
    target(bits, min): "committed target {bits} is less than {min}", "OK", Change;
    /// Work without a target may be luck.
    target_missing(min): "nonce tag must commit to a target of {min}", "OK", Change;
}

refusals! { RATE_LIMITED = RateLimited;
    /// The relay writes so many rows an hour; this hour's are taken.
    hour_taken(seconds): "all rows for this hour are taken (ROWS_PER_DAY); retry in {seconds} s", "OK", Wait;
    /// One network writes a tenth of an hour's rows at most.
    hour_taken_by_network(seconds): "the rows one network may have for this hour are taken (ROWS_PER_DAY); retry in {seconds} s", "OK", Wait;
    /// Questions from one network take a quarter of the memory for them at most, less when others have much of it.
    network_questions(seconds): "too many questions from your network wait for an answer; retry in {seconds} s", "CLOSED", Wait;
    /// What a connection sends faster than its rate waits for its turn, and there is no more room for it.
    no_room_to_wait(seconds): "more waits for its turn than there is room for; retry in {seconds} s", "OK, CLOSED, NEG-ERR, NOTICE", Wait;
    /// Events from one network that wait for the database take a quarter of the memory for them at most, less when others have
    /// much of it.
    store_behind_network(seconds): "the store is behind with events of your network; retry in {seconds} s", "OK", Wait;
    /// So many `events`, `answers`, `queries`, `bytes` or, over HTTP, `requests` a second are for a guest, agent, provider, listed key or network.
    too_fast(rate, what, who, seconds): "{rate} {what} a second for one {who}; retry in {seconds} s", "OK, CLOSED, NEG-ERR, NOTICE, HTTP 429", Wait;
}

refusals! { RESTRICTED = Restricted;
    /// A deletion request is carried out at once: the tags of its author's events that it names may have 1 MB together.
    concerns_too_much(): "this concerns events with more than 1 MB of tags; name fewer in each request", "OK", Change;
    /// COUNT counts one by one, up to `max_search_entries` (NIP-11).
    counts_too_many(max): "this counts more than {max} events (max_search_entries); narrow it by kinds, authors, tags, since or until", "CLOSED", Change;
    /// Answers to a job that is not stored here are taken up to a number.
    early_answers(): "there are many answers already to this job, whose request is not known here", "OK", Wait;
    /// The filters of all open subscriptions of a connection together.
    filters_too_large(max): "the filters of this connection are over {max} bytes; CLOSE some", "CLOSED", Less;
    /// The relay's setting `ACCESS` is closed: a key enters when its operator has allowed it.
    members_enter(): "this relay is for its members alone", "OK, close 1008", Never;
    /// The relay's setting `ACCESS` is members: a key publishes when its operator has allowed it.
    members_write(): "only members of this relay publish here", "OK", Never;
    /// What is told of a job where the relay's numbers are for its owner (`STATS`).
    not_a_party(): "this is told to the job's parties and the relay's owner, and the key that was proven is none of theirs", "HTTP 403", Never;
    /// The relay's numbers are for its owner (`STATS`).
    not_the_owner(): "this is told to the relay's owner, and the key that was proven is another one", "HTTP 403", Never;
    /// Longer than `max_message_length` (NIP-11).
    message_too_long(length, max): "message of {length} bytes is over the limit of {max}", "OK, CLOSED, NEG-ERR, NOTICE", Change;
    /// The filters of one network take a tenth of the memory for them at most, less when others have much of it.
    network_subscriptions(): "the subscriptions of your network take all the memory it may; CLOSE some", "CLOSED", Less;
    /// There is nobody who may: the operator sets `RELAY_PUBKEY`.
    no_owner(): "this relay has no owner; its operator sets RELAY_PUBKEY", "HTTP 403", Never;
    /// The owner assigns methods (NIP-86) to others.
    not_a_manager(): "this key may not use this method", "HTTP 403", Never;
    /// The event is protected (NIP-70), and its author is none of the keys proven here.
    not_the_author(): "this event may only be published by its author", "OK", Auth;
    /// The list named is the rarest of the filter, and longer than `max_search_entries` (NIP-11).
    searches_too_much(list, max): "{list} finds more than {max} events to look at (max_search_entries), and no list of this filter finds fewer; narrow it by kinds, authors, tags, since or until", "CLOSED", Change;
    /// Pairs of a value and a kind, up to `max_search_ranges`.
    searches_too_many_ranges(list, max): "{list} with these kinds would be more than {max} ranges of an index (max_search_ranges); ask for fewer at a time", "CLOSED", Change;
    /// `max_subid_length` (NIP-11).
    subscription_id_too_long(max): "subscription id is over {max} characters", "CLOSED", Change;
    /// `max_filters` (NIP-11).
    too_many_filters(max): "more than {max} filters in one REQ", "CLOSED", Change;
    /// Connect once more for further keys.
    too_many_keys(max): "a connection can prove {max} keys", "OK", Change;
    /// REQs and COUNTs of a connection that are not answered yet.
    too_many_questions(max): "more than {max} questions wait for an answer", "CLOSED", Less;
    /// `max_subscriptions` (NIP-11).
    too_many_subscriptions(max): "more than {max} open subscriptions; CLOSE one", "CLOSED", Less;
    /// `max_filter_values` of the NIP-11 document.
    too_many_values(max): "more than {max} values in one filter", "CLOSED", Change;
    /// `max_unasked_feedback` (NIP-11).
    unasked_feedback(): "a job takes three feedbacks of a key that its p tags do not ask", "OK", Never;
    /// `max_unasked_keys` (NIP-11).
    unasked_keys(): "a job takes answers of twenty keys that its p tags do not ask", "OK", Never;
}

refusals! { UNSUPPORTED = Unsupported;
    /// A condition that is not understood cannot be dropped: the answer would be wider than the question.
    unknown_filter_key(key): "filter: unknown key {key}", "CLOSED", Change;
    /// EVENT, REQ, COUNT, CLOSE and AUTH are understood.
    unknown_type(message): "message type {message}", "NOTICE", Change;
}

refusals! { PLAIN;
    /// A third binary frame ends the connection.
    binary_frames(): "binary frames are not part of the protocol; send text", "close 1003", Change;
    /// Against the WebSocket protocol.
    broken_frame(): "a frame that is against RFC 6455", "close 1002", Change;
    /// Text frames are UTF-8.
    broken_text(): "text that is not UTF-8", "close 1007", Change;
    /// A frame this long is not read at all.
    frame_too_long(length, max): "a frame of {length} bytes; {max} are the limit", "close 1009", Change;
    /// Guests of the same address wait, and this one has proven no key for so long.
    guests_wait(seconds): "others behind this address wait to prove their keys; prove yours within {seconds} s", "close 1008", Auth;
    /// Not a refusal: the request of a job that this key has answered was deleted by its customer, or banned by the operator.
    job_withdrawn(job): "cancelled: job {job} is cancelled", "NOTICE", Done;
    /// The live events of its subscriptions are more than a network is sent.
    live_too_fast(rate): "more than {rate} bytes a second of live events for this network; subscribe to less", "close 1008", Less;
    /// What the relay knew of the connection is gone.
    lost_connection(): "the relay lost this connection's state; reconnect", "close 1012", Wait;
    /// A connection that has proven no key goes when there is no memory for one more.
    makes_room(): "others wait for the memory of this connection; prove a key at once", "close 1008", Auth;
    /// The connections of one network take a tenth of the memory for them at most, less when others have much of it.
    network_connections(): "the connections of your network take all the memory they may; close some", "HTTP 429", Less;
    /// There is no memory for one more connection.
    no_room_for_connections(seconds): "the relay holds as many connections as it has memory for; connect again in {seconds} s", "HTTP 503, close 1013", Wait;
    /// `max_connections_per_ip`.
    too_many_connections(max): "too many connections from this address: {max} are open; close one", "HTTP 429", Less;
    /// `max_guests_per_ip`.
    too_many_guests(max): "too many connections from this address: {max} have proven no key (NIP-42) yet; try again in some seconds", "HTTP 429", Wait;
    /// A connection that goes on with what is refused.
    too_many_refusals(max, seconds): "{max} refusals within {seconds} s; heed what they say and connect again", "close 1008", Change;
    /// Of `/api/handlers` and its like; the header `Retry-After` has the seconds, too.
    too_many_requests(seconds): "too many questions wait for the database; retry in {seconds} s", "HTTP 503", Wait;
    /// Answers that nobody reads fill the relay's memory; the text says how reading shows.
    unread(what, hint): "{what} sent and none known to be read; {hint}", "close 1008", Change;
}
