-- All of an author

WITH RECURSIVE r0 (value, shelf) AS (
  WITH RECURSIVE here (value, shelf) AS (
    SELECT v.value, (
      SELECT min(i.shelf)
      FROM events AS i
      WHERE substr(i.pubkey, 1, 8) = substr(v.value, 1, 8)
      AND i.shelf >= 0
      AND i.shelf < 65536)
    FROM (
      SELECT unhex(?5) AS value) AS v
    UNION ALL
    SELECT value, (
      SELECT min(i.shelf)
      FROM events AS i
      WHERE substr(i.pubkey, 1, 8) = substr(here.value, 1, 8)
      AND i.shelf > here.shelf
      AND i.shelf < 65536)
    FROM here
    WHERE here.shelf IS NOT NULL
    LIMIT 2002)
  SELECT value, shelf
  FROM here
  WHERE shelf IS NOT NULL
  LIMIT 2001), w0 (value, shelf, created_at, tie, expires_at, seq) AS (
  SELECT p.value, p.shelf, e.created_at, e.tie, coalesce(e.expires_at, 0), e.seq
  FROM r0 AS p
  CROSS JOIN events AS e
  ON e.seq = (
    SELECT h.seq
    FROM events AS h INDEXED BY events_by_author
    WHERE substr(h.pubkey, 1, 8) = substr(p.value, 1, 8)
    AND h.pubkey = p.value
    AND h.shelf = p.shelf
    AND (h.expires_at IS NULL
      OR h.expires_at > ?1)
    AND (h.shelf & 65535 NOT BETWEEN 5000 AND 5999
      OR h.created_at > ?2)
    AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
      OR h.created_at > ?3)
    AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
      OR h.created_at > ?4)
    AND (NOT EXISTS (
        SELECT 1
        FROM vanishing)
      OR NOT EXISTS (
        SELECT 1
        FROM vanishing AS w
        WHERE w.pubkey = h.pubkey
        AND w.until >= h.created_at
        AND h.kind <> 62)
      AND NOT (h.kind = 1059
        AND EXISTS (
          SELECT 1
          FROM vanishing AS w
          CROSS JOIN tags AS t
          ON t.tag = unhex('3e00' || hex(w.pubkey))
          AND t.shelf = h.shelf
          AND t.created_at = h.created_at
          AND t.tie = h.tie
          AND t.seq = h.seq
          WHERE w.until >= h.created_at)))
    ORDER BY h.created_at DESC, h.tie, h.expires_at, h.seq DESC
    LIMIT 1)
  UNION ALL
  SELECT w.value, w.shelf, e.created_at, e.tie, coalesce(e.expires_at, 0), e.seq
  FROM w0 AS w
  CROSS JOIN events AS e
  ON e.seq = coalesce( (
      SELECT h.seq
      FROM events AS h INDEXED BY events_by_author
      WHERE substr(h.pubkey, 1, 8) = substr(w.value, 1, 8)
      AND h.pubkey = w.value
      AND h.shelf = w.shelf
      AND h.created_at = w.created_at
      AND h.tie >= w.tie
      AND (h.tie > w.tie
        OR (coalesce(h.expires_at, 0) > w.expires_at
          OR coalesce(h.expires_at, 0) = w.expires_at
          AND h.seq < w.seq))
      AND (h.expires_at IS NULL
        OR h.expires_at > ?1)
      AND (h.shelf & 65535 NOT BETWEEN 5000 AND 5999
        OR h.created_at > ?2)
      AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
        OR h.created_at > ?3)
      AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
        OR h.created_at > ?4)
      AND (NOT EXISTS (
          SELECT 1
          FROM vanishing)
        OR NOT EXISTS (
          SELECT 1
          FROM vanishing AS w
          WHERE w.pubkey = h.pubkey
          AND w.until >= h.created_at
          AND h.kind <> 62)
        AND NOT (h.kind = 1059
          AND EXISTS (
            SELECT 1
            FROM vanishing AS w
            CROSS JOIN tags AS t
            ON t.tag = unhex('3e00' || hex(w.pubkey))
            AND t.shelf = h.shelf
            AND t.created_at = h.created_at
            AND t.tie = h.tie
            AND t.seq = h.seq
            WHERE w.until >= h.created_at)))
      ORDER BY h.tie, h.expires_at, h.seq DESC
      LIMIT 1), (
      SELECT h.seq
      FROM events AS h INDEXED BY events_by_author
      WHERE substr(h.pubkey, 1, 8) = substr(w.value, 1, 8)
      AND h.pubkey = w.value
      AND h.shelf = w.shelf
      AND h.created_at < w.created_at
      AND (h.expires_at IS NULL
        OR h.expires_at > ?1)
      AND (h.shelf & 65535 NOT BETWEEN 5000 AND 5999
        OR h.created_at > ?2)
      AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
        OR h.created_at > ?3)
      AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
        OR h.created_at > ?4)
      AND (NOT EXISTS (
          SELECT 1
          FROM vanishing)
        OR NOT EXISTS (
          SELECT 1
          FROM vanishing AS w
          WHERE w.pubkey = h.pubkey
          AND w.until >= h.created_at
          AND h.kind <> 62)
        AND NOT (h.kind = 1059
          AND EXISTS (
            SELECT 1
            FROM vanishing AS w
            CROSS JOIN tags AS t
            ON t.tag = unhex('3e00' || hex(w.pubkey))
            AND t.shelf = h.shelf
            AND t.created_at = h.created_at
            AND t.tie = h.tie
            AND t.seq = h.seq
            WHERE w.until >= h.created_at)))
      ORDER BY h.created_at DESC, h.tie, h.expires_at, h.seq DESC
      LIMIT 1))
  ORDER BY 3 DESC, 4
  LIMIT 100), newest AS MATERIALIZED (
  SELECT created_at, tie, seq
  FROM w0
  LIMIT 100)
SELECT '!' || iif((SELECT count(*)
    FROM r0) > 2000, 'ranges 2000 authors', 'entries ' || 'authors') AS r
WHERE (
  SELECT count(*)
  FROM r0) > 2000
OR CASE
WHEN (
  SELECT count(*)
  FROM newest) < 100 THEN EXISTS (
  SELECT 1
  FROM r0 AS p
  CROSS JOIN events AS h INDEXED BY events_by_author
  ON substr(h.pubkey, 1, 8) = substr(p.value, 1, 8)
  AND h.pubkey = p.value
  AND h.shelf = p.shelf
  AND (h.expires_at IS NULL
    OR h.expires_at > ?1)
  AND (h.shelf & 65535 NOT BETWEEN 5000 AND 5999
    OR h.created_at > ?2)
  AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
    OR h.created_at > ?3)
  AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
    OR h.created_at > ?4)
  AND (NOT EXISTS (
      SELECT 1
      FROM vanishing)
    OR NOT EXISTS (
      SELECT 1
      FROM vanishing AS w
      WHERE w.pubkey = h.pubkey
      AND w.until >= h.created_at
      AND h.kind <> 62)
    AND NOT (h.kind = 1059
      AND EXISTS (
        SELECT 1
        FROM vanishing AS w
        CROSS JOIN tags AS t
        ON t.tag = unhex('3e00' || hex(w.pubkey))
        AND t.shelf = h.shelf
        AND t.created_at = h.created_at
        AND t.tie = h.tie
        AND t.seq = h.seq
        WHERE w.until >= h.created_at)))
  LIMIT 1 OFFSET 20000) END
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
