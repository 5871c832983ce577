-- Answers to a job, for its customer

WITH few AS MATERIALIZED (
  SELECT h.seq
  FROM tags AS h
  WHERE h.tag = unhex(?5)
  AND h.shelf = 6050
  AND (h.expires_at IS NULL
    OR h.expires_at > ?1)
  AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
    OR h.created_at > ?2)
  AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
    OR h.created_at > ?3)
  UNION ALL
  SELECT h.seq
  FROM tags AS h
  WHERE h.tag = unhex(?5)
  AND h.shelf = 7000
  AND (h.expires_at IS NULL
    OR h.expires_at > ?1)
  AND (h.shelf & 65535 NOT BETWEEN 7000 AND 7000
    OR h.created_at > ?2)
  AND (h.shelf & 65535 NOT BETWEEN 6000 AND 6999
    OR h.created_at > ?3)
  LIMIT 101)
SELECT '!many' AS r
WHERE (
  SELECT count(*)
  FROM few) > 100
UNION ALL
SELECT r
FROM (
  SELECT e.seq || coalesce(':' || e.expires_at, '') || ' ' || CASE
  WHEN (327 + length(e.created_at) + length(e.kind) + octet_length(e.tags) + octet_length(e.content) + iif(e.job IS NULL, 0, 256)) > 1000000 THEN 'large ' || lower(hex(e.id)) || ' ' || e.created_at || ' ' || (327 + length(e.created_at) + length(e.kind) + octet_length(e.tags) + octet_length(e.content) + iif(e.job IS NULL, 0, 256)) ELSE hex(e.id) || hex(e.pubkey) || hex(e.sig) || hex(e.job) || ' ' || e.created_at || ' ' || e.kind || ' ' || octet_length(e.tags) || ' ' || e.tags || e.content END AS r
  FROM (
    SELECT seq
    FROM few) AS w
  CROSS JOIN events AS e
  ON e.seq = w.seq
  WHERE NOT ((
      SELECT count(*)
      FROM few) > 100)
  AND EXISTS (
    SELECT 1
    FROM tags AS t
    WHERE t.tag IN (unhex(?4))
    AND t.shelf = e.shelf
    AND t.created_at = e.created_at
    AND t.tie = e.tie
    AND t.seq = e.seq)
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
  ORDER BY e.created_at DESC, e.tie
  LIMIT 100);
