-- The audit trail is read by time, by what happened and by who was in it.
CREATE INDEX audit_by_time ON audit (at, seq);
CREATE INDEX audit_by_event ON audit (event, seq);
CREATE INDEX audit_by_actor ON audit (actor_id, seq) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_by_subject ON audit (subject_id, seq) WHERE subject_id IS NOT NULL;
