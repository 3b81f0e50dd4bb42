-- Nothing: servers that share a file run on one machine, and each counts for itself. On PostgreSQL this is the table of what
-- they have used up of the limit on guessing together.
SELECT 1;
