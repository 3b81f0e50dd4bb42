-- Where the audit trail begins: the number and the hash of the last record that was forgotten, by COUNTERSIGN_AUDIT_RETENTION.
CREATE TABLE audit_start (
    id   INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq  INTEGER NOT NULL,
    hash BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

INSERT INTO audit_start (id, seq, hash) VALUES (1, 0, zeroblob(32));
