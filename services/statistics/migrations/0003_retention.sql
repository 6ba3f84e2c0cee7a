-- What is pruned when its time is over, and what is left of it.

-- Says that a file is ours: "EBSr".
PRAGMA application_id = 1161974642;

-- When the record closed the object, by its own clock: RETENTION counts from then on. What was closed before this was
-- noted is kept for that long from now on.
ALTER TABLE objects ADD COLUMN closed_at INTEGER;
UPDATE objects SET closed_at = CAST(unixepoch('subsec') * 1000000 AS INTEGER) WHERE status <> 'open';
CREATE INDEX objects_by_closing ON objects (closed_at, id) WHERE closed_at IS NOT NULL;

-- Tombstones: events about these objects come too late, and change nothing any more.
CREATE TABLE pruned (
    id        TEXT    NOT NULL PRIMARY KEY,
    pruned_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX pruned_by_time ON pruned (pruned_at, id);
