-- What an export has

SELECT e.seq || ' ' || hex(e.id) || hex(e.pubkey) || hex(e.sig) || hex(e.job) || ' ' || e.created_at || ' ' || e.kind || ' ' || octet_length(e.tags) || ' ' || e.tags || e.content AS r
FROM events AS e
WHERE e.seq > ?1
AND (e.expires_at IS NULL
  OR e.expires_at > ?2)
AND (e.shelf & 65535 NOT BETWEEN 5000 AND 5999
  OR e.created_at > ?4)
AND (e.shelf & 65535 NOT BETWEEN 7000 AND 7000
  OR e.created_at > ?5)
AND (e.shelf & 65535 NOT BETWEEN 6000 AND 6999
  OR e.created_at > ?6)
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
ORDER BY e.seq
LIMIT ?3;

SELECT json_object('job', json_patch(json_object('id', lower(hex(id)), 'until', until, 'state', state, 'kind', kind, 'customer', lower(hex(customer)), 'encrypted', json(iif(encrypted, 'true', 'false')), 'asked_ms', asked_ms, 'unasked', json((SELECT unasked
          FROM jobs AS o
          WHERE o.id = j.id))), json_object('providers', json((SELECT json_group_array(lower(hex(substr(providers, 32 * n + 1, 32))))
          FROM (
            WITH RECURSIVE at(n) AS (
              SELECT 0
              UNION ALL
              SELECT n + 1
              FROM at
              WHERE 32 * n + 32 < length(providers))
            SELECT n
            FROM at
            WHERE providers IS NOT NULL)
          HAVING count(*) > 0))))) AS r
FROM (
  SELECT '{}' AS unasked)
CROSS JOIN (
  SELECT id, until, state, kind, customer, encrypted, asked_ms, providers
  FROM jobs
  WHERE id > unhex(?1)
  AND kind IS NOT NULL
  ORDER BY id
  LIMIT ?2) AS j;
