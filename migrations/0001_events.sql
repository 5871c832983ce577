-- Events, their searchable tags, what was deleted, jobs, providers, what is said of them, and totals.
-- Every index entry is a billed row: an event costs 4 rows, 1 more when it expires by its own word and 1 for each
-- distinct single-letter tag.
-- Indexes carry all that a search looks at, so that a row is read only when it is sent.
--
-- A shelf is a kind, or a kind + 65536 for events that not everybody may read. Searches walk public
-- shelves, and private ones only by the tags '>' that private events have for their readers.

CREATE TABLE events (
  seq        INTEGER PRIMARY KEY, -- only grows; orders the log
  id         BLOB    NOT NULL,
  tie        INTEGER NOT NULL,    -- the first 60 bits of the id: orders events of one second (NIP-01)
  pubkey     BLOB    NOT NULL,
  sig        BLOB    NOT NULL,
  kind       INTEGER NOT NULL,
  shelf      INTEGER NOT NULL,
  created_at INTEGER NOT NULL,    -- Unix seconds
  expires_at INTEGER,             -- Unix seconds; NULL for events of jobs that are kept as long as all of their kind
  place      BLOB,                -- what there is one of per author and kind: the key of the d tag of
                                  -- replaceable and addressable events, of the job of a result
  extra      TEXT,                -- JSON list: keys in tags besides those of its own tags, as hex
  job        BLOB,                -- id of the request of the job it belongs to
  step       INTEGER,             -- the state it brings the job to, NULL for none
  asked      INTEGER,             -- the kind of request a result answers
  delay_ms   INTEGER NOT NULL,    -- when it came, in milliseconds after created_at
  tags       TEXT    NOT NULL,    -- JSON, in which char(1) stands for the id of the job
  content    TEXT    NOT NULL     -- JSON
);

-- Both are walked backwards, newest first; what is new lies at their ends, which keeps their pages full.
-- The first eight bytes of an id or a key find it; the whole is compared then.
CREATE INDEX events_by_id     ON events (substr(id, 1, 8));
CREATE INDEX events_by_author ON events (substr(pubkey, 1, 8), shelf, created_at, tie DESC, expires_at DESC);
CREATE INDEX events_by_kind   ON events (shelf, created_at, tie DESC, expires_at DESC);
CREATE INDEX events_by_expiry ON events (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX events_by_place  ON events (substr(pubkey, 1, 8), kind, place) WHERE place IS NOT NULL;

CREATE TABLE tags (
  tag        BLOB    NOT NULL,    -- letter and value: see ledger::tag_key
  shelf      INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  tie        INTEGER NOT NULL,
  seq        INTEGER NOT NULL,
  expires_at INTEGER,
  PRIMARY KEY (tag, shelf, created_at DESC, tie, seq)
) WITHOUT ROWID;

-- What may not come back: `PUBKEY ID`, `PUBKEY KIND:D`, `PUBKEY *` or `PUBKEY result JOB`, up to a created_at.
CREATE TABLE deletions (
  key   TEXT    PRIMARY KEY,
  until INTEGER NOT NULL
) WITHOUT ROWID;

-- Keys that asked to vanish and whose events are still being removed; until then nobody finds them.
CREATE TABLE vanishing (
  pubkey BLOB    PRIMARY KEY,
  until  INTEGER NOT NULL,
  shelf  INTEGER NOT NULL DEFAULT 0 -- nothing is left on the shelves before it
) WITHOUT ROWID;

-- A job, for as long as some event of it is held, and until answers to it would not be kept either.
CREATE TABLE jobs (
  id          BLOB    PRIMARY KEY, -- id of the request
  held        INTEGER NOT NULL,    -- how many events of it are held
  until       INTEGER NOT NULL,    -- Unix seconds; 0 while the request has not been seen
  state       INTEGER NOT NULL,    -- market::job::State; only grows
  kind        INTEGER,             -- the request's; NULL while the request has not been seen
  customer    BLOB,
  providers   BLOB,                -- those who were asked, one after the other; NULL for everybody
  encrypted   INTEGER,
  unasked     TEXT    NOT NULL DEFAULT '{}', -- JSON object: of keys that answer unasked, their feedbacks
  asked_ms    INTEGER,             -- when the request, the first feedback and the first result came
  reported_ms INTEGER,
  answered_ms INTEGER,
  first       BLOB                 -- whose result came first
) WITHOUT ROWID;

CREATE INDEX jobs_gone ON jobs (until) WHERE held <= 0;

-- Who has answered jobs whose request was held.
CREATE TABLE providers (
  pubkey      BLOB    PRIMARY KEY,
  results     INTEGER NOT NULL,
  errors      INTEGER NOT NULL,
  seen        INTEGER NOT NULL,    -- Unix seconds
  active      INTEGER NOT NULL     -- of the last answer: Unix time in units of five minutes
) WITHOUT ROWID;

CREATE INDEX providers_active ON providers (active);

-- What customers had of providers.
CREATE TABLE dealings (
  customer BLOB    NOT NULL,
  provider BLOB    NOT NULL,
  results  INTEGER NOT NULL,
  errors   INTEGER NOT NULL,
  speed    INTEGER NOT NULL,      -- the results' speeds together: see market::dealing
  known    INTEGER NOT NULL,      -- 1 when the customer has had results of three providers
  PRIMARY KEY (customer, provider)
) WITHOUT ROWID;

CREATE INDEX dealings_by_provider ON dealings (provider, known DESC);

-- What keys say of others by labels (NIP-32): each its newest in a namespace, as long as that event is held.
CREATE TABLE votes (
  provider   BLOB    NOT NULL,
  voter      BLOB    NOT NULL,
  namespace  TEXT    NOT NULL,
  labels     TEXT    NOT NULL,    -- JSON list
  created_at INTEGER NOT NULL,    -- of the event, with its tie, seq and expires_at
  tie        INTEGER NOT NULL,
  seq        INTEGER NOT NULL,
  expires_at INTEGER,
  PRIMARY KEY (provider, voter, namespace)
) WITHOUT ROWID;

CREATE TABLE totals (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  version  INTEGER NOT NULL,      -- how many writes the log has had; a write that finds another one sets NULL, and fails
  writer   TEXT NOT NULL,         -- the last of them: see store::log
  last_seq INTEGER NOT NULL,
  stored   INTEGER NOT NULL,
  flush    INTEGER NOT NULL,      -- the number of the last counters that a partition handed over
  since_ms INTEGER NOT NULL,      -- when counting began
  newest   INTEGER NOT NULL,      -- the latest created_at ever stored
  early    INTEGER NOT NULL,      -- Unix seconds until which answers to jobs not known here may be held
  day      INTEGER NOT NULL,      -- the last day (since 1970, UTC) on which rows were taken from the allowance
  spent    INTEGER NOT NULL,      -- rows taken on that day
  counts   TEXT    NOT NULL       -- JSON object: see store::counts
);

-- The counts of a minute, taken with the first group in it: kept a day, the first of each hour a month.
CREATE TABLE history (
  minute  INTEGER PRIMARY KEY,    -- since 1970
  hour    INTEGER NOT NULL,       -- 1 for the first of an hour
  stored  INTEGER NOT NULL,
  states  TEXT    NOT NULL,       -- JSON object: jobs by state
  results TEXT    NOT NULL        -- JSON object: histogram of the times to results
);

INSERT INTO totals VALUES (1, 0, '', 0, 0, 0, 0, 0, 0, 0, 0, '{}');
