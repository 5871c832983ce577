-- Who handles a kind

SELECT json_object('results', coalesce(p.results, 0), 'errors', coalesce(p.errors, 0), 'seen', p.seen, 'dealings', (
    SELECT json_group_array(json_array(d.known, d.results, d.errors, d.speed))
    FROM (
      SELECT d.customer, d.results, d.errors, d.speed, d.known
      FROM dealings AS d
      WHERE d.provider = l.pubkey
      ORDER BY d.known DESC, d.customer
      LIMIT 100) AS d), 'votes', (
    SELECT json_group_array(json_array(lower(hex(v.voter)), v.namespace, json(v.labels), v.customer, v.known))
    FROM (
      SELECT v.voter, v.namespace, v.labels, d.results > 0 AS customer, d.known
      FROM (
        SELECT d.customer, d.results, d.errors, d.speed, d.known
        FROM dealings AS d
        WHERE d.provider = l.pubkey
        ORDER BY d.known DESC, d.customer
        LIMIT 100) AS d
      CROSS JOIN votes AS v
      ON v.provider = l.pubkey
      AND v.voter = d.customer
      AND (v.expires_at IS NULL
        OR v.expires_at > ?2)
      AND NOT EXISTS (
        SELECT 1
        FROM vanishing AS w
        WHERE w.pubkey = v.voter
        AND w.until >= v.created_at)
      UNION
      SELECT v.voter, v.namespace, v.labels, coalesce(d.results > 0, 0), coalesce(d.known, 0)
      FROM (
        SELECT *
        FROM votes AS v
        WHERE v.provider = l.pubkey
        AND (v.expires_at IS NULL
          OR v.expires_at > ?2)
        AND NOT EXISTS (
          SELECT 1
          FROM vanishing AS w
          WHERE w.pubkey = v.voter
          AND w.until >= v.created_at)
        LIMIT 100) AS v
      LEFT JOIN dealings AS d
      ON d.customer = v.voter
      AND d.provider = l.pubkey) AS v)) || char(10) || hex(e.id) || hex(e.pubkey) || hex(e.sig) || hex(e.job) || ' ' || e.created_at || ' ' || e.kind || ' ' || octet_length(e.tags) || ' ' || e.tags || e.content AS r
FROM (
  SELECT h.pubkey, h.seq
  FROM (
    SELECT e.pubkey, e.seq, max(e.created_at) AS at
    FROM (
      SELECT *
      FROM (
        SELECT s.seq
        FROM tags AS s
        WHERE s.tag = unhex(?1)
        AND s.shelf = 31990
        AND (s.expires_at IS NULL
          OR s.expires_at > ?2)
        ORDER BY s.created_at DESC
        LIMIT 500)
      UNION
      SELECT n.value
      FROM (
        SELECT unhex(value) AS pubkey
        FROM json_each(?3)
        UNION
        SELECT *
        FROM (
          SELECT pubkey
          FROM providers
          ORDER BY active DESC
          LIMIT 500)) AS o
      CROSS JOIN json_each((SELECT json_group_array(seq)
          FROM (
            SELECT s.seq, s.shelf, s.created_at, s.tie
            FROM events AS s
            WHERE substr(s.pubkey, 1, 8) = substr(o.pubkey, 1, 8)
            AND s.pubkey = o.pubkey
            AND s.shelf = 31990
            AND (s.expires_at IS NULL
              OR s.expires_at > ?2)
            ORDER BY s.created_at DESC
            LIMIT 20) AS s
          WHERE EXISTS (
            SELECT 1
            FROM tags AS t
            WHERE t.tag = unhex(?1)
            AND t.shelf = s.shelf
            AND t.created_at = s.created_at
            AND t.tie = s.tie
            AND t.seq = s.seq))) AS n) AS c
    CROSS JOIN events AS e
    ON e.seq = c.seq
    AND (327 + length(e.created_at) + length(e.kind) + octet_length(e.tags) + octet_length(e.content) + iif(e.job IS NULL, 0, 256)) <= 8192
    AND EXISTS (
      SELECT 1
      FROM json_each(e.tags) AS k
      WHERE k.value->>0 = 'd'
      AND k.value->1 IS NOT NULL)
    GROUP BY e.pubkey) AS h
  ORDER BY (
    SELECT count(*)
    FROM (
      SELECT 1
      FROM dealings AS d
      WHERE d.provider = h.pubkey
      AND d.known = 1
      LIMIT 20)) DESC, h.pubkey IN (
    SELECT unhex(value)
    FROM json_each(?3)) DESC, (
    SELECT count(*)
    FROM (
      SELECT 1
      FROM dealings AS d
      WHERE d.provider = h.pubkey
      LIMIT 20)) DESC, h.at DESC
  LIMIT 100) AS l
CROSS JOIN events AS e
ON e.seq = l.seq
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
LEFT JOIN providers AS p
ON p.pubkey = l.pubkey;
