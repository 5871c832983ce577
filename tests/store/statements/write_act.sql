-- An act of the operator, who bans an event: what is asked before

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

INSERT INTO rulings (sort, item, reason, since)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (sort, item) DO
UPDATE
SET reason = excluded.reason;

DELETE
FROM rulings
WHERE sort = ?1
AND item = ?2;

INSERT INTO acts (id, at, actor, method, params)
SELECT unhex(?1->>0), ?1->>1, unhex(?1->>2), ?1->>3, ?1->>4;

DELETE
FROM acts
WHERE number <= (
  SELECT max(number)
  FROM acts) - ?1;
