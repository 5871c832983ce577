-- What he has ruled of a sort

SELECT json_object('pubkey', item, 'reason', reason, 'since', since) AS r
FROM rulings
WHERE sort = ?1
ORDER BY since, item;
