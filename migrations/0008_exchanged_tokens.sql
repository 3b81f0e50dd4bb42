-- The hash that a session's token had before it was exchanged is remembered by the exchange itself: one statement, after
-- which nothing is left to be done or forgotten.
CREATE TRIGGER sessions_exchanged AFTER UPDATE OF token_hash ON sessions BEGIN
    INSERT INTO rotated_tokens (token_hash, session_id, rotation) VALUES (OLD.token_hash, NEW.id, NEW.rotations);
END;
