-- How everything stands: answers at once, and ends.
SELECT state, customers, product, stripe, behind, contested FROM customers_per_system;

SELECT system, snapshots, last_look, (UNIX_TIMESTAMP() - last_record) / 1000 AS age_seconds, last_outcome FROM freshness_per_system;

SELECT source_topic, dead_letters, by_error FROM dead_letters_per_topic;

SELECT email, customers, ids FROM duplicate_emails;
