-- Who there is. `roles` is a sorted list with single spaces, as OAuth writes scopes; times are milliseconds since 1970.
CREATE TABLE users (
    id                   BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    username             TEXT    NOT NULL UNIQUE,
    name                 TEXT,
    email                TEXT,
    roles                TEXT    NOT NULL,
    status               TEXT    NOT NULL CHECK (status IN ('active', 'disabled')),
    password_hash        TEXT    NOT NULL,
    must_change_password INTEGER NOT NULL CHECK (must_change_password IN (0, 1)),
    created_at           INTEGER NOT NULL,
    updated_at           INTEGER NOT NULL,
    last_login_at        INTEGER
) STRICT, WITHOUT ROWID;

-- Nearly everyone is just 'user'; who is more is found without reading the rest.
CREATE INDEX users_by_role ON users (roles, id) WHERE roles <> 'user';

-- One login. The token itself is nowhere here: `token_hash` is its SHA-256.
CREATE TABLE sessions (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    user_id    BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash BLOB    NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    ended_at   INTEGER,
    address    TEXT    NOT NULL,
    user_agent TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_user ON sessions (user_id, id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- What signs JWTs. `private_key` is sealed with the secret key (AES-256-GCM), `public_jwk` is what the JWKS shows.
CREATE TABLE signing_keys (
    kid         TEXT    NOT NULL PRIMARY KEY,
    algorithm   TEXT    NOT NULL CHECK (algorithm IN ('ES256', 'EdDSA', 'RS256')),
    public_jwk  TEXT    NOT NULL,
    private_key BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    retired_at  INTEGER
) STRICT, WITHOUT ROWID;

-- One key signs for an algorithm, also when two servers start at the same moment.
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (algorithm) WHERE retired_at IS NULL;

-- The setup token, while there is no admin: one row or none.
CREATE TABLE setup (
    id           INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    token_hash   BLOB    NOT NULL CHECK (length(token_hash) = 32),
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER
) STRICT;
