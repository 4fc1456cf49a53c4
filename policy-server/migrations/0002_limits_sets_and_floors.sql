-- Limits of grants, floors and modes of components, retired files, library sets, and tokens that operators have issued.

ALTER TABLE grants ADD COLUMN mechanisms TEXT;
ALTER TABLE grants ADD COLUMN rate TEXT;
ALTER TABLE grants ADD COLUMN expires_at BIGINT;
ALTER TABLE grants ADD COLUMN min_version TEXT;

ALTER TABLE components ADD COLUMN mode TEXT NOT NULL DEFAULT 'enforce';
-- The name of a version of the component.
ALTER TABLE components ADD COLUMN floor TEXT;

CREATE TABLE retired_files (
    digest TEXT PRIMARY KEY NOT NULL,
    retired_at BIGINT NOT NULL,
    retired_by TEXT NOT NULL
);

CREATE TABLE library_sets (
    name TEXT PRIMARY KEY NOT NULL,
    newest BIGINT NOT NULL,
    floor BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL
);

CREATE TABLE set_files (
    set_name TEXT NOT NULL REFERENCES library_sets (name),
    path TEXT NOT NULL,
    digest TEXT NOT NULL,
    since BIGINT NOT NULL,
    added_at BIGINT NOT NULL,
    added_by TEXT NOT NULL,
    retired_at BIGINT,
    retired_by TEXT,
    PRIMARY KEY (set_name, path, digest)
);

ALTER TABLE decisions ADD COLUMN observed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE decisions ADD COLUMN operator TEXT;
-- The decision whose evidence an operator's decision rests on.
ALTER TABLE decisions ADD COLUMN basis TEXT;

CREATE INDEX tokens_by_time ON tokens (issued_at);
