-- Events, their searchable tags, what was deleted, the jobs events belong to, and totals.
-- Every index entry is a billed row: an event costs 5 rows and 1 for each distinct single-letter tag.
-- Indexes carry all that a search looks at, so that a row is read only when it is sent.

CREATE TABLE events (
  seq        INTEGER PRIMARY KEY, -- only grows; orders the log
  id         TEXT    NOT NULL UNIQUE,
  pubkey     TEXT    NOT NULL,
  kind       INTEGER NOT NULL,
  created_at INTEGER NOT NULL,    -- Unix seconds
  expires_at INTEGER,             -- Unix seconds
  d          TEXT,                -- key of the d tag of replaceable and addressable events
  keys       TEXT    NOT NULL,    -- JSON list of the event's rows in tags
  json       TEXT    NOT NULL     -- the event, as it is sent
);

CREATE INDEX events_by_author ON events (pubkey, kind, created_at DESC, id, expires_at);
CREATE INDEX events_by_kind   ON events (kind, created_at DESC, id, expires_at);
CREATE INDEX events_by_time   ON events (created_at DESC, id, kind, expires_at);
CREATE INDEX events_by_expiry ON events (expires_at) WHERE expires_at IS NOT NULL;
CREATE UNIQUE INDEX events_by_coordinates ON events (pubkey, kind, d) WHERE d IS NOT NULL;

CREATE TABLE tags (
  tag        TEXT    NOT NULL,    -- letter and value
  kind       INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  id         TEXT    NOT NULL,
  seq        INTEGER NOT NULL,
  expires_at INTEGER,
  PRIMARY KEY (tag, kind, created_at DESC, id)
) WITHOUT ROWID;

-- What may not come back: `PUBKEY ID`, `PUBKEY KIND:D` or `PUBKEY *`, up to a created_at.
CREATE TABLE deletions (
  key   TEXT    PRIMARY KEY,
  until INTEGER NOT NULL
) WITHOUT ROWID;

-- Keys that asked to vanish and whose events are still being removed.
CREATE TABLE vanishing (
  pubkey TEXT    PRIMARY KEY,
  until  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE jobs (
  id        TEXT    PRIMARY KEY,  -- id of the request
  requested INTEGER NOT NULL,     -- 1 when the request is stored
  feedback  INTEGER NOT NULL,     -- 1 when feedback is stored
  result    INTEGER NOT NULL      -- 1 when a result is stored
) WITHOUT ROWID;

CREATE TABLE totals (
  one           INTEGER PRIMARY KEY CHECK (one = 1),
  last_seq      INTEGER NOT NULL,
  stored        INTEGER NOT NULL,
  requested     INTEGER NOT NULL,
  with_feedback INTEGER NOT NULL,
  with_result   INTEGER NOT NULL
);

INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0);
