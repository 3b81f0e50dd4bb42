-- Where the audit trail begins: the number and the hash of the last record that was forgotten, by COUNTERSIGN_AUDIT_RETENTION.
CREATE TABLE audit_start (
    id   BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    seq  BIGINT NOT NULL,
    hash BYTEA  NOT NULL CHECK (length(hash) = 32)
);

INSERT INTO audit_start (id, seq, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'));
