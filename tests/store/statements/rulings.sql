-- What the operator has ruled, and done lately

SELECT sort || ':' || item AS r
FROM rulings
UNION ALL
SELECT ':' || lower(hex(id))
FROM acts
WHERE at >= ?1
AND number > (
  SELECT max(number)
  FROM acts) - 1000;
