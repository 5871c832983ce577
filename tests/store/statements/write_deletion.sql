-- A deletion request: what is asked before

SELECT json_array(e.seq, lower(hex(e.id)), lower(hex(e.pubkey)), e.kind, e.created_at, e.shelf >= 65536, lower(nullif(hex(e.job), '')), e.asked IS NOT NULL, lower(nullif(hex(e.place), '')), json_array(), NULL) AS r
FROM json_each(?1) AS v
CROSS JOIN events AS e
ON substr(e.id, 1, 8) = substr(unhex(v.value), 1, 8)
AND e.id = unhex(v.value);

SELECT iif((SELECT count(nullif(iif((v.value->>1 IS NULL
            OR e.kind NOT IN (5, 62)
            AND (e.pubkey = unhex(v.value->>1)
              OR e.kind = 1059
              AND EXISTS (
                SELECT 1
                FROM tags AS t
                WHERE t.tag = unhex('7000' || (v.value->>1))
                AND t.shelf = e.shelf
                AND t.created_at = e.created_at
                AND t.tie = e.tie
                AND t.seq = e.seq))), octet_length(e.tags) + ifnull(octet_length(e.extra), 0), 0), 0)) < 2
    OR sum(iif((v.value->>1 IS NULL
          OR e.kind NOT IN (5, 62)
          AND (e.pubkey = unhex(v.value->>1)
            OR e.kind = 1059
            AND EXISTS (
              SELECT 1
              FROM tags AS t
              WHERE t.tag = unhex('7000' || (v.value->>1))
              AND t.shelf = e.shelf
              AND t.created_at = e.created_at
              AND t.tie = e.tie
              AND t.seq = e.seq))), octet_length(e.tags) + ifnull(octet_length(e.extra), 0), 0)) <= 1000000
    FROM json_each(?1) AS v
    CROSS JOIN events AS e
    ON substr(e.id, 1, 8) = substr(unhex(v.value->>0), 1, 8)
    AND e.id = unhex(v.value->>0)), json_array(e.seq, lower(hex(e.id)), lower(hex(e.pubkey)), e.kind, e.created_at, e.shelf >= 65536, lower(nullif(hex(e.job), '')), e.asked IS NOT NULL, lower(nullif(hex(e.place), '')), json(iif((v.value->>1 IS NULL
          OR e.kind NOT IN (5, 62)
          AND (e.pubkey = unhex(v.value->>1)
            OR e.kind = 1059
            AND EXISTS (
              SELECT 1
              FROM tags AS t
              WHERE t.tag = unhex('7000' || (v.value->>1))
              AND t.shelf = e.shelf
              AND t.created_at = e.created_at
              AND t.tie = e.tie
              AND t.seq = e.seq))), iif(e.job IS NULL, e.tags, replace(e.tags, char(1), lower(hex(e.job)))), '[]')), iif((v.value->>1 IS NULL
        OR e.kind NOT IN (5, 62)
        AND (e.pubkey = unhex(v.value->>1)
          OR e.kind = 1059
          AND EXISTS (
            SELECT 1
            FROM tags AS t
            WHERE t.tag = unhex('7000' || (v.value->>1))
            AND t.shelf = e.shelf
            AND t.created_at = e.created_at
            AND t.tie = e.tie
            AND t.seq = e.seq))), json(e.extra), NULL)), '') AS r
FROM json_each(?1) AS v
CROSS JOIN events AS e
ON substr(e.id, 1, 8) = substr(unhex(v.value->>0), 1, 8)
AND e.id = unhex(v.value->>0);

SELECT t.until || ' ' || t.key AS r
FROM json_each(?1) AS v
CROSS JOIN deletions AS t
ON t.key = v.value;

SELECT iif((SELECT count(nullif(ifnull(2 * octet_length(j.providers), 0) + octet_length(j.unasked), 0)) < 2
    OR sum(ifnull(2 * octet_length(j.providers), 0) + octet_length(j.unasked)) <= 1000000
    FROM (
      SELECT unhex(value) AS id
      FROM json_each(?1)
      UNION
      SELECT c.id
      FROM json_each(?2) AS v
      CROSS JOIN jobs AS c
      ON c.id = unhex(v.value->>0)
      AND (c.customer = unhex(v.value->>1)
        OR v.value->>1 IS NULL)
      UNION
      SELECT e.job
      FROM json_each(?3) AS v
      CROSS JOIN events AS e
      ON substr(e.id, 1, 8) = substr(unhex(v.value->>0), 1, 8)
      AND e.id = unhex(v.value->>0)
      WHERE e.job IS NOT NULL
      AND (v.value->>1 IS NULL
        OR e.kind NOT IN (5, 62)
        AND (e.pubkey = unhex(v.value->>1)
          OR e.kind = 1059
          AND EXISTS (
            SELECT 1
            FROM tags AS t
            WHERE t.tag = unhex('7000' || (v.value->>1))
            AND t.shelf = e.shelf
            AND t.created_at = e.created_at
            AND t.tie = e.tie
            AND t.seq = e.seq)))) AS n
    CROSS JOIN jobs AS j
    ON j.id = n.id), json_array(lower(hex(j.id)), j.held, j.until, j.state, j.kind, lower(nullif(hex(j.customer), '')), lower(nullif(hex(j.providers), '')), j.encrypted, json(j.unasked), j.asked_ms, j.reported_ms, j.answered_ms, lower(nullif(hex(j.first), ''))), '') AS r
FROM (
  SELECT unhex(value) AS id
  FROM json_each(?1)
  UNION
  SELECT c.id
  FROM json_each(?2) AS v
  CROSS JOIN jobs AS c
  ON c.id = unhex(v.value->>0)
  AND (c.customer = unhex(v.value->>1)
    OR v.value->>1 IS NULL)
  UNION
  SELECT e.job
  FROM json_each(?3) AS v
  CROSS JOIN events AS e
  ON substr(e.id, 1, 8) = substr(unhex(v.value->>0), 1, 8)
  AND e.id = unhex(v.value->>0)
  WHERE e.job IS NOT NULL
  AND (v.value->>1 IS NULL
    OR e.kind NOT IN (5, 62)
    AND (e.pubkey = unhex(v.value->>1)
      OR e.kind = 1059
      AND EXISTS (
        SELECT 1
        FROM tags AS t
        WHERE t.tag = unhex('7000' || (v.value->>1))
        AND t.shelf = e.shelf
        AND t.created_at = e.created_at
        AND t.tie = e.tie
        AND t.seq = e.seq)))) AS n
CROSS JOIN jobs AS j
ON j.id = n.id;

SELECT DISTINCT lower(hex(id)) || ' ' || lower(hex(pubkey)) AS r
FROM (
  SELECT j.id, e.pubkey
  FROM json_each(?1) AS v
  CROSS JOIN jobs AS j
  ON j.id = unhex(v.value->>0)
  AND (j.customer = unhex(v.value->>1)
    OR v.value->>1 IS NULL)
  AND j.state < 7
  CROSS JOIN tags AS t
  ON t.tag = unhex('6500' || hex(j.id))
  CROSS JOIN events AS e
  ON e.seq = t.seq
  AND e.job = j.id
  AND e.id <> j.id
  LIMIT 1000);

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

INSERT INTO events (id, seq, tie, pubkey, sig, kind, shelf, created_at, expires_at, place, extra, job, step, asked, delay_ms, tags, content)
SELECT unhex(substr(CAST(?2 AS BLOB), s.value + 0, 64)), CAST(substr(CAST(?2 AS BLOB), s.value + 64, 19) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 83, 19) AS INTEGER), unhex(substr(CAST(?2 AS BLOB), s.value + 102, 64)), unhex(substr(CAST(?2 AS BLOB), s.value + 166, 128)), CAST(substr(CAST(?2 AS BLOB), s.value + 294, 5) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 299, 6) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 305, 19) AS INTEGER), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 324, 19) AS INTEGER), -1), unhex(nullif(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 343, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 351, 8) AS INTEGER)), x'')), CAST(nullif(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 359, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 367, 8) AS INTEGER)), x'') AS TEXT), unhex(substr(CAST(?2 AS BLOB), s.value + 375, 64)), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 439, 2) AS INTEGER), -1), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 441, 5) AS INTEGER), -1), CAST(substr(CAST(?2 AS BLOB), s.value + 446, 20) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 466, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 474, 8) AS INTEGER)) AS TEXT), CAST(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 482, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 490, 8) AS INTEGER)) AS TEXT)
FROM json_each(?1) AS s;

INSERT INTO tags (tag, shelf, created_at, tie, seq, expires_at)
SELECT unhex(substr(v.value, instr(v.value, ' ') + 1)), e.shelf, e.created_at, e.tie, e.seq, e.expires_at
FROM json_each(?1) AS v
CROSS JOIN events AS e
ON e.seq = CAST(v.value AS INTEGER);

INSERT INTO jobs (id, held, until, state, kind, customer, providers, encrypted, unasked, asked_ms, reported_ms, answered_ms, first)
SELECT unhex(substr(CAST(?2 AS BLOB), s.value + 0, 64)), CAST(substr(CAST(?2 AS BLOB), s.value + 64, 19) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 83, 19) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 102, 3) AS INTEGER), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 105, 5) AS INTEGER), -1), unhex(substr(CAST(?2 AS BLOB), s.value + 110, 64)), unhex(nullif(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 174, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 182, 8) AS INTEGER)), x'')), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 190, 2) AS INTEGER), -1), CAST(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 192, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 200, 8) AS INTEGER)) AS TEXT), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 208, 19) AS INTEGER), -1), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 227, 19) AS INTEGER), -1), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 246, 19) AS INTEGER), -1), unhex(substr(CAST(?2 AS BLOB), s.value + 265, 64))
FROM json_each(?1) AS s
WHERE true
ON CONFLICT (id) DO
UPDATE
SET held = excluded.held, until = excluded.until, state = excluded.state, kind = excluded.kind, customer = excluded.customer, providers = excluded.providers, encrypted = excluded.encrypted, unasked = excluded.unasked, asked_ms = excluded.asked_ms, reported_ms = excluded.reported_ms, answered_ms = excluded.answered_ms, first = excluded.first;

INSERT INTO deletions (key, until)
SELECT value->>0, value->>1
FROM json_each(?1)
WHERE true
ON CONFLICT (key) DO
UPDATE
SET until = excluded.until
WHERE excluded.until > deletions.until;
