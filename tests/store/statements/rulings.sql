-- What the operator has ruled, and done lately

SELECT sort || ':' || item AS r
FROM rulings
UNION ALL
SELECT ':' || lower(hex(id))
FROM acts
WHERE number > coalesce((SELECT number
    FROM acts
    WHERE at < ?1
    ORDER BY number DESC
    LIMIT 1), 0)
AND number > (
  SELECT max(number)
  FROM acts) - 1000;
