package parity;

import static parity.ProcessorCases.DE;
import static parity.ProcessorCases.SER;
import static parity.ProcessorCases.counts;

import java.util.List;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

/** Topologies for their shape: the customer topology's, and ones that try the order of the description. */
final class ShapeCases {
    private ShapeCases() {}

    static List<Case> all() {
        return List.of(
            new Case("customers", ShapeCases::customers)
                .in("customers.stripe", "cus_1", "identify unify links-stripe requests-stripe read", 1)
                .in("customers.product", "7", "unify identify unify unified golden", 2, "h", "v")
                .in("customers.identify", "x@example.com", "unify unify unify conflicts c9", 3)
                .in("links.salesforce", "003", "requests-salesforce write", 4),
            new Case("fan_out", ShapeCases::fanOut).in("t1", "a", "deep left out", 1).in("t12", "b", "mid out", 2),
            new Case("many_stores", ShapeCases::manyStores));
    }

    /** Sends each record to the child that its value starts with, with the rest as value. */
    private static final class Route implements Processor<String, String, String, String> {
        private ProcessorContext<String, String> context;
        private final String prefix;

        Route(final String prefix) {
            this.prefix = prefix;
        }

        @Override
        public void init(final ProcessorContext<String, String> context) {
            this.context = context;
        }

        @Override
        public void process(final Record<String, String> record) {
            final String[] words = record.value().split(" ", 2);
            context.forward(record.withValue(words.length > 1 ? words[1] : ""), prefix + words[0]);
        }
    }

    private static Topology customers() {
        final Topology topology = new Topology();
        for (final String system : List.of("product", "stripe", "salesforce")) {
            final String resolve = "resolve-" + system;
            topology
                .addSource("customers-" + system, DE, DE, "customers." + system)
                .addSource("links-" + system, DE, DE, "links." + system)
                .addProcessor(resolve, () -> new Route(resolve + "-"), "customers-" + system, "links-" + system)
                .addStateStore(counts("links-" + system + "-store"), resolve)
                .addSink(resolve + "-identify", "customers.identify", SER, SER, resolve)
                .addSink(resolve + "-unify", "customers.unify", SER, SER, resolve)
                .addSink(resolve + "-requests-" + system, "requests." + system, SER, SER, resolve);
        }
        topology
            .addSource("customers-identify", DE, DE, "customers.identify")
            .addProcessor("identify", () -> new Route("identify-"), "customers-identify")
            .addStateStore(counts("emails"), "identify")
            .addSink("identify-unify", "customers.unify", SER, SER, "identify")
            .addSource("customers-unify", DE, DE, "customers.unify")
            .addProcessor("unify", () -> new Route("unify-"), "customers-unify")
            .addStateStore(counts("customers"), "unify")
            .addStateStore(counts("due"), "unify")
            .addStateStore(counts("walks"), "unify")
            .addSink("unify-unify", "customers.unify", SER, SER, "unify")
            .addSink("unify-identify", "customers.identify", SER, SER, "unify")
            .addSink("unify-unified", "customers.unified", SER, SER, "unify")
            .addSink("unify-conflicts", "customers.conflicts", SER, SER, "unify");
        for (final String system : List.of("product", "stripe", "salesforce")) {
            topology
                .addSink("unify-links-" + system, "links." + system, SER, SER, "unify")
                .addSink("unify-requests-" + system, "requests." + system, SER, SER, "unify");
        }
        return topology;
    }

    private static Topology fanOut() {
        final Topology topology = new Topology()
            .addSource("many", DE, DE, "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9", "t10", "t11", "t12", "t13", "t14")
            .addSource("other", DE, DE, "other")
            .addProcessor("root", () -> new Route(""), "many", "other")
            .addProcessor("zeta", () -> new Route(""), "root")
            .addProcessor("alpha", () -> new Route(""), "root")
            .addProcessor("mid", () -> new Route("mid-"), "root")
            .addProcessor("deep", () -> new Route(""), "root")
            .addProcessor("left", () -> new Route("left-"), "deep")
            .addProcessor("right", () -> new Route(""), "deep", "mid")
            .addProcessor("join", () -> new Route(""), "right", "zeta", "alpha")
            .addSink("left-out", "left", SER, SER, "left")
            .addSink("mid-out", "mid", SER, SER, "mid")
            .addSink("all-out", "all", SER, SER, "join", "left", "alpha");
        for (int i = 0; i < 9; i++) {
            topology.addProcessor("leaf-" + i, () -> new Route(""), "mid").addSink("leaf-out-" + i, "leaves", SER, SER, "leaf-" + i, "root");
        }
        return topology;
    }

    private static Topology manyStores() {
        final Topology topology = new Topology().addSource("source", DE, DE, "in");
        for (int p = 0; p < 3; p++) {
            topology.addProcessor("p" + p, () -> new Route(""), "source");
        }
        topology.addSource("apart", DE, DE, "apart").addProcessor("same-group", () -> new Route(""), "apart");
        for (int s = 0; s < 30; s++) {
            topology.addStateStore(counts("store-" + s * s), s % 2 == 0 ? "p0" : "p1", "p2");
        }
        topology.connectProcessorAndStateStores("same-group", "store-1", "store-0", "store-4");
        topology.addProcessor("sink-less", () -> new Route(""), "p0", "p1", "p2", "same-group");
        return topology;
    }
}
