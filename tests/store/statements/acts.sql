-- What operators have done

SELECT json_array(number, at, lower(hex(actor)), method, params) AS r
FROM acts
WHERE number < ?1
ORDER BY number DESC
LIMIT ?2;
