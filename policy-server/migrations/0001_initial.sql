-- Types are BIGINT and TEXT only and times are seconds since 1970, so that the schema also runs on PostgreSQL.

CREATE TABLE meta (
    name TEXT PRIMARY KEY NOT NULL,
    value BIGINT NOT NULL
);

INSERT INTO meta (name, value) VALUES ('epoch', 1), ('policy-revision', 1), ('decision', 0), ('grant', 0), ('version', 0);

CREATE TABLE administrators (
    name TEXT PRIMARY KEY NOT NULL,
    role TEXT NOT NULL,
    credential_sha256 TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE hsms (
    fingerprint TEXT PRIMARY KEY NOT NULL,
    public_key TEXT NOT NULL,
    state TEXT NOT NULL,
    host TEXT NOT NULL,
    mode TEXT NOT NULL,
    claims TEXT NOT NULL,
    enrolled_at BIGINT NOT NULL,
    approved_at BIGINT,
    approved_by TEXT,
    lost_decisions BIGINT NOT NULL
);

CREATE TABLE nonces (
    nonce TEXT PRIMARY KEY NOT NULL,
    kid TEXT NOT NULL,
    cnf TEXT NOT NULL,
    -- Whose share of the bounded number of nonces this one takes: an approved key's own, or the strangers'.
    share TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);

CREATE INDEX nonces_by_share ON nonces (share, expires_at);
CREATE INDEX nonces_by_expiry ON nonces (expires_at);

CREATE TABLE components (
    name TEXT PRIMARY KEY NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE versions (
    component TEXT NOT NULL REFERENCES components (name),
    version TEXT NOT NULL,
    sequence BIGINT NOT NULL UNIQUE,
    approved_at BIGINT NOT NULL,
    approved_by TEXT NOT NULL,
    retired_at BIGINT,
    retired_by TEXT,
    reference TEXT NOT NULL,
    PRIMARY KEY (component, version)
);

CREATE TABLE grants (
    id BIGINT PRIMARY KEY NOT NULL,
    component TEXT NOT NULL REFERENCES components (name),
    key_uri TEXT NOT NULL,
    operations TEXT NOT NULL,
    many BIGINT NOT NULL,
    mode TEXT,
    granted_at BIGINT NOT NULL,
    granted_by TEXT NOT NULL
);

CREATE TABLE decisions (
    id TEXT PRIMARY KEY NOT NULL,
    sequence BIGINT NOT NULL UNIQUE,
    decided_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    -- 1 where the sender held an attestation key that an operator once approved. The others are kept in a
    -- bounded number, because anybody can cause them.
    authentic BIGINT NOT NULL,
    host TEXT,
    hsm TEXT,
    component TEXT,
    version TEXT,
    executable TEXT,
    measurement TEXT,
    operation TEXT,
    key_uri TEXT,
    reasons TEXT NOT NULL,
    evidence TEXT
);

CREATE INDEX decisions_by_measurement ON decisions (hsm, measurement, sequence);
CREATE INDEX decisions_by_authenticity ON decisions (authentic, sequence);

CREATE TABLE tokens (
    jti TEXT PRIMARY KEY NOT NULL,
    decision TEXT NOT NULL REFERENCES decisions (id),
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    deadline_boottime_ms BIGINT NOT NULL,
    epoch BIGINT NOT NULL
);
