-- How much of the limit on guessing all servers together have used up: when all slots of a bucket will have come back. A bucket is
-- that of a network, or of one account at a network, and its id is a hash of them under a key that is not in the database.
CREATE TABLE guesses (
    bucket      UUID   NOT NULL PRIMARY KEY,
    all_free_at BIGINT NOT NULL
);

CREATE INDEX guesses_by_end ON guesses (all_free_at);

-- A crash, or a fail-over, can take the number of a change back and give it out again. A server that has heard of the first tells
-- the second by its tag.
ALTER TABLE changes ADD COLUMN tag UUID NOT NULL DEFAULT gen_random_uuid();
