-- Lists are in the order of ids: whoever is more than a 'user' is found in that order, too.
DROP INDEX users_by_role;
CREATE INDEX users_uncommon ON users (id) WHERE roles <> 'user';
