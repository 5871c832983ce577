-- Which kinds have a handler

WITH RECURSIVE w(tag, n) AS (
  SELECT (
    SELECT t.tag
    FROM tags AS t
    WHERE t.tag >= x'6b3d30'
    AND t.tag < x'6b3d3a'
    ORDER BY t.tag
    LIMIT 1), 1
  UNION ALL
  SELECT (
    SELECT t.tag
    FROM tags AS t
    WHERE t.tag > w.tag
    AND t.tag < x'6b3d3a'
    ORDER BY t.tag
    LIMIT 1), n + 1
  FROM w
  WHERE w.tag IS NOT NULL
  AND n <= 5000)
SELECT coalesce(lower(nullif(hex(w.tag), '')), 'end') AS r
FROM w
WHERE w.tag IS NULL
OR EXISTS (
  SELECT 1
  FROM tags AS s
  WHERE s.tag = w.tag
  AND s.shelf = 31990);
