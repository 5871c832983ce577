-- The log after a number

SELECT e.seq || iif(e.shelf < 65536, ' ', ' private ') || CASE
WHEN s.bytes > 4000000 THEN 'large ' || lower(hex(e.id)) || ' ' || e.created_at || ' ' || (327 + length(e.created_at) + length(e.kind) + octet_length(e.tags) + octet_length(e.content) + iif(e.job IS NULL, 0, 256)) ELSE hex(e.id) || hex(e.pubkey) || hex(e.sig) || hex(e.job) || ' ' || e.created_at || ' ' || e.kind || ' ' || octet_length(e.tags) || ' ' || e.tags || e.content END AS r
FROM (
  SELECT e.seq, sum((327 + length(e.created_at) + length(e.kind) + octet_length(e.tags) + octet_length(e.content) + iif(e.job IS NULL, 0, 256))) OVER (
    ORDER BY e.seq) AS bytes
  FROM events AS e
  WHERE e.seq > ?1
  AND e.seq <= ?2
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
        WHERE w.until >= e.created_at)))) AS s
CROSS JOIN events AS e
ON e.seq = s.seq
ORDER BY e.seq;
