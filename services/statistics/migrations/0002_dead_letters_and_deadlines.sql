-- Messages that were set aside, splits that failed, and when objects are due.

-- A message that was set aside; the same one, set aside again, is the same row.
CREATE TABLE dead_letters (
    number         INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order in which they came
    id             TEXT    NOT NULL UNIQUE,           -- of queue, message_id and round
    queue          TEXT    NOT NULL,                  -- that it was set aside from; empty if it does not say
    message_id     TEXT    NOT NULL,
    round          INTEGER NOT NULL,                  -- how often it had been replayed
    state          TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'replayed', 'discarded')),
    settled_at     INTEGER,                           -- when it was replayed or discarded
    cause          TEXT    NOT NULL,
    reason         TEXT    NOT NULL,
    attempts       INTEGER NOT NULL,
    died_at        INTEGER NOT NULL,
    obstacle       TEXT,                              -- why it cannot be replayed
    kind           TEXT,                              -- the event's type, as far as it says one
    operation      TEXT,
    object_id      TEXT,
    parts          INTEGER,                           -- of a task
    part           INTEGER,
    exchange       TEXT    NOT NULL,
    routing_key    TEXT    NOT NULL,
    correlation_id TEXT,
    type           TEXT,                              -- the message's property
    app_id         TEXT,
    sent_at        INTEGER,
    content_type   TEXT,
    body_bytes     INTEGER NOT NULL,                  -- how long it was; what is kept may be less
    -- What may be long stands last, so that the rest is read without it.
    headers        TEXT    NOT NULL,                  -- JSON
    body           BLOB    NOT NULL
) STRICT;

CREATE INDEX dead_letters_waiting ON dead_letters (cause, operation) WHERE state = 'waiting';
CREATE INDEX dead_letters_by_state ON dead_letters (state, number);
CREATE INDEX dead_letters_by_object ON dead_letters (object_id) WHERE object_id IS NOT NULL;
-- For whoever prunes. The outbox refers to rows: what is in it must stay.
CREATE INDEX dead_letters_settled ON dead_letters (settled_at) WHERE state <> 'waiting';

-- Objects whose splitting was given up; the last round counts. Also here before their objects.
CREATE TABLE split_failures (
    object_id TEXT    NOT NULL PRIMARY KEY,
    round     INTEGER NOT NULL,
    failed_at INTEGER NOT NULL,
    error     TEXT    NOT NULL,
    replayed  INTEGER NOT NULL DEFAULT 0 CHECK (replayed IN (0, 1)) -- whether it was ever tried again
) STRICT, WITHOUT ROWID;

-- By statistics' own clock: when it first heard of the object, and the deadline from then on.
ALTER TABLE objects ADD COLUMN due_at INTEGER;
UPDATE objects SET due_at = created_at + deadline;
CREATE INDEX objects_due ON objects (due_at) WHERE status = 'open';

-- Now also dead letters to be replayed: the event is then the id of one, as JSON.
ALTER TABLE outbox ADD COLUMN kind TEXT NOT NULL DEFAULT 'event' CHECK (kind IN ('event', 'replay'));

DROP VIEW statistics;

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
UNION ALL SELECT 'dead letters waiting', (SELECT count(*) FROM dead_letters WHERE state = 'waiting')
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
