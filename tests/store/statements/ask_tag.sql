-- What names a key

SELECT r
FROM (
  SELECT s.created_at, s.tie, s.seq, e.seq || coalesce(':' || e.expires_at, '') || ' ' || CASE
  WHEN (327 + length(e.created_at) + length(e.kind) + octet_length(e.tags) + octet_length(e.content) + iif(e.job IS NULL, 0, 256)) > 1000000 THEN 'large ' || lower(hex(e.id)) || ' ' || e.created_at || ' ' || (327 + length(e.created_at) + length(e.kind) + octet_length(e.tags) + octet_length(e.content) + iif(e.job IS NULL, 0, 256)) ELSE hex(e.id) || hex(e.pubkey) || hex(e.sig) || hex(e.job) || ' ' || e.created_at || ' ' || e.kind || ' ' || octet_length(e.tags) || ' ' || e.tags || e.content END AS r
  FROM tags AS s
  CROSS JOIN events AS e
  ON e.seq = s.seq
  WHERE s.tag = unhex(?3)
  AND s.shelf = 5050
  AND (s.expires_at IS NULL
    OR s.expires_at > ?1)
  AND (s.shelf & 65535 NOT BETWEEN 5000 AND 5999
    OR s.created_at > ?2)
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
  ORDER BY s.created_at DESC, s.tie
  LIMIT 100);
