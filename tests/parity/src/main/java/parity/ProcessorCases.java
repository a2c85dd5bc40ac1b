package parity;

import static parity.StreamCases.consumed;
import static parity.StreamCases.LONG;
import static parity.StreamCases.produced;
import static parity.StreamCases.TEXT;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.LogAndContinueExceptionHandler;
import org.apache.kafka.streams.errors.LogAndContinueProcessingExceptionHandler;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.processor.Cancellable;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** Processors of the user's own: stores, punctuators, children by name, headers, errors. */
final class ProcessorCases {
    static final Serializer<String> SER = TEXT.serializer();
    static final Deserializer<String> DE = TEXT.deserializer();

    private ProcessorCases() {}

    static StoreBuilder<KeyValueStore<String, Long>> counts(final String name) {
        return Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), TEXT, LONG);
    }

    static List<Case> all() {
        return List.of(
            new Case("processor_api", ProcessorCases::processorApi)
                .in("in", "a", "x", 100, "h", "v").in("in", "b", "y", 90).in("in", "a", "z", 1150).in("in", "c", "-a", 1160)
                .in("in", "d", "jump", 5500).in("in", "e", "w", 5501).stores("counts"),
            new Case("wall_clock", ProcessorCases::wallClock)
                .in("in", "a", "x", 7).advance(999).advance(1).in("in", "b", "y", 3).advance(3500).advance(400).advance(100).advance(1000).stores("counts"),
            new Case("dsl_processors", ProcessorCases::dslProcessors)
                .in("left", "a", "1", 1).in("right", "a", "2", 2).in("left", "b", "3", 3, "h", "v").in("right", "a", "4", 4).stores("shared"),
            new Case("errors", ProcessorCases::errors)
                .in("in", "a", "fine", 1, "h", "v").in("in", "b", "fail", 2, "h", "v").in("in", "c", "poison", 3).in("in", "d", "fine", 4)
                .property(StreamsConfig.DESERIALIZATION_EXCEPTION_HANDLER_CLASS_CONFIG, LogAndContinueExceptionHandler.class)
                .property(StreamsConfig.PROCESSING_EXCEPTION_HANDLER_CLASS_CONFIG, LogAndContinueProcessingExceptionHandler.class)
                .property(StreamsConfig.ERRORS_DEAD_LETTER_QUEUE_TOPIC_NAME_CONFIG, "dead"));
    }

    /** Counts by key; tells the counts whenever a second of stream time is over; "-k" deletes k. */
    private static final class Counting implements Processor<String, String, String, String> {
        private ProcessorContext<String, String> context;
        private KeyValueStore<String, Long> counts;

        @Override
        public void init(final ProcessorContext<String, String> context) {
            this.context = context;
            counts = context.getStateStore("counts");
            context.schedule(Duration.ofSeconds(1), PunctuationType.STREAM_TIME, time -> {
                try (KeyValueIterator<String, Long> all = counts.all()) {
                    while (all.hasNext()) {
                        final KeyValue<String, Long> entry = all.next();
                        context.forward(new Record<>(entry.key, entry.value + " at " + time, time), "ticks");
                    }
                }
            });
        }

        @Override
        public void process(final Record<String, String> record) {
            if (record.value().startsWith("-")) {
                counts.delete(record.value().substring(1));
                return;
            }
            final Long count = counts.get(record.key());
            counts.put(record.key(), count == null ? 1 : count + 1);
            record.headers().add("seen", "yes".getBytes(StandardCharsets.UTF_8));
            final var where = context.recordMetadata().get();
            context.forward(record.withValue(record.value() + " " + context.currentStreamTimeMs() + " " + context.taskId()
                + " " + where.topic() + " " + where.partition() + " " + where.offset()), "echo");
        }
    }

    private static Topology processorApi() {
        return new Topology()
            .addSource("source", DE, DE, "in")
            .addProcessor("counting", Counting::new, "source")
            .addStateStore(counts("counts"), "counting")
            .addSink("echo", "echoes", SER, SER, "counting")
            .addSink("ticks", "tick-out", SER, SER, "counting");
    }

    /** Tells its counts every second of wall-clock time, three times; another schedule runs every two seconds. */
    private static final class Ticking implements Processor<String, String, String, String> {
        private KeyValueStore<String, Long> counts;
        private Cancellable seconds;
        private int left = 3;

        @Override
        public void init(final ProcessorContext<String, String> context) {
            counts = context.getStateStore("counts");
            seconds = context.schedule(Duration.ofSeconds(1), PunctuationType.WALL_CLOCK_TIME, time -> {
                context.forward(new Record<>("second", time + " " + context.currentSystemTimeMs() + " " + context.currentStreamTimeMs(), time));
                counts.put("seconds", time);
                if (--left == 0) {
                    seconds.cancel();
                }
            });
            context.schedule(Duration.ofSeconds(2), PunctuationType.WALL_CLOCK_TIME, time -> context.forward(new Record<>("two", "" + time, time)));
        }

        @Override
        public void process(final Record<String, String> record) {
            counts.put(record.key(), record.timestamp());
        }
    }

    private static Topology wallClock() {
        return new Topology()
            .addSource("source", DE, DE, "in")
            .addStateStore(counts("counts"))
            .addProcessor("ticking", Ticking::new, "source")
            .connectProcessorAndStateStores("ticking", "counts")
            .addSink("sink", "out", SER, SER, "ticking");
    }

    /** Appends the store's count for its key. */
    private static final class Numbering implements Processor<String, String, String, String> {
        private final String store;
        private ProcessorContext<String, String> context;
        private KeyValueStore<String, Long> counts;

        Numbering(final String store) {
            this.store = store;
        }

        @Override
        public void init(final ProcessorContext<String, String> context) {
            this.context = context;
            counts = context.getStateStore(store);
        }

        @Override
        public void process(final Record<String, String> record) {
            final Long before = counts.putIfAbsent(record.key(), 0L);
            final long count = before == null ? 0 : before + 1;
            counts.put(record.key(), count);
            context.forward(record.withValue(record.value() + "#" + count));
        }
    }

    private static Topology dslProcessors() {
        final StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(counts("shared"));
        builder.addStateStore(counts("own"));
        final KStream<String, String> left = builder.stream("left", consumed());
        final KStream<String, String> right = builder.stream("right", consumed());
        left.process(() -> new Numbering("shared"), "shared").to("left-out", produced());
        right.process(() -> new Numbering("shared"), Named.as("numbering"), "shared", "own").to("right-out", produced());
        return builder.build();
    }

    private static Topology errors() {
        final Deserializer<String> picky = (topic, bytes) -> {
            final String text = DE.deserialize(topic, bytes);
            if (text.equals("poison")) {
                throw new IllegalArgumentException("poison");
            }
            return text;
        };
        return new Topology()
            .addSource("source", DE, picky, "in")
            .addProcessor("failing", () -> new Processor<String, String, String, String>() {
                private ProcessorContext<String, String> context;

                @Override
                public void init(final ProcessorContext<String, String> context) {
                    this.context = context;
                }

                @Override
                public void process(final Record<String, String> record) {
                    if (record.value().equals("fail")) {
                        throw new IllegalStateException("failed");
                    }
                    context.forward(record);
                }
            }, "source")
            .addSink("sink", "out", SER, SER, "failing");
    }
}
