package bench;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** The one-stage merge on Kafka Streams: says "starting" and "running", and ends with its standard input. */
public final class Main {
    private static final String STORE = "merged";
    private static final int LOOK = Avro.SCHEMA.getField("look").pos();
    private static final int FIELDS = Avro.SCHEMA.getField("fields").pos();

    /** The last writer of each field wins; unchanged is dropped. */
    private static final class Merge extends ContextualProcessor<String, GenericRecord, String, GenericRecord> {
        private KeyValueStore<String, GenericRecord> store;

        @Override
        public void init(ProcessorContext<String, GenericRecord> context) {
            super.init(context);
            store = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<String, GenericRecord> record) {
            GenericRecord edit = record.value();
            GenericRecord fields = (GenericRecord) edit.get(FIELDS);
            if (fields == null) return;
            GenericRecord merged = store.get(record.key());
            if (merged == null) {
                store.put(record.key(), edit);
                context().forward(record);
                return;
            }
            long look = (Long) edit.get(LOOK);
            boolean newer = look >= (Long) merged.get(LOOK);
            if (!merge((GenericRecord) merged.get(FIELDS), fields, newer)) return;
            if (newer) merged.put(LOOK, look);
            store.put(record.key(), merged);
            context().forward(record.withValue(merged));
        }

        private static boolean merge(GenericRecord have, GenericRecord edit, boolean newer) {
            boolean changed = false;
            // Name, e-mail, phone, address; then the attributes.
            for (int field = 0; field < 4; field++) {
                Object value = edit.get(field);
                if (value != null && (newer || have.get(field) == null) && !value.equals(have.get(field))) {
                    have.put(field, value);
                    changed = true;
                }
            }
            Map<?, ?> attributes = (Map<?, ?>) edit.get(4);
            if (!attributes.isEmpty()) {
                Map<Object, Object> all = new HashMap<>((Map<?, ?>) have.get(4));
                for (Map.Entry<?, ?> entry : attributes.entrySet()) {
                    if (newer || !all.containsKey(entry.getKey())) changed |= !entry.getValue().equals(all.put(entry.getKey(), entry.getValue()));
                }
                have.put(4, all);
            }
            return changed;
        }
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> options = new HashMap<>();
        List<String> inputs = new ArrayList<>();
        for (int i = 0; i < args.length; i += 2) {
            if (args[i].equals("--input")) inputs.add(args[i + 1]);
            else options.put(args[i], args[i + 1]);
        }
        boolean tuned = options.get("--role").equals("tuned");
        Avro avro = new Avro();
        StoreBuilder<KeyValueStore<String, GenericRecord>> store =
            Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), Serdes.String(), avro);
        Topology topology = new Topology();
        topology.addSource("inputs", Serdes.String().deserializer(), avro.deserializer(), inputs.toArray(String[]::new));
        topology.addProcessor("merge", Merge::new, "inputs");
        topology.addStateStore(tuned ? store.withCachingDisabled() : store.withCachingEnabled(), "merge");
        topology.addSink("unified", options.get("--name"), Serdes.String().serializer(), avro.serializer(), "merge");

        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("--name"));
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("--servers"));
        config.put(StreamsConfig.STATE_DIR_CONFIG, options.get("--state"));
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, options.get("--threads"));
        // Without it, its default.
        if (options.containsKey("--commit")) config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, options.get("--commit"));
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        config.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        if (tuned) {
            config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
            config.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        }
        System.out.println("starting");
        try (KafkaStreams streams = new KafkaStreams(topology, config)) {
            streams.setStateListener((now, before) -> {
                if (now == KafkaStreams.State.RUNNING) System.out.println("running");
            });
            // Restoring is measured from here on: before, the group waits for members that are gone.
            AtomicBoolean restores = new AtomicBoolean();
            streams.setGlobalStateRestoreListener(new StateRestoreListener() {
                @Override
                public void onRestoreStart(TopicPartition partition, String store, long start, long end) {
                    if (restores.compareAndSet(false, true)) System.out.println("starting");
                }

                @Override
                public void onBatchRestored(TopicPartition partition, String store, long end, long count) {}

                @Override
                public void onRestoreEnd(TopicPartition partition, String store, long count) {}
            });
            streams.start();
            while (System.in.read() >= 0) {}
            streams.close(Duration.ofSeconds(20));
        }
    }
}
