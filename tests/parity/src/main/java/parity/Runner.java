package parity;

import static parity.Case.hex;

import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.Insides;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.test.TestRecord;

/** Runs a case on Kafka Streams' own test driver. */
final class Runner {
    static final String APPLICATION = "parity";

    private Runner() {}

    static Map<String, Object> run(final Case it) throws Exception {
        final Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, APPLICATION);
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "unused:1");
        properties.put(StreamsConfig.STATE_DIR_CONFIG, java.nio.file.Files.createTempDirectory("parity").toString());
        properties.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, "0");
        properties.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        properties.putAll(it.properties);

        final Map<String, Object> golden = new LinkedHashMap<>();
        golden.put("name", it.name);
        golden.put("describe", it.topology.get().describe().toString());
        golden.put("subtopologies", Insides.topics(it.topology.get(), new StreamsConfig(properties)));
        golden.put("steps", it.steps);
        final List<Object> outputs = new ArrayList<>();
        final Map<String, Map<String, List<Object>>> stored = new TreeMap<>();
        try (TopologyTestDriver driver = new TopologyTestDriver(it.topology.get(), properties, Instant.ofEpochMilli(0))) {
            for (final Map<String, Object> step : it.steps) {
                apply(driver, step);
                outputs.add(drain(driver, stored));
            }
        }
        golden.put("outputs", outputs);
        final Map<String, Object> stores = new TreeMap<>();
        it.tables.forEach(name -> stores.put(name, entries(stored, name, true)));
        it.stores.forEach(name -> stores.put(name, entries(stored, name, false)));
        golden.put("stores", stores);
        return golden;
    }

    @SuppressWarnings("unchecked")
    private static void apply(final TopologyTestDriver driver, final Map<String, Object> step) {
        if (step.containsKey("advance")) {
            driver.advanceWallClockTime(Duration.ofMillis((Long) step.get("advance")));
            return;
        }
        final RecordHeaders headers = new RecordHeaders();
        for (final List<String> header : (List<List<String>>) step.get("headers")) {
            headers.add(header.get(0), bytes(header.get(1)));
        }
        driver.createInputTopic((String) step.get("topic"), new ByteArraySerializer(), new ByteArraySerializer())
            .pipeInput(new TestRecord<>(bytes((String) step.get("key")), bytes((String) step.get("value")), headers, (Long) step.get("timestamp")));
    }

    /** What the step wrote, by topic; what it wrote to changelogs goes to `stored`. */
    private static Map<String, Object> drain(final TopologyTestDriver driver, final Map<String, Map<String, List<Object>>> stored) {
        final Map<String, Object> byTopic = new TreeMap<>();
        for (final String topic : new TreeSet<>(driver.producedTopicNames())) {
            final var output = driver.createOutputTopic(topic, new ByteArrayDeserializer(), new ByteArrayDeserializer());
            final List<Object> records = new ArrayList<>();
            while (!output.isEmpty()) {
                final TestRecord<byte[], byte[]> record = output.readRecord();
                if (topic.endsWith("-changelog")) {
                    final Map<String, List<Object>> store = stored.computeIfAbsent(topic, ignored -> new TreeMap<>());
                    if (record.value() == null) {
                        store.remove(hex(record.key()));
                    } else {
                        store.put(hex(record.key()), List.of(hex(record.value()), record.timestamp()));
                    }
                } else {
                    records.add(row(record));
                }
            }
            if (!records.isEmpty()) {
                byTopic.put(topic, records);
            }
        }
        return byTopic;
    }

    private static Map<String, Object> row(final TestRecord<byte[], byte[]> record) {
        final Map<String, Object> row = new LinkedHashMap<>();
        row.put("key", hex(record.key()));
        row.put("value", hex(record.value()));
        row.put("timestamp", record.timestamp());
        final List<Object> headers = new ArrayList<>();
        for (final Header header : record.headers()) {
            // Class names and stack traces are Java's own.
            final boolean javas = List.of("__streams.errors.exception", "__streams.errors.message", "__streams.errors.stacktrace").contains(header.key());
            headers.add(List.of(header.key(), javas ? "*" : hex(header.value())));
        }
        row.put("headers", headers);
        return row;
    }

    private static List<Object> entries(final Map<String, Map<String, List<Object>>> stored, final String name, final boolean timestamped) {
        final List<Object> rows = new ArrayList<>();
        final Map<String, List<Object>> store = stored.get(APPLICATION + "-" + name + "-changelog");
        if (store == null) {
            throw new IllegalStateException("store " + name + " was never written");
        }
        store.forEach((key, value) -> {
            rows.add(timestamped ? List.of(key, value.get(0), value.get(1)) : List.of(key, value.get(0)));
        });
        return rows;
    }

    private static byte[] bytes(final String hex) {
        return hex == null ? null : HexFormat.of().parseHex(hex);
    }
}
