package compat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.NameValidator;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;
import org.apache.avro.SchemaCompatibility.SchemaCompatibilityType;

/** Writes what Avro's own library says of each case: one line a case, so that a change reads well in a diff. */
public final class Main {
    private static final ObjectMapper JSON = new ObjectMapper();

    private Main() {}

    public static void main(final String[] args) throws Exception {
        final JsonNode cases = JSON.readTree(Path.of(args[0]).toFile());
        final List<String> pairs = new ArrayList<>();
        for (final JsonNode it : cases.path("pairs")) {
            final Map<String, Object> row = new LinkedHashMap<>();
            row.put("name", it.get("name").asText());
            final Schema writer = parse(it.get("writer"));
            final Schema reader = parse(it.get("reader"));
            row.put("backward", judge(reader, writer));
            row.put("forward", judge(writer, reader));
            pairs.add(JSON.writeValueAsString(row));
        }
        final List<String> histories = new ArrayList<>();
        for (final JsonNode it : cases.path("histories")) {
            final Map<String, Object> row = new LinkedHashMap<>();
            row.put("name", it.get("name").asText());
            final List<Schema> old = new ArrayList<>();
            for (final JsonNode version : it.get("versions")) {
                old.add(parse(version));
            }
            row.put("levels", levels(old.remove(old.size() - 1), old));
            histories.add(JSON.writeValueAsString(row));
        }
        final Path golden = Path.of(args[1]);
        Files.createDirectories(golden.getParent());
        Files.writeString(golden, "{\"pairs\":[\n" + String.join(",\n", pairs) + "\n],\"histories\":[\n" + String.join(",\n", histories) + "\n]}\n");
    }

    private static Schema parse(final JsonNode schema) {
        return new Schema.Parser(NameValidator.STRICT_VALIDATOR).parse(schema.toString());
    }

    /** What is wrong, as sorted texts "TYPE location"; or one text, where the library gives up. */
    private static Object judge(final Schema reader, final Schema writer) {
        try {
            final var result = SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getResult();
            final TreeSet<String> found = new TreeSet<>();
            result.getIncompatibilities().forEach(it -> found.add(it.getType() + " " + it.getLocation()));
            if (found.isEmpty() != (result.getCompatibility() == SchemaCompatibilityType.COMPATIBLE)) {
                throw new IllegalStateException("a verdict without reasons: " + result);
            }
            return found;
        } catch (final AvroRuntimeException gaveUp) {
            return "gives up";
        }
    }

    private static boolean reads(final Schema reader, final Schema writer) {
        return judge(reader, writer) instanceof TreeSet<?> found && found.isEmpty();
    }

    /** The levels of a schema registry that the new version holds against those before it. */
    private static List<String> levels(final Schema now, final List<Schema> old) {
        final List<Schema> latest = old.isEmpty() ? Collections.emptyList() : old.subList(old.size() - 1, old.size());
        final List<String> held = new ArrayList<>(List.of("NONE"));
        for (final boolean transitive : new boolean[] {false, true}) {
            final List<Schema> against = transitive ? old : latest;
            final String suffix = transitive ? "_TRANSITIVE" : "";
            final boolean backward = against.stream().allMatch(it -> reads(now, it));
            final boolean forward = against.stream().allMatch(it -> reads(it, now));
            if (backward) {
                held.add("BACKWARD" + suffix);
            }
            if (forward) {
                held.add("FORWARD" + suffix);
            }
            if (backward && forward) {
                held.add("FULL" + suffix);
            }
        }
        return held;
    }
}
