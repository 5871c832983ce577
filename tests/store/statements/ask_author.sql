-- What an author has of a kind

SELECT r
FROM (
  SELECT s.created_at, s.tie, s.seq, s.seq || coalesce(':' || s.expires_at, '') || ' ' || CASE
  WHEN (327 + length(s.created_at) + length(s.kind) + octet_length(s.tags) + octet_length(s.content) + iif(s.job IS NULL, 0, 256)) > 1000000 THEN 'large ' || lower(hex(s.id)) || ' ' || s.created_at || ' ' || (327 + length(s.created_at) + length(s.kind) + octet_length(s.tags) + octet_length(s.content) + iif(s.job IS NULL, 0, 256)) ELSE hex(s.id) || hex(s.pubkey) || hex(s.sig) || hex(s.job) || ' ' || s.created_at || ' ' || s.kind || ' ' || octet_length(s.tags) || ' ' || s.tags || s.content END AS r
  FROM events AS s
  WHERE substr(s.pubkey, 1, 8) = substr(unhex(?3), 1, 8)
  AND s.pubkey = unhex(?3)
  AND s.shelf = 6050
  AND (s.expires_at IS NULL
    OR s.expires_at > ?1)
  AND (s.shelf & 65535 NOT BETWEEN 6000 AND 6999
    OR s.created_at > ?2)
  AND (NOT EXISTS (
      SELECT 1
      FROM vanishing)
    OR NOT EXISTS (
      SELECT 1
      FROM vanishing AS w
      WHERE w.pubkey = s.pubkey
      AND w.until >= s.created_at
      AND s.kind <> 62)
    AND NOT (s.kind = 1059
      AND EXISTS (
        SELECT 1
        FROM vanishing AS w
        CROSS JOIN tags AS t
        ON t.tag = unhex('3e00' || hex(w.pubkey))
        AND t.shelf = s.shelf
        AND t.created_at = s.created_at
        AND t.tie = s.tie
        AND t.seq = s.seq
        WHERE w.until >= s.created_at)))
  ORDER BY s.created_at DESC, s.tie
  LIMIT 100);
