-- What was counted

UPDATE totals
SET version = iif(version = ?1, version + 1, NULL), writer = ?2, last_seq = ?3, stored = ?4, flush = ?5, newest = ?6, early = ?7, day = ?8, spent = ?9, since_ms = ?10, counts = ?11;
