-- What the operator has decided while the relay runs, and who did what when.

CREATE TABLE rulings (
  sort   TEXT    NOT NULL,      -- see moderation::Sort
  item   TEXT    NOT NULL,      -- a key, an id, a network, a kind, or a key and a method
  reason TEXT    NOT NULL,      -- for people
  since  INTEGER NOT NULL,      -- Unix seconds
  PRIMARY KEY (sort, item)
) WITHOUT ROWID;

CREATE TABLE acts (
  number INTEGER PRIMARY KEY,
  id     BLOB    NOT NULL,      -- of the event that signed it (NIP-98)
  at     INTEGER NOT NULL,      -- Unix seconds
  actor  BLOB    NOT NULL,      -- whose key
  method TEXT    NOT NULL,
  params TEXT    NOT NULL       -- JSON
);
