-- Providers that left

UPDATE totals
SET version = NULL
WHERE version <> ?1;

INSERT INTO providers (pubkey, results, errors, seen, active)
SELECT unhex(v.value), 0, 0, ?2, 0
FROM json_each(?1) AS v
WHERE EXISTS (
  SELECT 1
  FROM events AS e
  WHERE substr(e.pubkey, 1, 8) = substr(unhex(v.value), 1, 8)
  AND e.pubkey = unhex(v.value)
  AND e.shelf = 31990)
ON CONFLICT (pubkey) DO
UPDATE
SET seen = excluded.seen
WHERE excluded.seen >= providers.seen + 60;
