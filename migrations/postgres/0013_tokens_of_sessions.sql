-- The session in which a personal token was made, so that both end when a copy of the session's token shows up. Sessions are
-- deleted sooner than tokens, so this refers to nothing.
ALTER TABLE personal_tokens ADD COLUMN session_id UUID;
CREATE INDEX personal_tokens_by_session ON personal_tokens (session_id) WHERE session_id IS NOT NULL;
