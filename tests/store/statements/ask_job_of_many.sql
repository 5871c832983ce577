-- The same where many events have the job's tag

WITH RECURSIVE r0 (value, shelf) AS NOT MATERIALIZED (
  SELECT v.value, k.value
  FROM (
    SELECT unhex(?5) AS value) AS v
  CROSS JOIN (
    SELECT value
    FROM json_each(?6)) AS k), r1 (value, shelf) AS NOT MATERIALIZED (
  SELECT v.value, k.value
  FROM (
    SELECT unhex(?8) AS value) AS v
  CROSS JOIN (
    SELECT value
    FROM json_each(?9)) AS k), w (value, shelf, created_at, tie, expires_at, seq) AS (
  SELECT p.value, p.shelf, e.created_at, e.tie, coalesce(e.expires_at, 0), e.seq
  FROM r0 AS p
  CROSS JOIN events AS e
  ON e.seq = (
    SELECT h.seq
    FROM tags AS h
    WHERE h.tag = p.value
    AND h.shelf = p.shelf
    AND (h.expires_at IS NULL
      OR h.expires_at > ?1)
    AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
      OR h.created_at > ?2)
    AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
      OR h.created_at > ?3)
    AND (NOT EXISTS (
        SELECT 1
        FROM vanishing)
      OR EXISTS (
        SELECT 1
        FROM events AS x
        WHERE x.seq = h.seq
        AND (NOT EXISTS (
            SELECT 1
            FROM vanishing)
          OR NOT EXISTS (
            SELECT 1
            FROM vanishing AS w
            WHERE w.pubkey = x.pubkey
            AND w.until >= x.created_at
            AND x.kind <> 62)
          AND NOT (x.kind = 1059
            AND EXISTS (
              SELECT 1
              FROM vanishing AS w
              CROSS JOIN tags AS t
              ON t.tag = unhex('3e00' || hex(w.pubkey))
              AND t.shelf = x.shelf
              AND t.created_at = x.created_at
              AND t.tie = x.tie
              AND t.seq = x.seq
              WHERE w.until >= x.created_at)))))
    ORDER BY h.created_at DESC, h.tie, h.seq
    LIMIT 1)
  UNION ALL
  SELECT w.value, w.shelf, e.created_at, e.tie, coalesce(e.expires_at, 0), e.seq
  FROM w AS w
  CROSS JOIN events AS e
  ON e.seq = coalesce( (
      SELECT h.seq
      FROM tags AS h
      WHERE h.tag = w.value
      AND h.shelf = w.shelf
      AND h.created_at = w.created_at
      AND h.tie >= w.tie
      AND (h.tie > w.tie
        OR h.seq > w.seq)
      AND (h.expires_at IS NULL
        OR h.expires_at > ?1)
      AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
        OR h.created_at > ?2)
      AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
        OR h.created_at > ?3)
      AND (NOT EXISTS (
          SELECT 1
          FROM vanishing)
        OR EXISTS (
          SELECT 1
          FROM events AS x
          WHERE x.seq = h.seq
          AND (NOT EXISTS (
              SELECT 1
              FROM vanishing)
            OR NOT EXISTS (
              SELECT 1
              FROM vanishing AS w
              WHERE w.pubkey = x.pubkey
              AND w.until >= x.created_at
              AND x.kind <> 62)
            AND NOT (x.kind = 1059
              AND EXISTS (
                SELECT 1
                FROM vanishing AS w
                CROSS JOIN tags AS t
                ON t.tag = unhex('3e00' || hex(w.pubkey))
                AND t.shelf = x.shelf
                AND t.created_at = x.created_at
                AND t.tie = x.tie
                AND t.seq = x.seq
                WHERE w.until >= x.created_at)))))
      ORDER BY h.tie, h.seq
      LIMIT 1), (
      SELECT h.seq
      FROM tags AS h
      WHERE h.tag = w.value
      AND h.shelf = w.shelf
      AND h.created_at < w.created_at
      AND (h.expires_at IS NULL
        OR h.expires_at > ?1)
      AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
        OR h.created_at > ?2)
      AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
        OR h.created_at > ?3)
      AND (NOT EXISTS (
          SELECT 1
          FROM vanishing)
        OR EXISTS (
          SELECT 1
          FROM events AS x
          WHERE x.seq = h.seq
          AND (NOT EXISTS (
              SELECT 1
              FROM vanishing)
            OR NOT EXISTS (
              SELECT 1
              FROM vanishing AS w
              WHERE w.pubkey = x.pubkey
              AND w.until >= x.created_at
              AND x.kind <> 62)
            AND NOT (x.kind = 1059
              AND EXISTS (
                SELECT 1
                FROM vanishing AS w
                CROSS JOIN tags AS t
                ON t.tag = unhex('3e00' || hex(w.pubkey))
                AND t.shelf = x.shelf
                AND t.created_at = x.created_at
                AND t.tie = x.tie
                AND t.seq = x.seq
                WHERE w.until >= x.created_at)))))
      ORDER BY h.created_at DESC, h.tie, h.seq
      LIMIT 1))
  ORDER BY 3 DESC, 4
  LIMIT 1000), tried AS MATERIALIZED (
  SELECT w.created_at, w.tie, w.seq
  FROM (
    SELECT created_at, tie, seq
    FROM w) AS w
  CROSS JOIN events AS e
  ON e.seq = w.seq
  WHERE EXISTS (
    SELECT 1
    FROM tags AS t
    WHERE t.tag IN (unhex(?4))
    AND t.shelf = e.shelf
    AND t.created_at = e.created_at
    AND t.tie = e.tie
    AND t.seq = e.seq)
  LIMIT 100), counting AS MATERIALIZED (
  SELECT 1 AS yes
  WHERE (
    SELECT count(*)
    FROM r0) > 2000
  OR CASE
  WHEN (
    SELECT count(*)
    FROM tried) < 100 THEN EXISTS (
    SELECT 1
    FROM r0 AS p
    CROSS JOIN tags AS h
    ON h.tag = p.value
    AND h.shelf = p.shelf
    AND (h.expires_at IS NULL
      OR h.expires_at > ?1)
    AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
      OR h.created_at > ?2)
    AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
      OR h.created_at > ?3)
    AND (NOT EXISTS (
        SELECT 1
        FROM vanishing)
      OR EXISTS (
        SELECT 1
        FROM events AS x
        WHERE x.seq = h.seq
        AND (NOT EXISTS (
            SELECT 1
            FROM vanishing)
          OR NOT EXISTS (
            SELECT 1
            FROM vanishing AS w
            WHERE w.pubkey = x.pubkey
            AND w.until >= x.created_at
            AND x.kind <> 62)
          AND NOT (x.kind = 1059
            AND EXISTS (
              SELECT 1
              FROM vanishing AS w
              CROSS JOIN tags AS t
              ON t.tag = unhex('3e00' || hex(w.pubkey))
              AND t.shelf = x.shelf
              AND t.created_at = x.created_at
              AND t.tie = x.tie
              AND t.seq = x.seq
              WHERE w.until >= x.created_at)))))
    LIMIT 1 OFFSET 1000) END), c0 (list, n) AS MATERIALIZED (
  SELECT 0, iif((SELECT count(*)
      FROM r0) > 2000, 20002, (
      SELECT count(*)
      FROM (
        SELECT 1
        FROM r0 AS p
        CROSS JOIN tags AS h
        ON h.tag = p.value
        AND h.shelf = p.shelf
        AND (h.expires_at IS NULL
          OR h.expires_at > ?1)
        AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
          OR h.created_at > ?2)
        AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
          OR h.created_at > ?3)
        AND (NOT EXISTS (
            SELECT 1
            FROM vanishing)
          OR EXISTS (
            SELECT 1
            FROM events AS x
            WHERE x.seq = h.seq
            AND (NOT EXISTS (
                SELECT 1
                FROM vanishing)
              OR NOT EXISTS (
                SELECT 1
                FROM vanishing AS w
                WHERE w.pubkey = x.pubkey
                AND w.until >= x.created_at
                AND x.kind <> 62)
              AND NOT (x.kind = 1059
                AND EXISTS (
                  SELECT 1
                  FROM vanishing AS w
                  CROSS JOIN tags AS t
                  ON t.tag = unhex('3e00' || hex(w.pubkey))
                  AND t.shelf = x.shelf
                  AND t.created_at = x.created_at
                  AND t.tie = x.tie
                  AND t.seq = x.seq
                  WHERE w.until >= x.created_at)))))
        LIMIT 20001)))
  FROM counting), c1 (list, n) AS MATERIALIZED (
  SELECT 1, iif((SELECT count(*)
      FROM r1) > 2000, 20002, (
      SELECT count(*)
      FROM (
        SELECT 1
        FROM r1 AS p
        CROSS JOIN tags AS h
        ON h.tag = p.value
        AND h.shelf = p.shelf
        AND (h.expires_at IS NULL
          OR h.expires_at > ?1)
        AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
          OR h.created_at > ?2)
        AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
          OR h.created_at > ?3)
        AND (NOT EXISTS (
            SELECT 1
            FROM vanishing)
          OR EXISTS (
            SELECT 1
            FROM events AS x
            WHERE x.seq = h.seq
            AND (NOT EXISTS (
                SELECT 1
                FROM vanishing)
              OR NOT EXISTS (
                SELECT 1
                FROM vanishing AS w
                WHERE w.pubkey = x.pubkey
                AND w.until >= x.created_at
                AND x.kind <> 62)
              AND NOT (x.kind = 1059
                AND EXISTS (
                  SELECT 1
                  FROM vanishing AS w
                  CROSS JOIN tags AS t
                  ON t.tag = unhex('3e00' || hex(w.pubkey))
                  AND t.shelf = x.shelf
                  AND t.created_at = x.created_at
                  AND t.tie = x.tie
                  AND t.seq = x.seq
                  WHERE w.until >= x.created_at)))))
        LIMIT (
          SELECT min(n, 20000) + 1
          FROM c0))))
  FROM counting), best (list, n) AS MATERIALIZED (
  SELECT list, min(n)
  FROM (
    SELECT list, n
    FROM c0
    UNION ALL
    SELECT list, n
    FROM c1)
  HAVING count(*) > 0), w0 (value, shelf, created_at, tie, expires_at, seq) AS (
  SELECT p.value, p.shelf, e.created_at, e.tie, coalesce(e.expires_at, 0), e.seq
  FROM (
    SELECT 1
    FROM best
    WHERE list = 0) AS g
  CROSS JOIN r0 AS p
  CROSS JOIN events AS e
  ON e.seq = (
    SELECT h.seq
    FROM tags AS h
    WHERE h.tag = p.value
    AND h.shelf = p.shelf
    AND (h.expires_at IS NULL
      OR h.expires_at > ?1)
    AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
      OR h.created_at > ?2)
    AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
      OR h.created_at > ?3)
    AND (NOT EXISTS (
        SELECT 1
        FROM vanishing)
      OR EXISTS (
        SELECT 1
        FROM events AS x
        WHERE x.seq = h.seq
        AND (NOT EXISTS (
            SELECT 1
            FROM vanishing)
          OR NOT EXISTS (
            SELECT 1
            FROM vanishing AS w
            WHERE w.pubkey = x.pubkey
            AND w.until >= x.created_at
            AND x.kind <> 62)
          AND NOT (x.kind = 1059
            AND EXISTS (
              SELECT 1
              FROM vanishing AS w
              CROSS JOIN tags AS t
              ON t.tag = unhex('3e00' || hex(w.pubkey))
              AND t.shelf = x.shelf
              AND t.created_at = x.created_at
              AND t.tie = x.tie
              AND t.seq = x.seq
              WHERE w.until >= x.created_at)))))
    ORDER BY h.created_at DESC, h.tie, h.seq
    LIMIT 1)
  UNION ALL
  SELECT w.value, w.shelf, e.created_at, e.tie, coalesce(e.expires_at, 0), e.seq
  FROM w0 AS w
  CROSS JOIN events AS e
  ON e.seq = coalesce( (
      SELECT h.seq
      FROM tags AS h
      WHERE h.tag = w.value
      AND h.shelf = w.shelf
      AND h.created_at = w.created_at
      AND h.tie >= w.tie
      AND (h.tie > w.tie
        OR h.seq > w.seq)
      AND (h.expires_at IS NULL
        OR h.expires_at > ?1)
      AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
        OR h.created_at > ?2)
      AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
        OR h.created_at > ?3)
      AND (NOT EXISTS (
          SELECT 1
          FROM vanishing)
        OR EXISTS (
          SELECT 1
          FROM events AS x
          WHERE x.seq = h.seq
          AND (NOT EXISTS (
              SELECT 1
              FROM vanishing)
            OR NOT EXISTS (
              SELECT 1
              FROM vanishing AS w
              WHERE w.pubkey = x.pubkey
              AND w.until >= x.created_at
              AND x.kind <> 62)
            AND NOT (x.kind = 1059
              AND EXISTS (
                SELECT 1
                FROM vanishing AS w
                CROSS JOIN tags AS t
                ON t.tag = unhex('3e00' || hex(w.pubkey))
                AND t.shelf = x.shelf
                AND t.created_at = x.created_at
                AND t.tie = x.tie
                AND t.seq = x.seq
                WHERE w.until >= x.created_at)))))
      ORDER BY h.tie, h.seq
      LIMIT 1), (
      SELECT h.seq
      FROM tags AS h
      WHERE h.tag = w.value
      AND h.shelf = w.shelf
      AND h.created_at < w.created_at
      AND (h.expires_at IS NULL
        OR h.expires_at > ?1)
      AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
        OR h.created_at > ?2)
      AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
        OR h.created_at > ?3)
      AND (NOT EXISTS (
          SELECT 1
          FROM vanishing)
        OR EXISTS (
          SELECT 1
          FROM events AS x
          WHERE x.seq = h.seq
          AND (NOT EXISTS (
              SELECT 1
              FROM vanishing)
            OR NOT EXISTS (
              SELECT 1
              FROM vanishing AS w
              WHERE w.pubkey = x.pubkey
              AND w.until >= x.created_at
              AND x.kind <> 62)
            AND NOT (x.kind = 1059
              AND EXISTS (
                SELECT 1
                FROM vanishing AS w
                CROSS JOIN tags AS t
                ON t.tag = unhex('3e00' || hex(w.pubkey))
                AND t.shelf = x.shelf
                AND t.created_at = x.created_at
                AND t.tie = x.tie
                AND t.seq = x.seq
                WHERE w.until >= x.created_at)))))
      ORDER BY h.created_at DESC, h.tie, h.seq
      LIMIT 1))
  ORDER BY 3 DESC, 4
  LIMIT 20000), w1 (value, shelf, created_at, tie, expires_at, seq) AS (
  SELECT p.value, p.shelf, e.created_at, e.tie, coalesce(e.expires_at, 0), e.seq
  FROM (
    SELECT 1
    FROM best
    WHERE list = 1) AS g
  CROSS JOIN r1 AS p
  CROSS JOIN events AS e
  ON e.seq = (
    SELECT h.seq
    FROM tags AS h
    WHERE h.tag = p.value
    AND h.shelf = p.shelf
    AND (h.expires_at IS NULL
      OR h.expires_at > ?1)
    AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
      OR h.created_at > ?2)
    AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
      OR h.created_at > ?3)
    AND (NOT EXISTS (
        SELECT 1
        FROM vanishing)
      OR EXISTS (
        SELECT 1
        FROM events AS x
        WHERE x.seq = h.seq
        AND (NOT EXISTS (
            SELECT 1
            FROM vanishing)
          OR NOT EXISTS (
            SELECT 1
            FROM vanishing AS w
            WHERE w.pubkey = x.pubkey
            AND w.until >= x.created_at
            AND x.kind <> 62)
          AND NOT (x.kind = 1059
            AND EXISTS (
              SELECT 1
              FROM vanishing AS w
              CROSS JOIN tags AS t
              ON t.tag = unhex('3e00' || hex(w.pubkey))
              AND t.shelf = x.shelf
              AND t.created_at = x.created_at
              AND t.tie = x.tie
              AND t.seq = x.seq
              WHERE w.until >= x.created_at)))))
    ORDER BY h.created_at DESC, h.tie, h.seq
    LIMIT 1)
  UNION ALL
  SELECT w.value, w.shelf, e.created_at, e.tie, coalesce(e.expires_at, 0), e.seq
  FROM w1 AS w
  CROSS JOIN events AS e
  ON e.seq = coalesce( (
      SELECT h.seq
      FROM tags AS h
      WHERE h.tag = w.value
      AND h.shelf = w.shelf
      AND h.created_at = w.created_at
      AND h.tie >= w.tie
      AND (h.tie > w.tie
        OR h.seq > w.seq)
      AND (h.expires_at IS NULL
        OR h.expires_at > ?1)
      AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
        OR h.created_at > ?2)
      AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
        OR h.created_at > ?3)
      AND (NOT EXISTS (
          SELECT 1
          FROM vanishing)
        OR EXISTS (
          SELECT 1
          FROM events AS x
          WHERE x.seq = h.seq
          AND (NOT EXISTS (
              SELECT 1
              FROM vanishing)
            OR NOT EXISTS (
              SELECT 1
              FROM vanishing AS w
              WHERE w.pubkey = x.pubkey
              AND w.until >= x.created_at
              AND x.kind <> 62)
            AND NOT (x.kind = 1059
              AND EXISTS (
                SELECT 1
                FROM vanishing AS w
                CROSS JOIN tags AS t
                ON t.tag = unhex('3e00' || hex(w.pubkey))
                AND t.shelf = x.shelf
                AND t.created_at = x.created_at
                AND t.tie = x.tie
                AND t.seq = x.seq
                WHERE w.until >= x.created_at)))))
      ORDER BY h.tie, h.seq
      LIMIT 1), (
      SELECT h.seq
      FROM tags AS h
      WHERE h.tag = w.value
      AND h.shelf = w.shelf
      AND h.created_at < w.created_at
      AND (h.expires_at IS NULL
        OR h.expires_at > ?1)
      AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
        OR h.created_at > ?2)
      AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
        OR h.created_at > ?3)
      AND (NOT EXISTS (
          SELECT 1
          FROM vanishing)
        OR EXISTS (
          SELECT 1
          FROM events AS x
          WHERE x.seq = h.seq
          AND (NOT EXISTS (
              SELECT 1
              FROM vanishing)
            OR NOT EXISTS (
              SELECT 1
              FROM vanishing AS w
              WHERE w.pubkey = x.pubkey
              AND w.until >= x.created_at
              AND x.kind <> 62)
            AND NOT (x.kind = 1059
              AND EXISTS (
                SELECT 1
                FROM vanishing AS w
                CROSS JOIN tags AS t
                ON t.tag = unhex('3e00' || hex(w.pubkey))
                AND t.shelf = x.shelf
                AND t.created_at = x.created_at
                AND t.tie = x.tie
                AND t.seq = x.seq
                WHERE w.until >= x.created_at)))))
      ORDER BY h.created_at DESC, h.tie, h.seq
      LIMIT 1))
  ORDER BY 3 DESC, 4
  LIMIT 20000), newest AS MATERIALIZED (
  SELECT *
  FROM tried
  WHERE NOT EXISTS (
    SELECT 1
    FROM counting)
  UNION ALL
  SELECT *
  FROM (
    SELECT *
    FROM (
      SELECT w.created_at, w.tie, w.seq
      FROM (
        SELECT created_at, tie, seq
        FROM w0) AS w
      CROSS JOIN events AS e
      ON e.seq = w.seq
      WHERE EXISTS (
        SELECT 1
        FROM tags AS t
        WHERE t.tag IN (unhex(?4))
        AND t.shelf = e.shelf
        AND t.created_at = e.created_at
        AND t.tie = e.tie
        AND t.seq = e.seq)
      LIMIT 100)
    UNION ALL
    SELECT *
    FROM (
      SELECT w.created_at, w.tie, w.seq
      FROM (
        SELECT created_at, tie, seq
        FROM w1) AS w
      CROSS JOIN events AS e
      ON e.seq = w.seq
      WHERE EXISTS (
        SELECT 1
        FROM tags AS t
        WHERE t.tag IN (unhex(?7))
        AND t.shelf = e.shelf
        AND t.created_at = e.created_at
        AND t.tie = e.tie
        AND t.seq = e.seq)
      LIMIT 100)))
SELECT '!' || iif(n > 20001, 'ranges 2000 every list of this filter', 'entries ' || CASE list
  WHEN 0 THEN '#e'
  WHEN 1 THEN '#p' END) AS r
FROM best
WHERE n > 20000
AND (
  SELECT count(*)
  FROM newest) < 100
UNION ALL
SELECT r
FROM (
  SELECT e.seq || coalesce(':' || e.expires_at, '') || ' ' || CASE
  WHEN (327 + length(e.created_at) + length(e.kind) + octet_length(e.tags) + octet_length(e.content) + iif(e.job IS NULL, 0, 256)) > 1000000 THEN 'large ' || lower(hex(e.id)) || ' ' || e.created_at || ' ' || (327 + length(e.created_at) + length(e.kind) + octet_length(e.tags) + octet_length(e.content) + iif(e.job IS NULL, 0, 256)) ELSE hex(e.id) || hex(e.pubkey) || hex(e.sig) || hex(e.job) || ' ' || e.created_at || ' ' || e.kind || ' ' || octet_length(e.tags) || ' ' || e.tags || e.content END AS r
  FROM newest AS n
  CROSS JOIN events AS e
  ON e.seq = n.seq
  ORDER BY n.created_at DESC, n.tie
  LIMIT 100);
