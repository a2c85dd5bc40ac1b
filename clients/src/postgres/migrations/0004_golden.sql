-- Which log the golden tables are of and how far they have taken it in, written together with what was taken in: a database
-- that was restored from a backup says how old it is.
CREATE TABLE concord.golden (
    topic      text COLLATE "C",
    partition  integer,
    -- the offset of the first record that is not in yet
    next       bigint NOT NULL,
    log        text COLLATE "C" NOT NULL,
    PRIMARY KEY (topic, partition)
);
