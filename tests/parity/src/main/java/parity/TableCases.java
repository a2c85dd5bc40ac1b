package parity;

import static parity.StreamCases.consumed;
import static parity.StreamCases.LONG;
import static parity.StreamCases.produced;
import static parity.StreamCases.TEXT;

import java.util.List;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;

/** Tables, and their joins with streams. */
final class TableCases {
    private TableCases() {}

    static List<Case> all() {
        return List.of(
            new Case("tables", TableCases::tables)
                .in("plain", "a", "1", 10, "h", "v").in("plain", "b", "22", 20).in("plain", "a", null, 30).in("plain", null, "x", 40).in("plain", "b", "3", 5)
                .in("stored", "a", "1", 10).in("stored", "a", "22", 20).in("stored", "a", "333", 15).in("stored", "b", "4", 16)
                .in("stored", "a", null, 40).in("stored", "c", null, 50)
                .tables("stored-store", "short", "lengths"),
            new Case("join", TableCases::join)
                .in("orders", "a", "early", 5).in("people", "a", "Anna", 10).in("orders", "a", "o1", 20, "h", "v").in("orders", "b", "o2", 30)
                .in("people", "a", "Anne", 50).in("orders", "a", "late", 8).in("people", "a", null, 60).in("orders", "a", "o3", 70)
                .in("orders", null, "o4", 80).in("orders", "a", null, 90)
                .tables("people-STATE-STORE-0000000000"),
            new Case("join_repartitioned", TableCases::joinRepartitioned)
                .in("people", "anna", "Anna", 10).in("orders", "1", "anna", 20, "h", "v").in("orders", "2", "bert", 30)
                .tables("people-store"),
            new Case("join_derived", TableCases::joinDerived)
                .in("people", "a", "Anna", 10).in("people", "b", "Bo", 11).in("orders", "a", "o1", 20).in("orders", "b", "o2", 21)
                .in("people", "a", "Al", 30).in("orders", "a", "o3", 40)
                .tables("people-STATE-STORE-0000000000", "lengths"),
            new Case("join_aggregate", TableCases::joinAggregate)
                .in("visits", "a", "x", 10).in("orders", "a", "o1", 20).in("visits", "a", "y", 15).in("orders", "a", "o2", 12).in("orders", "b", "o3", 13)
                .tables("visit-counts"),
            new Case("to_table", TableCases::toTable)
                .in("changes", "a", "1", 10, "h", "v").in("changes", "a", null, 20).in("changes", "b", "2", 30).in("changes", null, "3", 40)
                .tables("latest", "KSTREAM-TOTABLE-STATE-STORE-0000000007"),
            new Case("aggregate_filtered", TableCases::aggregateFiltered)
                .in("words", "a", "x", 10).in("words", "a", "x", 11).in("words", "a", "x", 12).in("words", "b", "x", 13)
                .tables("KSTREAM-AGGREGATE-STATE-STORE-0000000001"));
    }

    private static Topology tables() {
        final StreamsBuilder builder = new StreamsBuilder();
        final KTable<String, String> plain = builder.table("plain", consumed());
        plain.filter((key, value) -> value.length() > 1).toStream().to("plain-long", produced());
        plain.mapValues(value -> value + "!").toStream().to("plain-loud", produced());
        final KTable<String, String> stored = builder.table("stored", consumed().withName("stored-table"), Materialized.as("stored-store"));
        stored.filter((key, value) -> value.length() > 1).toStream().to("stored-long", produced());
        stored.filterNot((key, value) -> value.length() > 1, Materialized.as("short")).toStream(Named.as("short-changes")).to("stored-short", produced());
        stored.mapValues(value -> (long) value.length(), Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("lengths").withValueSerde(LONG))
            .toStream().to("stored-lengths", Produced.with(TEXT, LONG));
        stored.mapValues((key, value) -> key + value, Named.as("with-key")).filter((key, value) -> value.length() > 2, Named.as("longer")).toStream().to("stored-both", produced());
        return builder.build();
    }

    private static Topology join() {
        final StreamsBuilder builder = new StreamsBuilder();
        final KTable<String, String> people = builder.table("people", consumed());
        final KStream<String, String> orders = builder.stream("orders", consumed());
        orders.join(people, (order, person) -> order + " by " + person).to("joined", produced());
        orders.leftJoin(people, (order, person) -> order + " by " + person, Joined.with(TEXT, TEXT, TEXT)).to("left-joined", produced());
        orders.join(people, (key, order, person) -> key + order + person, Joined.<String, String, String>as("third").withKeySerde(TEXT)).to("third-joined", produced());
        return builder.build();
    }

    private static Topology joinRepartitioned() {
        final StreamsBuilder builder = new StreamsBuilder();
        final KTable<String, String> people = builder.table("people", consumed(), Materialized.as("people-store"));
        final KStream<String, String> orders = builder.stream("orders", consumed()).map((id, name) -> KeyValue.pair(name, id));
        orders.join(people, (order, person) -> order + " by " + person, Joined.with(TEXT, TEXT, TEXT)).to("joined", produced());
        orders.leftJoin(people, (order, person) -> order + " by " + person, Joined.<String, String, String>as("lefts").withKeySerde(TEXT).withValueSerde(TEXT)).to("left-joined", produced());
        return builder.build();
    }

    private static Topology joinDerived() {
        final StreamsBuilder builder = new StreamsBuilder();
        final KTable<String, String> people = builder.table("people", consumed());
        final KTable<String, String> shout = people.filter((key, value) -> value.length() > 2).mapValues(value -> value + "!");
        final KTable<String, Long> lengths = people.mapValues(value -> (long) value.length(), Named.as("lengths-node"),
            Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("lengths").withKeySerde(TEXT).withValueSerde(LONG));
        final KStream<String, String> orders = builder.stream("orders", consumed());
        orders.leftJoin(shout, (order, person) -> order + " by " + person).to("shouted", produced());
        orders.join(lengths, (order, length) -> order + length).to("measured", produced());
        return builder.build();
    }

    private static Topology joinAggregate() {
        final StreamsBuilder builder = new StreamsBuilder();
        final KTable<String, Long> visits = builder.stream("visits", consumed()).groupByKey().count(Materialized.as("visit-counts"));
        builder.stream("orders", consumed()).leftJoin(visits, (order, count) -> order + ":" + count).to("out", produced());
        return builder.build();
    }

    private static Topology toTable() {
        final StreamsBuilder builder = new StreamsBuilder();
        final KStream<String, String> changes = builder.stream("changes", consumed());
        changes.toTable(Materialized.<String, String, KeyValueStore<Bytes, byte[]>>as("latest").withKeySerde(TEXT).withValueSerde(TEXT)).toStream().to("latest-out", produced());
        final KTable<String, String> rekeyed = changes.filter((key, value) -> value != null).selectKey((key, value) -> value).toTable(Materialized.with(TEXT, TEXT));
        rekeyed.toStream().to("rekeyed-out", produced());
        changes.filter((key, value) -> key != null && value != null).leftJoin(rekeyed, (change, other) -> change + other).to("joined-out", produced());
        return builder.build();
    }

    private static Topology aggregateFiltered() {
        final StreamsBuilder builder = new StreamsBuilder();
        builder.stream("words", consumed()).groupByKey(Grouped.with(TEXT, TEXT)).count().filter((key, count) -> count % 2 == 0).toStream().to("even", Produced.with(TEXT, LONG));
        return builder.build();
    }
}
