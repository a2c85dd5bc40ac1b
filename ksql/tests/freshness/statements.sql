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
