-- Networks that may try no more passwords for a while, so that operators can see and lift that.
CREATE TABLE blocks (
    id         UUID    NOT NULL PRIMARY KEY,
    network    TEXT    NOT NULL,
    of_account BOOLEAN NOT NULL,
    user_id    UUID    REFERENCES users (id) ON DELETE CASCADE,
    since      BIGINT  NOT NULL,
    until      BIGINT  NOT NULL
);

CREATE INDEX blocks_by_end ON blocks (until);
CREATE INDEX blocks_by_user ON blocks (user_id) WHERE user_id IS NOT NULL;

-- The networks from which users have logged in, so that the limit on guessing does not count them with strangers.
CREATE TABLE known_networks (
    user_id UUID   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    network TEXT    NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, network)
);

CREATE INDEX known_networks_by_age ON known_networks (seen_at);

INSERT INTO known_networks (user_id, network, seen_at)
SELECT user_id, address, MAX(created_at) FROM sessions WHERE address NOT LIKE '%:%' GROUP BY user_id, address;

-- What an event changed, such as `roles: +admin`. Records without it have the hash that they had before there was this column.
ALTER TABLE audit ADD COLUMN detail TEXT;
