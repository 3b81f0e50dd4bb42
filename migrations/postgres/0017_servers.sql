-- The servers that run, and what they have to agree on. `secret_tag` is an HMAC of the secret of HS256; NULL with another algorithm.
CREATE TABLE servers (
    id         UUID   NOT NULL PRIMARY KEY,
    issuer     TEXT   NOT NULL,
    audience   TEXT   NOT NULL,
    secret_tag BYTEA,
    seen_at    BIGINT NOT NULL
);
