-- Who there is. `roles` is a sorted list with single spaces, as OAuth writes scopes; times are milliseconds since 1970.
CREATE TABLE users (
    id                   UUID    NOT NULL PRIMARY KEY,
    username             TEXT    COLLATE "C" NOT NULL UNIQUE,
    name                 TEXT,
    email                TEXT,
    roles                TEXT    NOT NULL,
    status               TEXT    NOT NULL CHECK (status IN ('active', 'disabled')),
    password_hash        TEXT    NOT NULL,
    must_change_password BOOLEAN NOT NULL,
    created_at           BIGINT  NOT NULL,
    updated_at           BIGINT  NOT NULL,
    last_login_at        BIGINT
);

-- Nearly everyone is just 'user'; who is more is found without reading the rest.
CREATE INDEX users_by_role ON users (roles, id) WHERE roles <> 'user';

-- One login. The token itself is nowhere here: `token_hash` is its SHA-256.
CREATE TABLE sessions (
    id         UUID    NOT NULL PRIMARY KEY,
    user_id    UUID    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_hash BYTEA   NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created_at BIGINT  NOT NULL,
    expires_at BIGINT  NOT NULL,
    ended_at   BIGINT,
    address    TEXT    NOT NULL,
    user_agent TEXT
);

CREATE INDEX sessions_by_user ON sessions (user_id, id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- What signs JWTs. `private_key` is sealed with the secret key (AES-256-GCM), `public_jwk` is what the JWKS shows.
CREATE TABLE signing_keys (
    kid         TEXT    NOT NULL PRIMARY KEY,
    algorithm   TEXT    NOT NULL CHECK (algorithm IN ('ES256', 'EdDSA', 'RS256')),
    public_jwk  TEXT    NOT NULL,
    private_key BYTEA   NOT NULL,
    created_at  BIGINT  NOT NULL,
    retired_at  BIGINT
);

-- One key signs for an algorithm, also when two servers start at the same moment.
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (algorithm) WHERE retired_at IS NULL;

-- The setup token, while there is no admin: one row or none.
CREATE TABLE setup (
    id           BIGINT  NOT NULL PRIMARY KEY CHECK (id = 1),
    token_hash   BYTEA   NOT NULL CHECK (length(token_hash) = 32),
    created_at   BIGINT  NOT NULL,
    last_used_at BIGINT
);
