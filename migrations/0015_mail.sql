-- Whether the user has shown that mail to `email` reaches them. Only such an address counts: it is unique, and people log in
-- and recover with it.
ALTER TABLE users ADD COLUMN email_verified INTEGER NOT NULL DEFAULT 0 CHECK (email_verified IN (0, 1));
CREATE UNIQUE INDEX users_by_verified_email ON users (email_key) WHERE email_verified;

-- The address that a link was sent to, or that it verifies.
ALTER TABLE one_time_secrets ADD COLUMN email TEXT;

-- Of registrations there are many at a time, and none has a user yet. Of one address there is one.
DROP INDEX one_time_secrets_unused;
CREATE UNIQUE INDEX one_time_secrets_unused ON one_time_secrets (purpose, COALESCE(user_id, zeroblob(16)))
    WHERE used_at IS NULL AND purpose <> 'registration';
CREATE UNIQUE INDEX one_time_secrets_of_registrations ON one_time_secrets (email)
    WHERE used_at IS NULL AND purpose = 'registration';

-- Mails that are to be sent, written in the transaction of what they tell of. What they say is sealed with the secret key.
-- Invitations are `bulk`: they go after what a person waits for.
CREATE TABLE outbox (
    id         BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    user_id    BLOB    REFERENCES users (id) ON DELETE CASCADE,
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    bulk       INTEGER NOT NULL CHECK (bulk IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE INDEX outbox_by_due ON outbox (bulk, due_at);
CREATE INDEX outbox_by_user ON outbox (user_id) WHERE user_id IS NOT NULL;
