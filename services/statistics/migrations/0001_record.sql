-- The record. Ids are UUIDs as text, so that people can read and join them. Points in time are
-- microseconds since 1970, spans of time are microseconds. Rows of events that overtook each other are
-- allowed everywhere: a task may be here before its object.

CREATE TABLE objects (
    id          TEXT    NOT NULL PRIMARY KEY,
    name        TEXT    NOT NULL,
    operation   TEXT    NOT NULL,
    tasks       INTEGER NOT NULL, -- wished; the data may have fewer elements
    deadline    INTEGER NOT NULL, -- a span from created_at on
    created_at  INTEGER NOT NULL,
    status      TEXT    NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'succeeded', 'failed', 'timed_out')),
    parts       INTEGER,          -- of the split that decided
    finished_at INTEGER,          -- the end of that split's last task
    duration    INTEGER,          -- from created_at to finished_at
    revision    INTEGER NOT NULL DEFAULT 0,
    error       TEXT,             -- of the whole; a part's error stands with its task
    -- What may be long stands last, so that the rest is read without it.
    parameters  TEXT    NOT NULL, -- JSON
    data        TEXT    NOT NULL, -- JSON
    result      TEXT              -- JSON, once succeeded
) STRICT;

CREATE INDEX objects_newest ON objects (created_at, id);
CREATE INDEX objects_by_status ON objects (status, created_at, id);
CREATE INDEX objects_by_operation ON objects (operation, created_at, id);

CREATE TABLE tasks (
    object_id    TEXT    NOT NULL,
    parts        INTEGER NOT NULL,
    part         INTEGER NOT NULL,
    operation    TEXT    NOT NULL,
    created_at   INTEGER,
    started_at   INTEGER, -- the first start, and by whom
    started_by   TEXT,
    outcome      TEXT CHECK (outcome IN ('succeeded', 'failed')),
    finish_round INTEGER,
    finished_at  INTEGER,
    processor    TEXT,    -- of the attempt that counts
    attempt      INTEGER,
    duration     INTEGER,
    error        TEXT,
    PRIMARY KEY (object_id, parts, part)
) STRICT, WITHOUT ROWID;

CREATE TABLE partials (
    object_id TEXT    NOT NULL,
    parts     INTEGER NOT NULL,
    part      INTEGER NOT NULL,
    result    TEXT    NOT NULL, -- JSON
    PRIMARY KEY (object_id, parts, part)
) STRICT, WITHOUT ROWID;

-- Counters that accumulate over all succeeded objects of an operation.
CREATE TABLE totals (
    operation TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (operation, name)
) STRICT, WITHOUT ROWID;

-- Running figures: at any moment what counting the rows above would give. A sum of spans of time is kept as
-- whole seconds and the microseconds beyond them, so that it cannot overflow.
CREATE TABLE figures (
    operation         TEXT    NOT NULL PRIMARY KEY,
    objects_created   INTEGER NOT NULL,
    objects_succeeded INTEGER NOT NULL,
    objects_failed    INTEGER NOT NULL,
    objects_timed_out INTEGER NOT NULL,
    objects_s         INTEGER NOT NULL,
    objects_us        INTEGER NOT NULL,
    tasks_distributed INTEGER NOT NULL,
    tasks_in_progress INTEGER NOT NULL,
    tasks_succeeded   INTEGER NOT NULL,
    tasks_failed      INTEGER NOT NULL,
    tasks_s           INTEGER NOT NULL,
    tasks_us          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE processor_figures (
    processor         TEXT    NOT NULL PRIMARY KEY,
    tasks_in_progress INTEGER NOT NULL,
    tasks_succeeded   INTEGER NOT NULL,
    tasks_failed      INTEGER NOT NULL,
    tasks_s           INTEGER NOT NULL,
    tasks_us          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How long finished tasks and objects took: how many in each bucket, which lies within 1.6 % of middle_us.
CREATE TABLE durations (
    kind      TEXT    NOT NULL CHECK (kind IN ('task', 'object')),
    operation TEXT    NOT NULL,
    bucket    INTEGER NOT NULL,
    middle_us INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (kind, operation, bucket)
) STRICT, WITHOUT ROWID;

-- Well-formed events of types that are not ours, each delivery counted.
CREATE TABLE unknown_events (
    type  TEXT    NOT NULL PRIMARY KEY,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- OBJECT_FINISHED events to publish, in order; deleted when the bus has confirmed.
CREATE TABLE outbox (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    time  INTEGER NOT NULL, -- the event's own
    event TEXT    NOT NULL  -- JSON
) STRICT;

-- The headline figures, for people: sqlite3 stats.db "select * from statistics"
CREATE VIEW statistics (figure, value) AS
WITH
    total AS (
        SELECT
            coalesce(sum(objects_created), 0) AS created,
            coalesce(sum(objects_succeeded), 0) AS succeeded,
            coalesce(sum(objects_failed), 0) AS failed,
            coalesce(sum(objects_timed_out), 0) AS timed_out,
            coalesce(sum(objects_s), 0) AS object_s,
            coalesce(sum(objects_us), 0) AS object_us,
            coalesce(sum(tasks_distributed), 0) AS distributed,
            coalesce(sum(tasks_in_progress), 0) AS in_progress,
            coalesce(sum(tasks_succeeded), 0) AS processed,
            coalesce(sum(tasks_failed), 0) AS tasks_failed,
            coalesce(sum(tasks_s), 0) AS task_s,
            coalesce(sum(tasks_us), 0) AS task_us
        FROM figures
    ),
    buckets AS (
        SELECT kind, middle_us, sum(count) AS count FROM durations GROUP BY kind, middle_us
    ),
    ranked AS (
        SELECT
            kind,
            middle_us,
            sum(count) OVER (PARTITION BY kind ORDER BY middle_us) AS up_to_here,
            sum(count) OVER (PARTITION BY kind) AS all_of_them
        FROM buckets
    ),
    percentiles AS (
        SELECT
            kind,
            min(CASE WHEN up_to_here * 100 >= all_of_them * 50 THEN middle_us END) / 1000.0 AS p50,
            min(CASE WHEN up_to_here * 100 >= all_of_them * 95 THEN middle_us END) / 1000.0 AS p95,
            min(CASE WHEN up_to_here * 100 >= all_of_them * 99 THEN middle_us END) / 1000.0 AS p99
        FROM ranked WHERE all_of_them > 0 GROUP BY kind
    )
SELECT 'objects created', created FROM total
UNION ALL SELECT 'objects in progress', created - succeeded - failed - timed_out FROM total
UNION ALL SELECT 'objects succeeded', succeeded FROM total
UNION ALL SELECT 'objects failed', failed FROM total
UNION ALL SELECT 'objects timed out', timed_out FROM total
UNION ALL SELECT 'tasks distributed', distributed FROM total
UNION ALL SELECT 'tasks in progress', in_progress FROM total
UNION ALL SELECT 'tasks processed', processed FROM total
UNION ALL SELECT 'tasks failed', tasks_failed FROM total
UNION ALL SELECT 'object mean ms',
    round((object_s * 1000.0 + object_us / 1000.0) / nullif(succeeded + failed + timed_out, 0), 3) FROM total
UNION ALL SELECT 'object p50 ms', (SELECT p50 FROM percentiles WHERE kind = 'object')
UNION ALL SELECT 'object p95 ms', (SELECT p95 FROM percentiles WHERE kind = 'object')
UNION ALL SELECT 'object p99 ms', (SELECT p99 FROM percentiles WHERE kind = 'object')
UNION ALL SELECT 'task mean ms',
    round((task_s * 1000.0 + task_us / 1000.0) / nullif(processed + tasks_failed, 0), 3) FROM total
UNION ALL SELECT 'task p50 ms', (SELECT p50 FROM percentiles WHERE kind = 'task')
UNION ALL SELECT 'task p95 ms', (SELECT p95 FROM percentiles WHERE kind = 'task')
UNION ALL SELECT 'task p99 ms', (SELECT p99 FROM percentiles WHERE kind = 'task');
