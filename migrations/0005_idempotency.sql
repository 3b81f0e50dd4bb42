-- Requests that may come again (Idempotency-Key): what was answered, sealed with the secret key, for it may hold a token.
CREATE TABLE idempotency_keys (
    key_hash   BLOB    NOT NULL PRIMARY KEY CHECK (length(key_hash) = 32),
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
