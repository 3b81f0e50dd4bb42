-- What users are looked for by, besides their username: name and e-mail in the one spelling that usernames have too.
ALTER TABLE users ADD COLUMN name_key TEXT;
ALTER TABLE users ADD COLUMN email_key TEXT;
UPDATE users SET name_key = lower(name), email_key = lower(email);

CREATE INDEX users_by_name ON users (name_key, id) WHERE name_key IS NOT NULL;
CREATE INDEX users_by_email ON users (email_key, id) WHERE email_key IS NOT NULL;
CREATE INDEX users_disabled ON users (id) WHERE status = 'disabled';
