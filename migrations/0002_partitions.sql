-- Which of the relay's partitions this database has, by the map that places events: nothing where there is one.

CREATE TABLE partitions (
  version INTEGER PRIMARY KEY, -- of the map; the highest counts
  since   INTEGER NOT NULL,    -- Unix seconds from which on jobs are placed by it
  count   INTEGER NOT NULL,    -- how many partitions there are
  own     INTEGER NOT NULL     -- the number of this one, from 0
);
