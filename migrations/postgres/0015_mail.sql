-- Whether the user has shown that mail to `email` reaches them. Only such an address counts: it is unique, and people log in
-- and recover with it.
ALTER TABLE users ADD COLUMN email_verified BOOLEAN NOT NULL DEFAULT FALSE;
CREATE UNIQUE INDEX users_by_verified_email ON users (email_key) WHERE email_verified;

-- The address that a link was sent to, or that it verifies.
ALTER TABLE one_time_secrets ADD COLUMN email TEXT;

-- Of registrations there are many at a time, and none has a user yet. Of one address there is one.
DROP INDEX one_time_secrets_unused;
CREATE UNIQUE INDEX one_time_secrets_unused ON one_time_secrets (purpose, COALESCE(user_id, '00000000-0000-0000-0000-000000000000'::UUID))
    WHERE used_at IS NULL AND purpose <> 'registration';
CREATE UNIQUE INDEX one_time_secrets_of_registrations ON one_time_secrets (email)
    WHERE used_at IS NULL AND purpose = 'registration';

-- Mails that are to be sent, written in the transaction of what they tell of. What they say is sealed with the secret key.
-- Invitations are `bulk`: they go after what a person waits for.
CREATE TABLE outbox (
    id         UUID   NOT NULL PRIMARY KEY,
    user_id    UUID   REFERENCES users (id) ON DELETE CASCADE,
    sealed     BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    due_at     BIGINT NOT NULL,
    attempts   INTEGER NOT NULL,
    bulk       BOOLEAN NOT NULL
);

CREATE INDEX outbox_by_due ON outbox (bulk, due_at);
CREATE INDEX outbox_by_user ON outbox (user_id) WHERE user_id IS NOT NULL;
