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

CREATE TABLE conflicts_per_five_minutes WITH (KAFKA_TOPIC = 'ksql.conflicts_per_five_minutes', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 4, REPLICAS = 1) AS
  SELECT
    kind,
    COUNT(*) AS conflicts,
    HISTOGRAM(system) AS by_system
  FROM conflicts
  WINDOW TUMBLING (SIZE 5 MINUTES, RETENTION 7 DAYS, GRACE PERIOD 1 HOUR)
  GROUP BY kind
  EMIT CHANGES;
