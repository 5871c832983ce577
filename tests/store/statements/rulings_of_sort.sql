-- What he has ruled of a sort

SELECT json_array(item, reason, since) AS r
FROM rulings
WHERE sort = ?1
ORDER BY since, item;
