package parity;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.function.Supplier;
import org.apache.kafka.streams.Topology;

/** A topology, what goes in, and which stores to look at. */
final class Case {
    final String name;
    final Supplier<Topology> topology;
    final List<Map<String, Object>> steps = new ArrayList<>();
    final List<String> tables = new ArrayList<>();
    final List<String> stores = new ArrayList<>();
    final Properties properties = new Properties();

    Case(final String name, final Supplier<Topology> topology) {
        this.name = name;
        this.topology = topology;
    }

    /** A record of text with headers given as name, value, name, value. */
    Case in(final String topic, final String key, final String value, final long timestamp, final String... headers) {
        final List<List<String>> list = new ArrayList<>();
        for (int i = 0; i < headers.length; i += 2) {
            list.add(List.of(headers[i], hex(headers[i + 1])));
        }
        final Map<String, Object> step = new LinkedHashMap<>();
        step.put("topic", topic);
        step.put("key", hex(key));
        step.put("value", hex(value));
        step.put("timestamp", timestamp);
        step.put("headers", list);
        steps.add(step);
        return this;
    }

    Case advance(final long milliseconds) {
        steps.add(Map.of("advance", milliseconds));
        return this;
    }

    /** Stores of tables: each value has a timestamp. */
    Case tables(final String... names) {
        tables.addAll(List.of(names));
        return this;
    }

    /** Plain key-value stores. */
    Case stores(final String... names) {
        stores.addAll(List.of(names));
        return this;
    }

    Case property(final String key, final Object value) {
        properties.put(key, value);
        return this;
    }

    static String hex(final String text) {
        return text == null ? null : hex(text.getBytes(StandardCharsets.UTF_8));
    }

    static String hex(final byte[] bytes) {
        return bytes == null ? null : HexFormat.of().formatHex(bytes);
    }
}
