-- A newer version of an event: what is asked before

SELECT json_array(e.seq, lower(hex(e.id)), lower(hex(e.pubkey)), e.kind, e.created_at, e.shelf >= 65536, lower(nullif(hex(e.job), '')), e.asked IS NOT NULL, lower(nullif(hex(e.place), '')), json_array(), NULL) AS r
FROM json_each(?1) AS v
CROSS JOIN events AS e
ON substr(e.id, 1, 8) = substr(unhex(v.value), 1, 8)
AND e.id = unhex(v.value);

SELECT iif((SELECT count(nullif(iif(e.created_at <= v.value->>3, octet_length(e.tags) + ifnull(octet_length(e.extra), 0), 0), 0)) < 2
    OR sum(iif(e.created_at <= v.value->>3, octet_length(e.tags) + ifnull(octet_length(e.extra), 0), 0)) <= 1000000
    FROM json_each(?1) AS v
    CROSS JOIN events AS e
    ON substr(e.pubkey, 1, 8) = substr(unhex(v.value->>0), 1, 8)
    AND e.pubkey = unhex(v.value->>0)
    AND e.kind = v.value->>1
    AND e.place = unhex(v.value->>2)), json_array(e.seq, lower(hex(e.id)), lower(hex(e.pubkey)), e.kind, e.created_at, e.shelf >= 65536, lower(nullif(hex(e.job), '')), e.asked IS NOT NULL, lower(nullif(hex(e.place), '')), json(iif(e.created_at <= v.value->>3, iif(e.job IS NULL, e.tags, replace(e.tags, char(1), lower(hex(e.job)))), '[]')), iif(e.created_at <= v.value->>3, json(e.extra), NULL)), '') AS r
FROM json_each(?1) AS v
CROSS JOIN events AS e
ON substr(e.pubkey, 1, 8) = substr(unhex(v.value->>0), 1, 8)
AND e.pubkey = unhex(v.value->>0)
AND e.kind = v.value->>1
AND e.place = unhex(v.value->>2);

SELECT t.until || ' ' || t.key AS r
FROM json_each(?1) AS v
CROSS JOIN deletions AS t
ON t.key = v.value;

-- What is written

UPDATE totals
SET version = iif(version = ?1, version + 1, NULL), writer = ?2, last_seq = ?3, stored = ?4, flush = ?5, newest = ?6, early = ?7, day = ?8, spent = ?9, since_ms = ?10, counts = ?11;

DELETE
FROM events
WHERE seq IN (
  SELECT value
  FROM json_each(?1));

INSERT INTO events (id, seq, tie, pubkey, sig, kind, shelf, created_at, expires_at, place, extra, job, step, asked, delay_ms, tags, content)
SELECT unhex(substr(CAST(?2 AS BLOB), s.value + 0, 64)), CAST(substr(CAST(?2 AS BLOB), s.value + 64, 19) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 83, 19) AS INTEGER), unhex(substr(CAST(?2 AS BLOB), s.value + 102, 64)), unhex(substr(CAST(?2 AS BLOB), s.value + 166, 128)), CAST(substr(CAST(?2 AS BLOB), s.value + 294, 5) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 299, 6) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 305, 19) AS INTEGER), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 324, 19) AS INTEGER), -1), unhex(nullif(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 343, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 351, 8) AS INTEGER)), x'')), CAST(nullif(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 359, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 367, 8) AS INTEGER)), x'') AS TEXT), unhex(substr(CAST(?2 AS BLOB), s.value + 375, 64)), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 439, 2) AS INTEGER), -1), nullif(CAST(substr(CAST(?2 AS BLOB), s.value + 441, 5) AS INTEGER), -1), CAST(substr(CAST(?2 AS BLOB), s.value + 446, 20) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 466, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 474, 8) AS INTEGER)) AS TEXT), CAST(substr(CAST(?2 AS BLOB), CAST(substr(CAST(?2 AS BLOB), s.value + 482, 8) AS INTEGER), CAST(substr(CAST(?2 AS BLOB), s.value + 490, 8) AS INTEGER)) AS TEXT)
FROM json_each(?1) AS s;
