-- A step of a sweep: what is asked before

SELECT iif((SELECT count(nullif(iif(true, octet_length(e.tags) + ifnull(octet_length(e.extra), 0), 0), 0)) < 2
    OR sum(iif(true, octet_length(e.tags) + ifnull(octet_length(e.extra), 0), 0)) <= 1000000
    FROM json_each(?1) AS v
    CROSS JOIN events AS e
    ON e.seq = v.value), json_array(e.seq, lower(hex(e.id)), lower(hex(e.pubkey)), e.kind, e.created_at, e.shelf >= 65536, lower(nullif(hex(e.job), '')), e.asked IS NOT NULL, lower(nullif(hex(e.place), '')), json(iif(true, iif(e.job IS NULL, e.tags, replace(e.tags, char(1), lower(hex(e.job)))), '[]')), iif(true, json(e.extra), NULL)), '') AS r
FROM json_each(?1) AS v
CROSS JOIN events AS e
ON e.seq = v.value;

SELECT DISTINCT lower(hex(w.pubkey)) AS r
FROM json_each(?1) AS v
CROSS JOIN events AS e
ON e.seq = v.value
CROSS JOIN vanishing AS w
ON w.pubkey = e.pubkey;

SELECT iif((SELECT count(nullif(ifnull(2 * octet_length(j.providers), 0) + octet_length(j.unasked), 0)) < 2
    OR sum(ifnull(2 * octet_length(j.providers), 0) + octet_length(j.unasked)) <= 1000000
    FROM (
      SELECT unhex(value) AS id
      FROM json_each(?1)
      UNION
      SELECT e.job
      FROM json_each(?2) AS v
      CROSS JOIN events AS e
      ON e.seq = v.value
      WHERE e.job IS NOT NULL
      AND true) AS n
    CROSS JOIN jobs AS j
    ON j.id = n.id), json_array(lower(hex(j.id)), j.held, j.until, j.state, j.kind, lower(nullif(hex(j.customer), '')), lower(nullif(hex(j.providers), '')), j.encrypted, json(j.unasked), j.asked_ms, j.reported_ms, j.answered_ms, lower(nullif(hex(j.first), ''))), '') AS r
FROM (
  SELECT unhex(value) AS id
  FROM json_each(?1)
  UNION
  SELECT e.job
  FROM json_each(?2) AS v
  CROSS JOIN events AS e
  ON e.seq = v.value
  WHERE e.job IS NOT NULL
  AND true) AS n
CROSS JOIN jobs AS j
ON j.id = n.id;

-- What is written

UPDATE totals
SET version = iif(version = ?1, version + 1, NULL), writer = ?2, last_seq = ?3, stored = ?4, flush = ?5, newest = ?6, early = ?7, day = ?8, spent = ?9, since_ms = ?10, counts = ?11;

DELETE
FROM tags
WHERE (tag, shelf, created_at, tie, seq) IN (
  SELECT unhex(substr(v.value, instr(v.value, ' ') + 1)), e.shelf, e.created_at, e.tie, e.seq
  FROM json_each(?1) AS v
  CROSS JOIN events AS e
  ON e.seq = CAST(v.value AS INTEGER));

DELETE
FROM events
WHERE seq IN (
  SELECT value
  FROM json_each(?1));

INSERT INTO jobs (id, held, until, state, kind, customer, providers, encrypted, unasked, asked_ms, reported_ms, answered_ms, first)
SELECT unhex(substr(CAST(?2 AS BLOB), s.value + 0, 64)), CAST(substr(CAST(?2 AS BLOB), s.value + 64, 19) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 83, 19) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 102, 3) AS INTEGER), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 105, 5) AS INTEGER), -1), unhex(substr(CAST(?2 AS BLOB), s.value + 110, 64)), unhex(nullif(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 174, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 182, 8) AS INTEGER)), x'')), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 190, 2) AS INTEGER), -1), CAST(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 192, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 200, 8) AS INTEGER)) AS TEXT), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 208, 19) AS INTEGER), -1), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 227, 19) AS INTEGER), -1), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 246, 19) AS INTEGER), -1), unhex(substr(CAST(?2 AS BLOB), s.value + 265, 64))
FROM json_each(?1) AS s
WHERE true
ON CONFLICT (id) DO
UPDATE
SET held = excluded.held, until = excluded.until, state = excluded.state, kind = excluded.kind, customer = excluded.customer, providers = excluded.providers, encrypted = excluded.encrypted, unasked = excluded.unasked, asked_ms = excluded.asked_ms, reported_ms = excluded.reported_ms, answered_ms = excluded.answered_ms, first = excluded.first;

DELETE
FROM jobs
WHERE held <= 0
AND until <= ?1;

UPDATE vanishing
SET shelf = w.value->>2
FROM json_each(?1) AS w
WHERE vanishing.pubkey = unhex(w.value->>0)
AND vanishing.until = w.value->>1;

DELETE
FROM vanishing
WHERE (pubkey, until) IN (
  SELECT unhex(value->>0), value->>1
  FROM json_each(?1));
