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
