-- A trial of what a release may do to the tables of 0001: a column and an index more, rows that move, a table made anew.
ALTER TABLE jobs ADD COLUMN note TEXT NOT NULL DEFAULT 'none; yet';
UPDATE jobs SET note = 'of kind ' || kind WHERE kind IS NOT NULL;

CREATE INDEX events_by_second ON events (created_at, kind) WHERE job IS NOT NULL;

CREATE TABLE answers (
  job BLOB    PRIMARY KEY,
  at  INTEGER NOT NULL -- Unix seconds
) WITHOUT ROWID;

INSERT INTO answers (job, at) SELECT id, answered_ms / 1000 FROM jobs WHERE answered_ms IS NOT NULL;

CREATE TABLE dealings_anew (
  customer BLOB    NOT NULL,
  provider BLOB    NOT NULL,
  results  INTEGER NOT NULL,
  errors   INTEGER NOT NULL,
  speed    INTEGER NOT NULL,
  known    INTEGER NOT NULL,
  share    INTEGER NOT NULL DEFAULT 1, -- of all that the customer had
  PRIMARY KEY (customer, provider)
) WITHOUT ROWID;

INSERT INTO dealings_anew (customer, provider, results, errors, speed, known)
  SELECT customer, provider, results, errors, speed, known FROM dealings;
DROP TABLE dealings;
ALTER TABLE dealings_anew RENAME TO dealings;
CREATE INDEX dealings_by_provider ON dealings (provider, known DESC);
ALTER TABLE dealings DROP COLUMN share;
