-- What is known of keys

SELECT pubkey || ' ' || handler || ' ' || (served = 3) || ' ' || (served > 0
  OR bought) AS r
FROM (
  SELECT v.value AS pubkey, EXISTS (
    SELECT 1
    FROM (
      SELECT e.tags
      FROM events AS e
      WHERE substr(e.pubkey, 1, 8) = substr(unhex(v.value), 1, 8)
      AND e.pubkey = unhex(v.value)
      AND e.shelf = 31990
      AND (e.expires_at IS NULL
        OR e.expires_at > ?2)
      ORDER BY e.created_at DESC
      LIMIT 20) AS e
    WHERE EXISTS (
      SELECT 1
      FROM json_each(e.tags) AS k
      WHERE k.value->>0 = 'd'
      AND k.value->1 IS NOT NULL)
    AND EXISTS (
      SELECT 1
      FROM json_each(e.tags) AS k
      WHERE k.value->>0 = 'k'
      AND k.value->1 IS NOT NULL)) AS handler, (
    SELECT count(*)
    FROM (
      SELECT 1
      FROM (
        SELECT d.results
        FROM dealings AS d
        WHERE d.provider = unhex(v.value)
        ORDER BY d.known DESC
        LIMIT 100) AS d
      WHERE d.results > 0
      LIMIT 3)) AS served, (
    SELECT count(*)
    FROM (
      SELECT 1
      FROM (
        SELECT d.results
        FROM dealings AS d
        WHERE d.customer = unhex(v.value)
        LIMIT 100) AS d
      WHERE d.results > 0
      LIMIT 1)) AS bought
  FROM json_each(?1) AS v)
WHERE handler
OR served
OR bought;
