-- Nothing: servers that share a file run on one machine. On PostgreSQL this is the table of the servers that run.
SELECT 1;
