-- By which function and at which cost a password was hashed, so that the schemes in use are found without reading every hash.
-- Empty where it is not known yet: the server fills it in after this migration.
ALTER TABLE users ADD COLUMN password_scheme TEXT NOT NULL DEFAULT '';
CREATE INDEX users_by_password_scheme ON users (password_scheme);
-- Statistics from before know nothing of this index, and by those of a small table SQLite would not use it.
PRAGMA analysis_limit = 1000;
ANALYZE users;
