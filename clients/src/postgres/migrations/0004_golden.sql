-- How far the golden tables have taken the log in, written together with what was taken in: a database that was restored
-- from a backup says how old it is.
CREATE TABLE concord.golden (
    topic      text COLLATE "C",
    partition  integer,
    -- the offset of the first record that is not in yet
    next       bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);
