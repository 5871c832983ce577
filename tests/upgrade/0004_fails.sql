-- A migration that fails in the middle, after it has changed much.
DROP INDEX events_by_second;
DELETE FROM tags;
ALTER TABLE events ADD COLUMN more TEXT;
UPDATE events SET content = '""';
INSERT INTO jobs SELECT * FROM jobs;
CREATE TABLE never (id);
