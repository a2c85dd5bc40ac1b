package org.apache.kafka.streams;

import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.streams.processor.internals.InternalTopologyBuilder;
import org.apache.kafka.streams.processor.internals.TopologyMetadata;

/** What only Kafka Streams' own package can see: the topics of each sub-topology. */
public final class Insides {
    private Insides() {}

    public static List<Map<String, Object>> topics(final Topology topology, final StreamsConfig config) {
        final InternalTopologyBuilder builder = topology.internalTopologyBuilder;
        builder.rewriteTopology(config);
        builder.buildTopology();
        final Map<Integer, Map<String, Object>> byId = new TreeMap<>();
        builder.subtopologyToTopicsInfo().forEach((subtopology, info) -> {
            final Map<String, Object> row = new LinkedHashMap<>();
            final int id = number(subtopology);
            row.put("id", id);
            row.put("sources", new TreeSet<>(info.sourceTopics));
            row.put("sinks", new TreeSet<>(info.sinkTopics));
            row.put("repartition", new TreeSet<>(info.repartitionSourceTopics.keySet()));
            row.put("changelogs", new TreeSet<>(info.stateChangelogTopics.keySet()));
            byId.put(id, row);
        });
        return new ArrayList<>(byId.values());
    }

    private static int number(final TopologyMetadata.Subtopology subtopology) {
        try {
            final Field field = TopologyMetadata.Subtopology.class.getDeclaredField("nodeGroupId");
            field.setAccessible(true);
            return field.getInt(subtopology);
        } catch (final ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }
}
