-- A request to vanish: what is asked before

SELECT json_array(e.seq, lower(hex(e.id)), lower(hex(e.pubkey)), e.kind, e.created_at, e.shelf >= 65536, lower(nullif(hex(e.job), '')), e.asked IS NOT NULL, lower(nullif(hex(e.place), '')), json_array(), NULL) AS r
FROM json_each(?1) AS v
CROSS JOIN events AS e
ON substr(e.id, 1, 8) = substr(unhex(v.value), 1, 8)
AND e.id = unhex(v.value);

SELECT t.until || ' ' || t.key AS r
FROM json_each(?1) AS v
CROSS JOIN deletions AS t
ON t.key = v.value;

-- What is written

UPDATE totals
SET version = iif(version = ?1, version + 1, NULL), writer = ?2, last_seq = ?3, stored = ?4, flush = ?5, newest = ?6, early = ?7, day = ?8, spent = ?9, since_ms = ?10, counts = ?11;

INSERT INTO vanishing (pubkey, until)
SELECT unhex(value->>0), value->>1
FROM json_each(?1)
WHERE true
ON CONFLICT (pubkey) DO
UPDATE
SET until = max(until, excluded.until), shelf = 0;

DELETE
FROM providers
WHERE pubkey IN (
  SELECT unhex(value->>0)
  FROM json_each(?1));

DELETE
FROM dealings
WHERE customer IN (
  SELECT unhex(value->>0)
  FROM json_each(?1));

DELETE
FROM dealings
WHERE provider IN (
  SELECT unhex(value->>0)
  FROM json_each(?1));

WITH g AS MATERIALIZED (
  SELECT jsonb(value) AS v
  FROM json_each(?1))
INSERT INTO events (seq, id, tie, pubkey, sig, kind, shelf, created_at, expires_at, place, extra, job, step, asked, delay_ms, tags, content)
SELECT g.v->>'$.seq', unhex(substr(CAST(?2 AS BLOB), (g.v->>'$.from'), 64)), g.v->>'$.tie', unhex(substr(CAST(?2 AS BLOB), (g.v->>'$.from') + 64, 64)), unhex(substr(CAST(?2 AS BLOB), (g.v->>'$.from') + 128, 128)), g.v->>'$.kind', g.v->>'$.shelf', g.v->>'$.created_at', g.v->>'$.expires_at', unhex(g.v->>'$.place'), g.v->'$.extra', unhex(g.v->>'$.job'), g.v->>'$.step', g.v->>'$.asked', g.v->>'$.delay_ms', CAST(substr(CAST(?2 AS BLOB), (g.v->>'$.from') + 256, g.v->>'$.tags') AS TEXT), CAST(substr(CAST(?2 AS BLOB), (g.v->>'$.from') + 256 + (g.v->>'$.tags'), g.v->>'$.content') AS TEXT)
FROM g;

INSERT INTO deletions (key, until)
SELECT value->>0, value->>1
FROM json_each(?1)
WHERE true
ON CONFLICT (key) DO
UPDATE
SET until = excluded.until
WHERE excluded.until > deletions.until;
