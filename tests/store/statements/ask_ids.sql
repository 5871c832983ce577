-- Events by id

SELECT e.seq || coalesce(':' || e.expires_at, '') || ' ' || CASE
WHEN (327 + length(e.created_at) + length(e.kind) + octet_length(e.tags) + octet_length(e.content) + iif(e.job IS NULL, 0, 256)) > 1000000 THEN 'large ' || lower(hex(e.id)) || ' ' || e.created_at || ' ' || (327 + length(e.created_at) + length(e.kind) + octet_length(e.tags) + octet_length(e.content) + iif(e.job IS NULL, 0, 256)) ELSE hex(e.id) || hex(e.pubkey) || hex(e.sig) || hex(e.job) || ' ' || e.created_at || ' ' || e.kind || ' ' || octet_length(e.tags) || ' ' || e.tags || e.content END AS r
FROM (
  SELECT value
  FROM json_each(?1)) AS v
CROSS JOIN events AS e
ON substr(e.id, 1, 8) = substr(unhex(v.value), 1, 8)
AND e.id = unhex(v.value)
WHERE (e.expires_at IS NULL
  OR e.expires_at > ?2)
AND (e.shelf & 65535 NOT BETWEEN 5000 AND 5999
  OR e.created_at > ?3)
AND (e.shelf & 65535 NOT BETWEEN 7000 AND 7000
  OR e.created_at > ?4)
AND (e.shelf & 65535 NOT BETWEEN 6000 AND 6999
  OR e.created_at > ?5)
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
AND (e.shelf < 65536
  OR EXISTS (
    SELECT 1
    FROM tags AS t
    WHERE t.tag IN (
      SELECT unhex(value) AS value
      FROM json_each(?6))
    AND t.shelf = e.shelf
    AND t.created_at = e.created_at
    AND t.tie = e.tie
    AND t.seq = e.seq))
ORDER BY e.created_at DESC, e.tie
LIMIT 100;
