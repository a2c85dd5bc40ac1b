-- Rows that somebody's UPDATE changed are put into the outbox several at a time: what an outbox row costs of its own (its
-- index entry, number, time and place in the WAL) is most of what a bulk update would pay.

-- Whoever writes to the product's table writes to the outbox, and waits behind this: not for long. It is tried again.
SET LOCAL lock_timeout = '50ms';

-- Of an outbox row that is about several rows (kind u): the keys; its external_id is null, and its incarnation means
-- nothing. The other arrays are in the same order; "fields" and "previous" have an array for each row. As a key occurs
-- once in a statement, the one number is each of its rows'.
ALTER TABLE concord.outbox ADD COLUMN ids text[], ADD COLUMN incarnations bigint[], ADD COLUMN stamps timestamptz[];

-- Rows that are there for a moment are not worth compressing, nor cutting up while they fit into a page.
ALTER TABLE concord.outbox
    ALTER COLUMN ids SET STORAGE EXTERNAL, ALTER COLUMN incarnations SET STORAGE EXTERNAL, ALTER COLUMN stamps SET STORAGE EXTERNAL,
    ALTER COLUMN fields SET STORAGE EXTERNAL, ALTER COLUMN previous SET STORAGE EXTERNAL;
ALTER TABLE concord.outbox SET (toast_tuple_target = 8160);

-- Which rows go together: each so many that this counts. (A window function would copy every row.)
CREATE SEQUENCE concord.outbox_row CACHE 1000;
