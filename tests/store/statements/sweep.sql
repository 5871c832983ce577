-- What may not be kept

SELECT cast(r AS TEXT) AS r
FROM (
  WITH RECURSIVE s (pubkey, until, shelf) AS (
    SELECT v.pubkey, v.until, (
      SELECT min(i.shelf)
      FROM events AS i
      WHERE substr(i.pubkey, 1, 8) = substr(v.pubkey, 1, 8)
      AND i.shelf > v.shelf - 1)
    FROM (
      SELECT *
      FROM vanishing
      ORDER BY pubkey
      LIMIT 100) AS v
    UNION ALL
    SELECT s.pubkey, s.until, (
      SELECT min(i.shelf)
      FROM events AS i
      WHERE substr(i.pubkey, 1, 8) = substr(s.pubkey, 1, 8)
      AND i.shelf > s.shelf)
    FROM s
    WHERE s.shelf IS NOT NULL
    ORDER BY 1
    LIMIT 2000)
  SELECT lower(hex(pubkey)) || ' ' || until || iif(count(*) > count(shelf), '', ' ' || (max(shelf) + 1)) AS r
  FROM s
  GROUP BY pubkey, until);

SELECT cast(r AS TEXT) AS r
FROM (
  WITH RECURSIVE s (pubkey, until, shelf) AS (
    SELECT v.pubkey, v.until, (
      SELECT min(i.shelf)
      FROM events AS i
      WHERE substr(i.pubkey, 1, 8) = substr(v.pubkey, 1, 8)
      AND i.shelf > v.shelf - 1)
    FROM (
      SELECT *
      FROM vanishing
      ORDER BY pubkey
      LIMIT 100) AS v
    UNION ALL
    SELECT s.pubkey, s.until, (
      SELECT min(i.shelf)
      FROM events AS i
      WHERE substr(i.pubkey, 1, 8) = substr(s.pubkey, 1, 8)
      AND i.shelf > s.shelf)
    FROM s
    WHERE s.shelf IS NOT NULL
    ORDER BY 1
    LIMIT 2000)
  SELECT e.seq AS r
  FROM s
  CROSS JOIN events AS e
  ON substr(e.pubkey, 1, 8) = substr(s.pubkey, 1, 8)
  AND e.pubkey = s.pubkey
  AND e.shelf = s.shelf
  AND e.created_at <= s.until
  WHERE s.shelf <> 62
  LIMIT 200);

SELECT cast(r AS TEXT) AS r
FROM (
  SELECT t.seq AS r
  FROM (
    SELECT *
    FROM vanishing
    ORDER BY pubkey
    LIMIT 100) AS v
  CROSS JOIN tags AS t
  ON t.tag = unhex('3e00' || hex(v.pubkey))
  AND t.shelf = 1059 + 65536
  AND t.created_at <= v.until
  LIMIT 200);

SELECT cast(r AS TEXT) AS r
FROM (
  SELECT seq AS r
  FROM events
  WHERE expires_at <= ?1
  ORDER BY expires_at
  LIMIT 200);

SELECT cast(r AS TEXT) AS r
FROM (
  WITH RECURSIVE s (shelf, last, seconds) AS (
    SELECT (
      SELECT min(i.shelf)
      FROM events AS i
      WHERE i.shelf >= k.value->>0
      AND i.shelf <= k.value->>1), k.value->>1, k.value->>2
    FROM json_each(?1) AS k
    UNION ALL
    SELECT (
      SELECT min(i.shelf)
      FROM events AS i
      WHERE i.shelf > s.shelf
      AND i.shelf <= s.last), s.last, s.seconds
    FROM s
    WHERE s.shelf IS NOT NULL
    LIMIT 5000)
  SELECT e.seq AS r
  FROM s
  CROSS JOIN events AS e INDEXED BY events_by_kind
  ON e.shelf = s.shelf
  AND e.created_at <= ?2 - s.seconds
  LIMIT 200);

SELECT cast(r AS TEXT) AS r
FROM (
  SELECT until AS r
  FROM jobs
  WHERE held <= 0
  AND until <= ?1
  ORDER BY until
  LIMIT 200);

SELECT cast(r AS TEXT) AS r
FROM (
  WITH RECURSIVE s (shelf, last, seconds) AS (
    SELECT (
      SELECT min(i.shelf)
      FROM events AS i
      WHERE i.shelf >= k.value->>0
      AND i.shelf <= k.value->>1), k.value->>1, k.value->>2
    FROM json_each(?1) AS k
    UNION ALL
    SELECT (
      SELECT min(i.shelf)
      FROM events AS i
      WHERE i.shelf > s.shelf
      AND i.shelf <= s.last), s.last, s.seconds
    FROM s
    WHERE s.shelf IS NOT NULL
    LIMIT 5000)
  SELECT min(r) AS r
  FROM (
    SELECT min((SELECT min(e.created_at)
        FROM events AS e
        WHERE e.shelf = s.shelf) + s.seconds) AS r
    FROM s
    UNION ALL
    SELECT *
    FROM (
      SELECT expires_at AS r
      FROM events
      WHERE expires_at > ?2
      ORDER BY expires_at
      LIMIT 1)
    UNION ALL
    SELECT *
    FROM (
      SELECT until AS r
      FROM jobs
      WHERE held <= 0
      AND until > ?2
      ORDER BY until
      LIMIT 1) )
  HAVING min(r) IS NOT NULL);
