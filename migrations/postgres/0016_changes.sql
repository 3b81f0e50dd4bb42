-- What each commit makes stale in the caches of other servers. The number is taken from `change_head`, whose row is held to the
-- commit: numbers have no gaps, and become visible in their order. `ids` are users, sessions and personal tokens; NULL is all.
CREATE TABLE changes (
    seq BIGINT NOT NULL PRIMARY KEY,
    ids UUID[]
);

CREATE TABLE change_head (
    id  BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq BIGINT NOT NULL
);

INSERT INTO change_head (id, seq) VALUES (1, 0);
