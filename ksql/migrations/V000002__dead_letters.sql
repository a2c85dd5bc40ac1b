-- Records that could not be processed. What they are about is in their headers; the value is what it was, and may be anything.
SET 'processing.guarantee' = 'exactly_once_v2';
SET 'auto.offset.reset' = 'earliest';

ASSERT TOPIC 'customers.product.dlq' TIMEOUT 30 SECONDS;
ASSERT TOPIC 'customers.stripe.dlq' TIMEOUT 30 SECONDS;
ASSERT TOPIC 'links.product.dlq' TIMEOUT 30 SECONDS;
ASSERT TOPIC 'links.stripe.dlq' TIMEOUT 30 SECONDS;
ASSERT TOPIC 'requests.product.dlq' TIMEOUT 30 SECONDS;
ASSERT TOPIC 'requests.stripe.dlq' TIMEOUT 30 SECONDS;
ASSERT TOPIC 'customers.identify.dlq' TIMEOUT 30 SECONDS;
ASSERT TOPIC 'customers.unify.dlq' TIMEOUT 30 SECONDS;

CREATE STREAM customers_product_dlq (
  raw BYTES,
  source_topic BYTES HEADER('__streams.errors.topic'),
  error BYTES HEADER('__streams.errors.exception')
) WITH (KAFKA_TOPIC = 'customers.product.dlq', VALUE_FORMAT = 'KAFKA');

CREATE STREAM customers_stripe_dlq (
  raw BYTES,
  source_topic BYTES HEADER('__streams.errors.topic'),
  error BYTES HEADER('__streams.errors.exception')
) WITH (KAFKA_TOPIC = 'customers.stripe.dlq', VALUE_FORMAT = 'KAFKA');

CREATE STREAM links_product_dlq (
  raw BYTES,
  source_topic BYTES HEADER('__streams.errors.topic'),
  error BYTES HEADER('__streams.errors.exception')
) WITH (KAFKA_TOPIC = 'links.product.dlq', VALUE_FORMAT = 'KAFKA');

CREATE STREAM links_stripe_dlq (
  raw BYTES,
  source_topic BYTES HEADER('__streams.errors.topic'),
  error BYTES HEADER('__streams.errors.exception')
) WITH (KAFKA_TOPIC = 'links.stripe.dlq', VALUE_FORMAT = 'KAFKA');

CREATE STREAM requests_product_dlq (
  raw BYTES,
  source_topic BYTES HEADER('__streams.errors.topic'),
  error BYTES HEADER('__streams.errors.exception')
) WITH (KAFKA_TOPIC = 'requests.product.dlq', VALUE_FORMAT = 'KAFKA');

CREATE STREAM requests_stripe_dlq (
  raw BYTES,
  source_topic BYTES HEADER('__streams.errors.topic'),
  error BYTES HEADER('__streams.errors.exception')
) WITH (KAFKA_TOPIC = 'requests.stripe.dlq', VALUE_FORMAT = 'KAFKA');

CREATE STREAM customers_identify_dlq (
  raw BYTES,
  source_topic BYTES HEADER('__streams.errors.topic'),
  error BYTES HEADER('__streams.errors.exception')
) WITH (KAFKA_TOPIC = 'customers.identify.dlq', VALUE_FORMAT = 'KAFKA');

CREATE STREAM customers_unify_dlq (
  raw BYTES,
  source_topic BYTES HEADER('__streams.errors.topic'),
  error BYTES HEADER('__streams.errors.exception')
) WITH (KAFKA_TOPIC = 'customers.unify.dlq', VALUE_FORMAT = 'KAFKA');

CREATE STREAM dead_letters WITH (KAFKA_TOPIC = 'ksql.dead_letters', VALUE_FORMAT = 'AVRO', PARTITIONS = 4, REPLICAS = 1) AS
  SELECT FROM_BYTES(source_topic, 'utf8') AS source_topic, FROM_BYTES(error, 'utf8') AS error
  FROM customers_product_dlq
  EMIT CHANGES;

INSERT INTO dead_letters
  SELECT FROM_BYTES(source_topic, 'utf8') AS source_topic, FROM_BYTES(error, 'utf8') AS error
  FROM customers_stripe_dlq
  EMIT CHANGES;

INSERT INTO dead_letters
  SELECT FROM_BYTES(source_topic, 'utf8') AS source_topic, FROM_BYTES(error, 'utf8') AS error
  FROM links_product_dlq
  EMIT CHANGES;

INSERT INTO dead_letters
  SELECT FROM_BYTES(source_topic, 'utf8') AS source_topic, FROM_BYTES(error, 'utf8') AS error
  FROM links_stripe_dlq
  EMIT CHANGES;

INSERT INTO dead_letters
  SELECT FROM_BYTES(source_topic, 'utf8') AS source_topic, FROM_BYTES(error, 'utf8') AS error
  FROM requests_product_dlq
  EMIT CHANGES;

INSERT INTO dead_letters
  SELECT FROM_BYTES(source_topic, 'utf8') AS source_topic, FROM_BYTES(error, 'utf8') AS error
  FROM requests_stripe_dlq
  EMIT CHANGES;

INSERT INTO dead_letters
  SELECT FROM_BYTES(source_topic, 'utf8') AS source_topic, FROM_BYTES(error, 'utf8') AS error
  FROM customers_identify_dlq
  EMIT CHANGES;

INSERT INTO dead_letters
  SELECT FROM_BYTES(source_topic, 'utf8') AS source_topic, FROM_BYTES(error, 'utf8') AS error
  FROM customers_unify_dlq
  EMIT CHANGES;

CREATE TABLE dead_letters_per_topic WITH (KAFKA_TOPIC = 'ksql.dead_letters_per_topic', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO', PARTITIONS = 4, REPLICAS = 1) AS
  SELECT
    source_topic,
    COUNT(*) AS dead_letters,
    HISTOGRAM(error) AS by_error,
    MAX(ROWTIME) AS last_record
  FROM dead_letters
  GROUP BY source_topic
  EMIT CHANGES;
