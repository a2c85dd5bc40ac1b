package parity;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.processor.RecordContext;
import org.apache.kafka.streams.processor.TopicNameExtractor;

/** Stateless operators, and streams that are grouped. */
final class StreamCases {
    static final Serde<String> TEXT = Serdes.String();
    static final Serde<Long> LONG = Serdes.Long();

    /** A new one each time: `withName` changes it. */
    static Consumed<String, String> consumed() {
        return Consumed.with(TEXT, TEXT);
    }

    static Produced<String, String> produced() {
        return Produced.with(TEXT, TEXT);
    }

    private StreamCases() {}

    static List<Case> all() {
        return List.of(
            new Case("word_count", StreamCases::wordCount)
                .in("lines", null, "hello kafka", 10).in("lines", "k", "hello streams hello", 5, "trace", "t1").in("lines", null, "", 30)
                .tables("KSTREAM-AGGREGATE-STATE-STORE-0000000003"),
            new Case("word_count_named", StreamCases::wordCountNamed)
                .in("lines", null, "Hello kafka", 10).in("lines", "k", "hello HELLO", 20, "trace", "t1", "trace", "t2").tables("counts"),
            new Case("stateless", StreamCases::stateless)
                .in("numbers", "a", "1", 1, "h", "x").in("numbers", "b", "22", 2).in("numbers", "c", "333", 3, "h", "y", "i", "")
                .in("numbers", "d", "4444", 4).in("more", "e", "5", 5),
            new Case("stateless_named", StreamCases::statelessNamed).in("numbers", "a", "1", 1).in("numbers", "b", "22", 2, "h", "v"),
            new Case("branches", StreamCases::branches)
                .in("events", "a", "create", 1).in("events", "b", "update", 2).in("events", "c", "delete", 3).in("events", "d", "other", 4),
            new Case("aggregations", StreamCases::aggregations)
                .in("amounts", "a", "x", 10).in("amounts", "b", "y", 20).in("amounts", "a", "z", 5, "h", "v").in("amounts", "a", "reset", 30)
                .in("amounts", null, "lost", 40).in("amounts", "b", null, 50).in("amounts", "a", "again", 8)
                .tables("KSTREAM-REDUCE-STATE-STORE-0000000001", "lengths", "KSTREAM-AGGREGATE-STATE-STORE-0000000009"),
            new Case("repartitions", StreamCases::repartitions)
                .in("orders", "1", "anna", 1, "h", "v").in("orders", "2", "bert", 2).in("orders", null, "carl", 3),
            new Case("read_twice", StreamCases::readTwice).in("shared", "a", "1", 1).in("shared", "b", "2", 2));
    }

    /** A topic for each key. Described by its text, since a lambda's would differ from run to run. */
    private static final class ByKey implements TopicNameExtractor<String, String> {
        @Override
        public String extract(final String key, final String value, final RecordContext context) {
            return "dynamic-" + key;
        }

        @Override
        public String toString() {
            return "by-key";
        }
    }

    private static List<String> words(final String line) {
        return Arrays.stream(line.split(" ")).collect(Collectors.toList());
    }

    private static Topology wordCount() {
        final StreamsBuilder builder = new StreamsBuilder();
        builder.stream("lines", consumed()).flatMapValues(StreamCases::words).groupBy((key, word) -> word, Grouped.with(TEXT, TEXT)).count()
            .toStream().to("word-counts", Produced.with(TEXT, LONG));
        return builder.build();
    }

    private static Topology wordCountNamed() {
        final StreamsBuilder builder = new StreamsBuilder();
        builder.stream("lines", consumed().withName("lines-source"))
            .mapValues((key, line) -> line.toLowerCase(Locale.ROOT), Named.as("lower"))
            .flatMapValues((key, line) -> words(line), Named.as("split"))
            .groupBy((key, word) -> word, Grouped.with("by-word", TEXT, TEXT))
            .count(Named.as("count"), Materialized.as("counts"))
            .toStream(Named.as("changes"))
            .to("word-counts", Produced.with(TEXT, LONG).withName("counts-sink"));
        return builder.build();
    }

    private static Topology stateless() {
        final StreamsBuilder builder = new StreamsBuilder();
        final KStream<String, String> numbers = builder.stream("numbers", consumed());
        final KStream<String, String> big = numbers.filter((key, value) -> value.length() > 1);
        big.map((key, value) -> KeyValue.pair(value, key)).to("swapped", produced());
        big.flatMap((key, value) -> List.of(KeyValue.pair(key, value), KeyValue.pair(key + key, value + value))).to("doubled", produced());
        numbers.filterNot((key, value) -> value.length() > 1).merge(builder.stream("more", consumed())).mapValues(value -> value + "!").to("small", produced());
        numbers.selectKey((key, value) -> value).peek((key, value) -> { }).mapValues((key, value) -> key + "=" + value).to("rekeyed", produced());
        numbers.foreach((key, value) -> { });
        numbers.to(new ByKey(), produced());
        return builder.build();
    }

    private static Topology statelessNamed() {
        final StreamsBuilder builder = new StreamsBuilder();
        final KStream<String, String> numbers = builder.stream("numbers", consumed().withName("numbers-source"));
        final KStream<String, String> big = numbers.filter((key, value) -> value.length() > 1, Named.as("big"));
        final KStream<String, String> small = numbers.filterNot((key, value) -> value.length() > 1, Named.as("small"));
        big.map((key, value) -> KeyValue.pair(value, key), Named.as("swap"))
            .merge(small.selectKey((key, value) -> value, Named.as("rekey")), Named.as("both"))
            .peek((key, value) -> { }, Named.as("look"))
            .flatMap((key, value) -> List.of(KeyValue.pair(key, value)), Named.as("flat"))
            .flatMapValues((key, value) -> List.of(value, value), Named.as("twice"))
            .to("out", produced().withName("out-sink"));
        big.foreach((key, value) -> { }, Named.as("each"));
        return builder.build();
    }

    private static Topology branches() {
        final StreamsBuilder builder = new StreamsBuilder();
        final KStream<String, String> events = builder.stream("events", consumed());
        final Map<String, KStream<String, String>> unnamed = events.split()
            .branch((key, value) -> value.equals("create")).branch((key, value) -> value.endsWith("e")).noDefaultBranch();
        unnamed.get("KSTREAM-BRANCH-00000000011").to("creates", produced());
        unnamed.get("KSTREAM-BRANCH-00000000012").to("changes", produced());
        final Map<String, KStream<String, String>> named = events.split(Named.as("kind-"))
            .branch((key, value) -> value.equals("delete"), Branched.as("deletes")).defaultBranch(Branched.as("rest"));
        named.get("kind-deletes").merge(named.get("kind-rest")).to("again", produced());
        final Map<String, KStream<String, String>> last = events.split().branch((key, value) -> false).defaultBranch();
        last.get("KSTREAM-BRANCH-00000000110").to("default", produced());
        return builder.build();
    }

    private static Topology aggregations() {
        final StreamsBuilder builder = new StreamsBuilder();
        final var grouped = builder.stream("amounts", consumed()).groupByKey(Grouped.with(TEXT, TEXT));
        grouped.reduce((a, b) -> a + "+" + b).toStream().to("joined", produced());
        grouped.aggregate(() -> 0L, (key, value, sum) -> value.equals("reset") ? null : sum + value.length(), Named.as("sum"),
            Materialized.<String, Long, org.apache.kafka.streams.state.KeyValueStore<org.apache.kafka.common.utils.Bytes, byte[]>>as("lengths")
                .withKeySerde(TEXT).withValueSerde(LONG)).toStream().to("lengths-out", Produced.with(TEXT, LONG));
        grouped.count(Materialized.with(TEXT, LONG)).toStream().to("counts-out", Produced.with(TEXT, LONG));
        return builder.build();
    }

    private static Topology repartitions() {
        final StreamsBuilder builder = new StreamsBuilder();
        final KStream<String, String> orders = builder.stream("orders", consumed());
        orders.selectKey((key, value) -> value).repartition(Repartitioned.<String, String>as("by-name").withKeySerde(TEXT).withValueSerde(TEXT).withNumberOfPartitions(3)).to("named", produced());
        orders.repartition(Repartitioned.with(TEXT, TEXT)).mapValues(value -> value + "?").to("unnamed", produced());
        return builder.build();
    }

    private static Topology readTwice() {
        final StreamsBuilder builder = new StreamsBuilder();
        builder.stream("shared", consumed()).mapValues(value -> value + "a").to("first", produced());
        builder.stream("shared", consumed()).mapValues(value -> value + "b").merge(builder.stream(List.of("x", "y", "z"), consumed())).to("second", produced());
        return builder.build();
    }
}
