-- What operators have done

SELECT json_object('number', number, 'at', at, 'by', lower(hex(actor)), 'method', method, 'params', json(params)) AS r
FROM acts
WHERE number < ?1
ORDER BY number DESC
LIMIT ?2;
