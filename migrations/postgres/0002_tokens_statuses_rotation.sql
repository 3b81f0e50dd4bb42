-- Status lists: bit arrays in which each session has a place, for services that verify JWTs offline. One list is open
-- at a time; `version` grows with each revocation in it.
CREATE TABLE status_lists (
    id         UUID    NOT NULL PRIMARY KEY,
    size       BIGINT  NOT NULL,
    version    BIGINT  NOT NULL,
    created_at BIGINT  NOT NULL,
    closed_at  BIGINT
);

CREATE UNIQUE INDEX status_lists_open ON status_lists ((closed_at IS NULL)) WHERE closed_at IS NULL;

-- The places whose session was ended, kept until its last token would have run out by itself.
CREATE TABLE revoked_statuses (
    list_id    UUID    NOT NULL REFERENCES status_lists (id) ON DELETE CASCADE,
    idx        BIGINT  NOT NULL,
    expires_at BIGINT  NOT NULL,
    PRIMARY KEY (list_id, idx)
);

CREATE INDEX revoked_statuses_by_expiry ON revoked_statuses (expires_at);

-- A session's place, when it was last used (written now and then), and how often its opaque token was exchanged.
ALTER TABLE sessions ADD COLUMN last_seen_at BIGINT;
ALTER TABLE sessions ADD COLUMN rotations BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN status_list UUID REFERENCES status_lists (id);
ALTER TABLE sessions ADD COLUMN status_idx BIGINT;

CREATE UNIQUE INDEX sessions_by_status ON sessions (status_list, status_idx);
-- Those of a user that have not ended come together.
DROP INDEX sessions_by_user;
CREATE INDEX sessions_by_user ON sessions (user_id, ended_at, id);

-- Opaque tokens that were exchanged for newer ones of the same session: who presents one has a copy.
CREATE TABLE rotated_tokens (
    token_hash BYTEA   NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    session_id UUID    NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    rotation   BIGINT  NOT NULL,
    UNIQUE (session_id, rotation)
);

-- Personal access tokens. As with sessions, `token_hash` is the SHA-256 of a token that is nowhere here. One that was
-- made with another goes with it.
CREATE TABLE personal_tokens (
    id           UUID    NOT NULL PRIMARY KEY,
    user_id      UUID    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT    NOT NULL,
    token_hash   BYTEA   NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    scopes       TEXT    NOT NULL,
    created_at   BIGINT  NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    parent_id    UUID    REFERENCES personal_tokens (id) ON DELETE CASCADE
);

CREATE INDEX personal_tokens_by_user ON personal_tokens (user_id, id);
CREATE INDEX personal_tokens_by_parent ON personal_tokens (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX personal_tokens_by_expiry ON personal_tokens (expires_at) WHERE expires_at IS NOT NULL;

-- Keys take turns: each signs from a moment on, after it has been public for a while, and verifies until the last token
-- it signed has run out, of which the longest lives for `longest_jwt_ttl`. `generation` counts them for an algorithm, so
-- that two servers cannot both make the next one.
DROP INDEX signing_keys_active;
ALTER TABLE signing_keys RENAME COLUMN retired_at TO verifies_until;
ALTER TABLE signing_keys ADD COLUMN signs_from BIGINT NOT NULL DEFAULT 0;
ALTER TABLE signing_keys ADD COLUMN generation BIGINT NOT NULL DEFAULT 1;
ALTER TABLE signing_keys ADD COLUMN longest_jwt_ttl BIGINT NOT NULL DEFAULT 0;
UPDATE signing_keys SET signs_from = created_at;
CREATE UNIQUE INDEX signing_keys_by_generation ON signing_keys (algorithm, generation);

-- What happened, in order. `hash` covers the row and the hash of the one before, so that a row changed or missing shows.
CREATE TABLE audit (
    seq        BIGINT  NOT NULL PRIMARY KEY,
    at         BIGINT  NOT NULL,
    event      TEXT    NOT NULL,
    outcome    TEXT    NOT NULL CHECK (outcome IN ('done', 'refused')),
    actor_id   UUID,
    subject_id UUID,
    target     TEXT,
    method     TEXT,
    address    TEXT,
    request_id TEXT,
    hash       BYTEA   NOT NULL CHECK (length(hash) = 32)
);

-- The last row's number and hash: one row, which whoever appends holds until the end of their transaction.
CREATE TABLE audit_head (
    id   BIGINT  NOT NULL PRIMARY KEY CHECK (id = 1),
    seq  BIGINT  NOT NULL,
    hash BYTEA   NOT NULL CHECK (length(hash) = 32)
);

INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'));
