-- What is shown of a job, and when it was cancelled

SELECT json_array(j.state, j.kind, lower(nullif(hex(j.customer), '')), lower(nullif(hex(j.providers), '')), j.encrypted, j.asked_ms, j.reported_ms, j.answered_ms, lower(nullif(hex(j.first), '')), EXISTS (
    SELECT 1
    FROM deletions AS d
    WHERE d.key = lower(hex(j.customer)) || ' *'), EXISTS (
    SELECT 1
    FROM deletions AS d
    WHERE d.key = lower(hex(j.first)) || ' *'), e.created_at, e.expires_at, substr(e.tags, nullif(instr(e.tags, '["bid","'), 0) + 8, 24), iif(j.state = 7, (
      SELECT min(e.created_at * 1000 + e.delay_ms)
      FROM (
        SELECT t.seq
        FROM tags AS t
        WHERE t.tag = unhex('6500' || ?1)
        AND t.shelf = 5
        ORDER BY t.created_at DESC
        LIMIT 100) AS n
      CROSS JOIN events AS e
      ON e.seq = n.seq
      AND e.pubkey = j.customer), NULL)) AS r
FROM jobs AS j
LEFT JOIN events AS e
ON substr(e.id, 1, 8) = substr(j.id, 1, 8)
AND e.id = j.id
AND (NOT EXISTS (
    SELECT 1
    FROM vanishing)
  OR NOT EXISTS (
    SELECT 1
    FROM vanishing AS w
    WHERE w.pubkey = e.pubkey
    AND w.until >= e.created_at
    AND e.kind <> 62)
  AND NOT (e.kind = 1059
    AND EXISTS (
      SELECT 1
      FROM vanishing AS w
      CROSS JOIN tags AS t
      ON t.tag = unhex('3e00' || hex(w.pubkey))
      AND t.shelf = e.shelf
      AND t.created_at = e.created_at
      AND t.tie = e.tie
      AND t.seq = e.seq
      WHERE w.until >= e.created_at)))
WHERE j.id = unhex(?1);

SELECT n.sort || ' ' || iif(e.seq IS NULL, '', json_array(lower(hex(e.id)), e.kind, lower(hex(e.pubkey)), e.created_at, e.created_at * 1000 + e.delay_ms, substr(e.tags, nullif(instr(e.tags, '["status","'), 0) + 11, 24), substr(e.tags, nullif(instr(e.tags, '["amount","'), 0) + 11, 24), e.step, e.shelf >= 65536)) AS r
FROM (
  SELECT *
  FROM (
    SELECT 0 AS sort, t.seq
    FROM tags AS t
    WHERE t.tag = unhex('6500' || ?1)
    AND t.shelf BETWEEN (
      SELECT coalesce(kind + 1000, 6000) + 0
      FROM jobs
      WHERE id = unhex(?1)) AND (
      SELECT coalesce(kind + 1000, 6999) + 0
      FROM jobs
      WHERE id = unhex(?1))
    LIMIT 51)
  UNION ALL
  SELECT *
  FROM (
    SELECT 1 AS sort, t.seq
    FROM tags AS t
    WHERE t.tag = unhex('6500' || ?1)
    AND t.shelf BETWEEN 7000 AND 7000
    LIMIT 51)
  UNION ALL
  SELECT *
  FROM (
    SELECT 2 AS sort, t.seq
    FROM tags AS t
    WHERE t.tag = unhex('6500' || ?1)
    AND t.shelf BETWEEN (
      SELECT coalesce(kind + 1000, 6000) + 65536
      FROM jobs
      WHERE id = unhex(?1)) AND (
      SELECT coalesce(kind + 1000, 6999) + 65536
      FROM jobs
      WHERE id = unhex(?1))
    LIMIT 51)
  UNION ALL
  SELECT *
  FROM (
    SELECT 3 AS sort, t.seq
    FROM tags AS t
    WHERE t.tag = unhex('6500' || ?1)
    AND t.shelf BETWEEN 72536 AND 72536
    LIMIT 51)) AS n
LEFT JOIN events AS e
ON e.seq = n.seq
AND e.job = unhex(?1)
AND e.id <> e.job
AND (e.expires_at IS NULL
  OR e.expires_at > ?2)
AND (NOT EXISTS (
    SELECT 1
    FROM vanishing)
  OR NOT EXISTS (
    SELECT 1
    FROM vanishing AS w
    WHERE w.pubkey = e.pubkey
    AND w.until >= e.created_at
    AND e.kind <> 62)
  AND NOT (e.kind = 1059
    AND EXISTS (
      SELECT 1
      FROM vanishing AS w
      CROSS JOIN tags AS t
      ON t.tag = unhex('3e00' || hex(w.pubkey))
      AND t.shelf = e.shelf
      AND t.created_at = e.created_at
      AND t.tie = e.tie
      AND t.seq = e.seq
      WHERE w.until >= e.created_at)));

SELECT r
FROM (
  SELECT cast((SELECT min(e.created_at * 1000 + e.delay_ms)
      FROM (
        SELECT t.seq
        FROM tags AS t
        WHERE t.tag = unhex('6500' || ?1)
        AND t.shelf = 5
        ORDER BY t.created_at DESC
        LIMIT 100) AS n
      CROSS JOIN events AS e
      ON e.seq = n.seq
      AND e.pubkey = unhex(?2)) AS TEXT) AS r)
WHERE r IS NOT NULL;
