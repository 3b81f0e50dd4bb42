-- The refresh that rotates an opaque token records the old hash itself, in the same transaction.
DROP TRIGGER sessions_exchanged;
