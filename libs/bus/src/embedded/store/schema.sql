-- The format of the file, version 1 (PRAGMA user_version).

CREATE TABLE exchanges (
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL -- JSON
) STRICT;

CREATE TABLE queues (
    id INTEGER PRIMARY KEY, -- from 0, without gaps
    definition TEXT NOT NULL, -- JSON
    window INTEGER NOT NULL DEFAULT 0 -- how many messages its consumers may hold; 0 after a clean end
) STRICT;

-- What was published and acknowledged, one row a commit.
CREATE TABLE journal (
    sequence INTEGER PRIMARY KEY, -- without gaps
    content BLOB NOT NULL
) STRICT;

-- Messages that wait for longer than the journal reaches back.
CREATE TABLE backlog (
    queue INTEGER NOT NULL,
    number INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    since INTEGER NOT NULL, -- ms since 1970
    weight INTEGER NOT NULL,
    message BLOB NOT NULL,
    PRIMARY KEY (queue, number)
) STRICT, WITHOUT ROWID;
