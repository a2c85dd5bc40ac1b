-- What operators ask of the customers' topics. See README.md two folders up for what is meant by each.
-- Concord writes with transactions; only this setting makes ksqlDB skip what was taken back, and count nothing twice.
SET 'processing.guarantee' = 'exactly_once_v2';
SET 'auto.offset.reset' = 'earliest';

-- Concord makes the topics and registers the schemas. Without these checks ksqlDB would register schemas of its own,
-- upper-cased ones, that Concord's would then have to be compatible with.
ASSERT TOPIC 'customers.product' WITH (PARTITIONS = 4) TIMEOUT 30 SECONDS;
ASSERT TOPIC 'customers.stripe' WITH (PARTITIONS = 4) TIMEOUT 30 SECONDS;
ASSERT TOPIC 'links.product' WITH (PARTITIONS = 4) TIMEOUT 30 SECONDS;
ASSERT TOPIC 'links.stripe' WITH (PARTITIONS = 4) TIMEOUT 30 SECONDS;
ASSERT TOPIC 'customers.unified' WITH (PARTITIONS = 4) TIMEOUT 30 SECONDS;
ASSERT TOPIC 'customers.conflicts' WITH (PARTITIONS = 4) TIMEOUT 30 SECONDS;

ASSERT SCHEMA SUBJECT 'customers.product-value' TIMEOUT 30 SECONDS;
ASSERT SCHEMA SUBJECT 'customers.stripe-value' TIMEOUT 30 SECONDS;
ASSERT SCHEMA SUBJECT 'links.product-value' TIMEOUT 30 SECONDS;
ASSERT SCHEMA SUBJECT 'links.stripe-value' TIMEOUT 30 SECONDS;
ASSERT SCHEMA SUBJECT 'customers.unified-value' TIMEOUT 30 SECONDS;
ASSERT SCHEMA SUBJECT 'customers.conflicts-value' TIMEOUT 30 SECONDS;

-- Snapshots: what each system showed of a record, and what that answered.
CREATE STREAM customers_product (
  external_id STRING KEY,
  `ORDER` BIGINT,
  incarnation BIGINT,
  look TIMESTAMP,
  fields STRUCT<
    name STRING,
    email STRING,
    phone STRING,
    address STRUCT<line1 STRING, line2 STRING, city STRING, state STRING, postal_code STRING, country STRING>,
    attributes MAP<STRING, STRING>>,
  concord_id STRING,
  mark STRING,
  created TIMESTAMP,
  stamp TIMESTAMP,
  settled BOOLEAN,
  notices ARRAY<STRUCT<event_id STRING, write_id STRING, time TIMESTAMP>>,
  answer STRUCT<write_id STRING, outcome STRING, refused_field STRING, reason STRING, taken BOOLEAN>
) WITH (KAFKA_TOPIC = 'customers.product', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');

CREATE STREAM customers_stripe (
  external_id STRING KEY,
  `ORDER` BIGINT,
  incarnation BIGINT,
  look TIMESTAMP,
  fields STRUCT<
    name STRING,
    email STRING,
    phone STRING,
    address STRUCT<line1 STRING, line2 STRING, city STRING, state STRING, postal_code STRING, country STRING>,
    attributes MAP<STRING, STRING>>,
  concord_id STRING,
  mark STRING,
  created TIMESTAMP,
  stamp TIMESTAMP,
  settled BOOLEAN,
  notices ARRAY<STRUCT<event_id STRING, write_id STRING, time TIMESTAMP>>,
  answer STRUCT<write_id STRING, outcome STRING, refused_field STRING, reason STRING, taken BOOLEAN>
) WITH (KAFKA_TOPIC = 'customers.stripe', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');

-- Which customer a record is, for look-ups.
CREATE SOURCE TABLE links_product (
  external_id STRING PRIMARY KEY,
  incarnation BIGINT,
  customer STRING
) WITH (KAFKA_TOPIC = 'links.product', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');

CREATE SOURCE TABLE links_stripe (
  external_id STRING PRIMARY KEY,
  incarnation BIGINT,
  customer STRING
) WITH (KAFKA_TOPIC = 'links.stripe', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');

-- The unified customers: a table to compute from, and one for look-ups of all that is known of a customer. An Avro union
-- of several types is a struct here, with a field for each of them, of which one is set.
CREATE TABLE customers_unified (
  id STRING PRIMARY KEY,
  version BIGINT,
  deleted BOOLEAN,
  updated_at TIMESTAMP,
  contested BOOLEAN,
  fields ARRAY<STRUCT<
    field STRING,
    value STRUCT<`STRING` STRING, address STRUCT<line1 STRING, line2 STRING, city STRING, state STRING, postal_code STRING, country STRING>>,
    system STRING,
    external_id STRING,
    event_id STRING,
    edited_at TIMESTAMP,
    rule STRING>>,
  records ARRAY<STRUCT<
    system STRING,
    external_id STRING,
    deleted BOOLEAN,
    spare BOOLEAN,
    in_step BOOLEAN,
    in_flight STRING,
    refused ARRAY<STRUCT<field STRING, reason STRING>>,
    held ARRAY<STRING>>>
) WITH (KAFKA_TOPIC = 'customers.unified', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');

CREATE SOURCE TABLE customer_lookup (
  id STRING PRIMARY KEY,
  version BIGINT,
  deleted BOOLEAN,
  updated_at TIMESTAMP,
  contested BOOLEAN,
  fields ARRAY<STRUCT<
    field STRING,
    value STRUCT<`STRING` STRING, address STRUCT<line1 STRING, line2 STRING, city STRING, state STRING, postal_code STRING, country STRING>>,
    system STRING,
    external_id STRING,
    event_id STRING,
    edited_at TIMESTAMP,
    rule STRING>>,
  records ARRAY<STRUCT<
    system STRING,
    external_id STRING,
    deleted BOOLEAN,
    spare BOOLEAN,
    in_step BOOLEAN,
    in_flight STRING,
    refused ARRAY<STRUCT<field STRING, reason STRING>>,
    held ARRAY<STRING>>>
) WITH (KAFKA_TOPIC = 'customers.unified', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');

CREATE STREAM conflicts (
  customer STRING KEY,
  id STRING,
  kind STRING,
  system STRING,
  external_id STRING,
  field STRING,
  `AT` TIMESTAMP,
  rule STRING,
  winner STRUCT<value STRUCT<`STRING` STRING, address STRUCT<line1 STRING, line2 STRING, city STRING, state STRING, postal_code STRING, country STRING>>, system STRING, edited_at TIMESTAMP, event_id STRING>,
  loser STRUCT<value STRUCT<`STRING` STRING, address STRUCT<line1 STRING, line2 STRING, city STRING, state STRING, postal_code STRING, country STRING>>, system STRING, edited_at TIMESTAMP, event_id STRING>,
  detail STRING
) WITH (KAFKA_TOPIC = 'customers.conflicts', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', TIMESTAMP = '`AT`');

-- One flat row per customer. The systems are those where it has a living record that takes part.
CREATE TABLE customers WITH (KAFKA_TOPIC = 'ksql.customers', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 4, REPLICAS = 1) AS
  SELECT
    id,
    version,
    CASE WHEN deleted THEN 'deleted' ELSE 'live' END AS state,
    contested,
    LCASE(TRIM(FILTER(fields, f => f->field = 'email')[1]->value->`STRING`)) AS email,
    TRANSFORM(FILTER(records, r => NOT r->deleted AND NOT r->spare), r => r->system) AS systems,
    ARRAY_LENGTH(FILTER(records, r => NOT r->deleted AND NOT r->in_step)) AS behind,
    updated_at
  FROM customers_unified
  EMIT CHANGES;

-- Aggregates over a table: when a customer changes, its former row is subtracted before the new one is added.
CREATE TABLE customers_per_system WITH (KAFKA_TOPIC = 'ksql.customers_per_system', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 4, REPLICAS = 1) AS
  SELECT
    state,
    COUNT(*) AS customers,
    SUM(CASE WHEN ARRAY_CONTAINS(systems, 'product') THEN 1 ELSE 0 END) AS product,
    SUM(CASE WHEN ARRAY_CONTAINS(systems, 'stripe') THEN 1 ELSE 0 END) AS stripe,
    SUM(CASE WHEN behind > 0 THEN 1 ELSE 0 END) AS behind,
    SUM(CASE WHEN contested THEN 1 ELSE 0 END) AS contested
  FROM customers
  GROUP BY state
  EMIT CHANGES;

CREATE TABLE duplicate_emails WITH (KAFKA_TOPIC = 'ksql.duplicate_emails', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 4, REPLICAS = 1) AS
  SELECT
    email,
    COUNT(*) AS customers,
    COLLECT_LIST(id) AS ids
  FROM customers
  WHERE email IS NOT NULL
  GROUP BY email
  HAVING COUNT(*) > 1
  EMIT CHANGES;

CREATE TABLE conflicts_per_five_minutes WITH (KAFKA_TOPIC = 'ksql.conflicts_per_five_minutes', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 4, REPLICAS = 1) AS
  SELECT
    kind,
    COUNT(*) AS conflicts,
    HISTOGRAM(system) AS by_system
  FROM conflicts
  WINDOW TUMBLING (SIZE 5 MINUTES, RETENTION 7 DAYS, GRACE PERIOD 1 HOUR)
  GROUP BY kind
  EMIT CHANGES;

-- Every system's snapshots in one stream, without what they say of people.
CREATE STREAM snapshots WITH (KAFKA_TOPIC = 'ksql.snapshots', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 4, REPLICAS = 1) AS
  SELECT external_id, 'product' AS system, look, answer->outcome AS outcome
  FROM customers_product
  EMIT CHANGES;

INSERT INTO snapshots
  SELECT external_id, 'stripe' AS system, look, answer->outcome AS outcome
  FROM customers_stripe
  EMIT CHANGES;

CREATE TABLE freshness_per_system WITH (KAFKA_TOPIC = 'ksql.freshness_per_system', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 4, REPLICAS = 1) AS
  SELECT
    system,
    COUNT(*) AS snapshots,
    MAX(look) AS last_look,
    MAX(ROWTIME) AS last_record,
    LATEST_BY_OFFSET(outcome) AS last_outcome
  FROM snapshots
  GROUP BY system
  EMIT CHANGES;
