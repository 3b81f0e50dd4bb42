-- The end of the audit trail under a key that is not in the database (an HMAC), so that nobody can move it with a copy of the
-- database alone. None before the first start with this column.
ALTER TABLE audit_head ADD COLUMN seal BLOB CHECK (length(seal) = 32);
