-- Secrets that are good for one use, such as the setup token. `secret_hash` is the SHA-256 of a secret that is stored nowhere.
CREATE TABLE one_time_secrets (
    secret_hash BLOB    NOT NULL PRIMARY KEY CHECK (length(secret_hash) = 32),
    purpose     TEXT    NOT NULL,
    user_id     BLOB    REFERENCES users (id) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    used_at     INTEGER
) STRICT, WITHOUT ROWID;

-- One unused secret of a purpose for each user, or for nobody.
CREATE UNIQUE INDEX one_time_secrets_unused ON one_time_secrets (purpose, COALESCE(user_id, zeroblob(16)))
    WHERE used_at IS NULL;
CREATE INDEX one_time_secrets_by_user ON one_time_secrets (user_id) WHERE user_id IS NOT NULL;

INSERT INTO one_time_secrets (secret_hash, purpose, created_at) SELECT token_hash, 'setup', created_at FROM setup;
DROP TABLE setup;
