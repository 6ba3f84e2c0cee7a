-- For whoever looks for an object by its name.
CREATE INDEX objects_by_name ON objects (name, created_at, id);
