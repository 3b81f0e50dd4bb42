-- Nothing: one file has its own number of the last change. On PostgreSQL this is the table of what other servers change.
SELECT 1;
