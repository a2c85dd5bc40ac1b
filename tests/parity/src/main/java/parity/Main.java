package parity;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.utils.Utils;

/** Writes the goldens: one file per topology, and the partitions of keys. */
public final class Main {
    private Main() {}

    public static void main(final String[] args) throws Exception {
        final Path folder = Path.of(args[0]);
        Files.createDirectories(folder);
        final List<Case> cases = new ArrayList<>();
        cases.addAll(StreamCases.all());
        cases.addAll(TableCases.all());
        cases.addAll(ProcessorCases.all());
        cases.addAll(ShapeCases.all());
        for (final Case it : cases) {
            Files.writeString(folder.resolve(it.name + ".json"), Json.write(Runner.run(it)));
        }
        Files.writeString(folder.resolve("murmur2.json"), Json.write(partitions()));
    }

    private static List<Object> partitions() {
        final List<String> keys = new ArrayList<>(List.of("", "a", "ab", "abc", "abcd", "abcde", "21", "foobar", "ä", "äö", "Zoë", "日本", "日本語", "🦀", "🦀🦀", "\u0000", " ", "cus_NffrFeUfNV2Hib"));
        for (int i = 0; i < 50; i++) {
            keys.add("customer-" + i * i * 7919 + "-é".repeat(i % 3));
        }
        final List<Object> rows = new ArrayList<>();
        for (final String key : keys) {
            final byte[] bytes = key.getBytes(StandardCharsets.UTF_8);
            final Map<String, Object> row = new LinkedHashMap<>();
            row.put("key", key);
            row.put("murmur2", Utils.murmur2(bytes));
            final Map<String, Integer> partitions = new LinkedHashMap<>();
            for (final int count : new int[] {1, 3, 4, 12, 100}) {
                partitions.put(String.valueOf(count), BuiltInPartitioner.partitionForKey(bytes, count));
            }
            row.put("partitions", partitions);
            rows.add(row);
        }
        return rows;
    }
}
