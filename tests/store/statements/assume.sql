-- What is assumed not to be there

UPDATE totals
SET writer = NULL
WHERE EXISTS (
  SELECT 1
  FROM json_each(?1) AS v
  CROSS JOIN events AS e
  ON substr(e.id, 1, 8) = substr(unhex(v.value), 1, 8)
  AND e.id = unhex(v.value))
OR EXISTS (
  SELECT 1
  FROM json_each(?2) AS v
  CROSS JOIN events AS e
  ON substr(e.pubkey, 1, 8) = substr(unhex(v.value->>0), 1, 8)
  AND e.pubkey = unhex(v.value->>0)
  AND e.kind = v.value->>1
  AND e.place = unhex(v.value->>2))
OR EXISTS (
  SELECT 1
  FROM json_each(?3) AS v
  CROSS JOIN deletions AS t
  ON t.key = v.value)
OR EXISTS (
  SELECT 1
  FROM json_each(?4) AS v
  CROSS JOIN jobs AS j
  ON j.id = unhex(v.value))
OR EXISTS (
  SELECT 1
  FROM json_each(?5) AS v
  CROSS JOIN providers AS p
  ON p.pubkey = unhex(v.value))
OR EXISTS (
  SELECT 1
  FROM json_each(?6) AS v
  CROSS JOIN dealings AS d
  ON d.customer = unhex(v.value->>0)
  AND d.provider = unhex(v.value->>1))
OR EXISTS (
  SELECT 1
  FROM json_each(?7) AS v
  CROSS JOIN dealings AS d
  ON d.customer = unhex(v.value));
