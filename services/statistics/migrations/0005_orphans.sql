-- What belongs to nothing that would be pruned, and so stayed for ever.

-- Objects of which something is known (tasks, a split that failed, dead letters) but not their creation; and since when,
-- by the record's own clock. What was here before this was noted is kept as if it had come now.
CREATE TABLE orphans (
    id       TEXT    NOT NULL PRIMARY KEY,
    heard_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO orphans
SELECT object_id, CAST(unixepoch('subsec') * 1000000 AS INTEGER)
FROM (
    SELECT object_id FROM tasks
    UNION SELECT object_id FROM split_failures
    UNION SELECT object_id FROM dead_letters WHERE object_id IS NOT NULL)
WHERE object_id NOT IN (SELECT id FROM objects);

CREATE INDEX orphans_by_time ON orphans (heard_at, id);

-- Since when a dead letter waits, by the record's own clock. It counts only for those that belong to no object: the
-- others go with theirs.
ALTER TABLE dead_letters ADD COLUMN waits_since INTEGER;
UPDATE dead_letters SET waits_since = CAST(unixepoch('subsec') * 1000000 AS INTEGER)
WHERE state = 'waiting' AND object_id IS NULL;
CREATE INDEX dead_letters_of_nothing ON dead_letters (waits_since) WHERE state = 'waiting' AND object_id IS NULL;

-- How many of the rows that were counted are gone again. When all of a processor are, or all of an operation that is none
-- of ours, its figures are added to those of the others: there is no end of names.
ALTER TABLE figures ADD COLUMN objects_pruned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE figures ADD COLUMN tasks_pruned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE processor_figures ADD COLUMN tasks_pruned INTEGER NOT NULL DEFAULT 0; -- of those that had ended

UPDATE figures SET objects_pruned = objects_created, tasks_pruned = tasks_distributed;
UPDATE figures SET objects_pruned = objects_pruned - there.count
FROM (SELECT operation, count(*) AS count FROM objects GROUP BY operation) AS there
WHERE there.operation = figures.operation;
UPDATE figures SET tasks_pruned = tasks_pruned - there.count
FROM (SELECT operation, count(*) AS count FROM tasks GROUP BY operation) AS there
WHERE there.operation = figures.operation;

UPDATE processor_figures SET tasks_pruned = tasks_succeeded + tasks_failed;
UPDATE processor_figures SET tasks_pruned = tasks_pruned - there.count
FROM (SELECT processor, count(*) AS count FROM tasks WHERE outcome IS NOT NULL GROUP BY processor) AS there
WHERE there.processor = processor_figures.processor;
