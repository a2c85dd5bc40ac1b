-- The schema `concord`: everything Concord keeps in the product's database, beside one trigger on the product's table.
-- Dropping the trigger and this schema uninstalls it.

-- One sequence for all results of a product: people's changes and the answers to our writes.
CREATE SEQUENCE concord.outbox_number AS bigint CACHE 1;

-- What still has to be published. Rows are taken by being here and removed once they are in the log.
CREATE TABLE concord.outbox (
    -- Taken under the lock of the row that it is about: the order of the key's results.
    number        bigint PRIMARY KEY DEFAULT nextval('concord.outbox_number'),
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    transaction   xid8 NOT NULL DEFAULT pg_current_xact_id(),
    incarnation   bigint NOT NULL DEFAULT 0,
    shape         integer,
    -- i, u, d: somebody's insert, update, delete; r: a read; a: the answer to a write of ours; s: sweep the table
    kind          "char" NOT NULL,
    taken         boolean,
    outcome       "char",
    system        text COLLATE "C" NOT NULL,
    -- null: the answer made no record
    external_id   text COLLATE "C",
    -- the row's own time of change, if the table has one
    stamp         timestamptz,
    -- the row's mapped columns in the shape's order; null: the row is deleted
    fields        text[],
    -- of an update, per column: null if unchanged, else what it was before
    previous      text[],
    write_id      text,
    refused_field text,
    reason        text,
    -- of a read: the notices that asked for it
    notices       jsonb
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000,
        -- It is filled and emptied all the time: its pages are kept for the next rows.
        vacuum_truncate = off);

-- Which slots an outbox row's arrays have.
CREATE TABLE concord.shapes (
    shape  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slots  text[] NOT NULL UNIQUE
);

-- How often a key came back after its delete. A key without a row here has had neither insert nor delete since the
-- trigger was attached: incarnation 0, and it lives if its row is there.
CREATE TABLE concord.incarnations (
    system       text COLLATE "C" NOT NULL,
    external_id  text COLLATE "C" NOT NULL,
    incarnation  bigint NOT NULL,
    live         boolean NOT NULL,
    -- of the last insert: the delete before it was never numbered (TRUNCATE, a trigger that was off)
    missed       boolean NOT NULL DEFAULT false,
    -- its row was made by a create of ours
    ours         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (system, external_id)
);
CREATE INDEX incarnations_again ON concord.incarnations (system, external_id) WHERE incarnation > 0;

-- Writes of ours that were decided: none is decided twice.
CREATE TABLE concord.fence (
    -- the UUIDv5 of (log, write id): a third of the text's size, for an index that is written to all over
    id  uuid PRIMARY KEY,
    at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX fence_at ON concord.fence USING brin (at);

-- Per product: the log that the sink writes for. With another log the same write ids mean other writes.
CREATE TABLE concord.products (
    system  text COLLATE "C" PRIMARY KEY,
    log     uuid
);

-- The golden record of every customer.
CREATE TABLE concord.customers (
    customer_id  uuid PRIMARY KEY,
    version      bigint NOT NULL,
    deleted      boolean NOT NULL,
    name         text,
    email        text,
    -- trimmed and lower-cased
    email_norm   text,
    phone        text,
    address      jsonb,
    attributes   jsonb NOT NULL DEFAULT '{}',
    updated_at   timestamptz NOT NULL,
    record       jsonb NOT NULL
);
CREATE INDEX customers_email_norm ON concord.customers (email_norm) WHERE email_norm IS NOT NULL;

-- Which record of which system is which customer. A spare is linked, but another record of its system takes part.
CREATE TABLE concord.crosswalk (
    system       text COLLATE "C" NOT NULL,
    external_id  text COLLATE "C" NOT NULL,
    customer_id  uuid NOT NULL,
    deleted      boolean NOT NULL DEFAULT false,
    spare        boolean NOT NULL DEFAULT false,
    version      bigint NOT NULL,
    PRIMARY KEY (system, external_id)
);
CREATE UNIQUE INDEX crosswalk_customer ON concord.crosswalk (customer_id, system) WHERE NOT deleted AND NOT spare;
CREATE INDEX crosswalk_records ON concord.crosswalk (customer_id);

-- What a person may want to look at.
CREATE TABLE concord.conflicts (
    id           text COLLATE "C" PRIMARY KEY,
    -- newest first is greatest first
    seq          bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    at           timestamptz NOT NULL,
    customer_id  uuid NOT NULL,
    kind         text NOT NULL,
    system       text,
    record       jsonb NOT NULL
);
CREATE INDEX conflicts_customer ON concord.conflicts (customer_id, seq);

-- Addresses in a json column: the six lines that are compared and written; what else is in the object stays.
CREATE FUNCTION concord.address_lines(have jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY[coalesce(have ->> 'line1', ''), coalesce(have ->> 'line2', ''), coalesce(have ->> 'city', ''),
                 coalesce(have ->> 'state', ''), coalesce(have ->> 'postal_code', ''), coalesce(have ->> 'country', '')]
$$;

CREATE FUNCTION concord.with_address(have jsonb, lines jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (CASE WHEN jsonb_typeof(have) = 'object' THEN have ELSE '{}' END
            - '{line1,line2,city,state,postal_code,country}'::text[]) || coalesce(lines, '{}')
$$;

-- Attributes in a json column: `keys` has the keys that are compared or written; null is no value.
CREATE FUNCTION concord.shows_attributes(have jsonb, keys jsonb) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT NOT EXISTS (SELECT FROM jsonb_each_text(keys) AS e WHERE coalesce(have ->> e.key, '') <> coalesce(e.value, ''))
$$;

CREATE FUNCTION concord.with_attributes(have jsonb, keys jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (CASE WHEN jsonb_typeof(have) = 'object' THEN have ELSE '{}' END || jsonb_strip_nulls(keys))
           - ARRAY(SELECT e.key FROM jsonb_each(keys) AS e WHERE e.value = 'null')
$$;
