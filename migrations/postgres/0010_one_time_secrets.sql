-- Secrets that are good for one use, such as the setup token. `secret_hash` is the SHA-256 of a secret that is stored nowhere.
CREATE TABLE one_time_secrets (
    secret_hash BYTEA  NOT NULL PRIMARY KEY CHECK (length(secret_hash) = 32),
    purpose     TEXT   NOT NULL,
    user_id     UUID   REFERENCES users (id) ON DELETE CASCADE,
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT,
    used_at     BIGINT
);

-- One unused secret of a purpose for each user, or for nobody.
CREATE UNIQUE INDEX one_time_secrets_unused
    ON one_time_secrets (purpose, COALESCE(user_id, '00000000-0000-0000-0000-000000000000'::UUID))
    WHERE used_at IS NULL;
CREATE INDEX one_time_secrets_by_user ON one_time_secrets (user_id) WHERE user_id IS NOT NULL;

INSERT INTO one_time_secrets (secret_hash, purpose, created_at) SELECT token_hash, 'setup', created_at FROM setup;
DROP TABLE setup;
