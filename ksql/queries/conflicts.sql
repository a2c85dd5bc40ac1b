-- Conflicts of the last hour, in spans of five minutes; then each one as it comes, until Ctrl-C.
SELECT kind, WINDOWSTART, conflicts, by_system FROM conflicts_per_five_minutes WHERE WINDOWSTART >= UNIX_TIMESTAMP() - 3600000;

SELECT `AT`, kind, customer, system, field, rule, detail FROM conflicts EMIT CHANGES;
