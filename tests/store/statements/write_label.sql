-- A label of a result: what is asked before

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

INSERT INTO events (id, seq, tie, pubkey, sig, kind, shelf, created_at, expires_at, place, extra, job, step, asked, delay_ms, tags, content)
SELECT unhex(substr(CAST(?2 AS BLOB), s.value + 0, 64)), CAST(substr(CAST(?2 AS BLOB), s.value + 64, 19) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 83, 19) AS INTEGER), unhex(substr(CAST(?2 AS BLOB), s.value + 102, 64)), unhex(substr(CAST(?2 AS BLOB), s.value + 166, 128)), CAST(substr(CAST(?2 AS BLOB), s.value + 294, 5) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 299, 6) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 305, 19) AS INTEGER), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 324, 19) AS INTEGER), -1), unhex(nullif(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 343, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 351, 8) AS INTEGER)), x'')), CAST(nullif(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 359, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 367, 8) AS INTEGER)), x'') AS TEXT), unhex(substr(CAST(?2 AS BLOB), s.value + 375, 64)), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 439, 2) AS INTEGER), -1), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 441, 5) AS INTEGER), -1), CAST(substr(CAST(?2 AS BLOB), s.value + 446, 20) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 466, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 474, 8) AS INTEGER)) AS TEXT), CAST(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 482, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 490, 8) AS INTEGER)) AS TEXT)
FROM json_each(?1) AS s;

INSERT INTO tags (tag, shelf, created_at, tie, seq, expires_at)
SELECT unhex(substr(v.value, instr(v.value, ' ') + 1)), e.shelf, e.created_at, e.tie, e.seq, e.expires_at
FROM json_each(?1) AS v
CROSS JOIN events AS e
ON e.seq = CAST(v.value AS INTEGER);

INSERT INTO votes (provider, voter, namespace, labels, created_at, tie, seq, expires_at)
SELECT unhex(value->>0), unhex(value->>1), value->>2, value->>3, value->>4, value->>5, value->>6, value->>7
FROM json_each(?1)
WHERE true
ON CONFLICT (provider, voter, namespace) DO
UPDATE
SET labels = excluded.labels, created_at = excluded.created_at, tie = excluded.tie, seq = excluded.seq, expires_at = excluded.expires_at
WHERE excluded.created_at > votes.created_at
OR excluded.created_at = votes.created_at
AND excluded.tie < votes.tie;
