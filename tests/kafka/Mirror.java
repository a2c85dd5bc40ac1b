import java.io.ByteArrayOutputStream;
import java.io.File;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.avro.io.JsonEncoder;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Reads so many Avro records of a topic, prints each as Avro's JSON, and writes it, encoded anew, to another topic, wherever Java's
 * partitioner puts its key: {@code Mirror BOOTSTRAP FROM COUNT TO SCHEMA_FILE}.
 */
public final class Mirror {
    private static final int HEADER = 5;

    public static void main(String[] arguments) throws Exception {
        int count = Integer.parseInt(arguments[2]);
        Schema schema = new Schema.Parser().parse(new File(arguments[4]));
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("isolation.level", "read_committed");
        try (KafkaConsumer<String, byte[]> consumer =
                        new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer());
                KafkaProducer<String, byte[]> producer =
                        new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(arguments[1]).stream()
                    .map(partition -> new TopicPartition(partition.topic(), partition.partition()))
                    .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            List<Future<RecordMetadata>> written = new ArrayList<>();
            while (written.size() < count) {
                for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    GenericRecord value = decode(record.value(), schema);
                    System.out.println(json(value, schema));
                    byte[] bytes = encode(value, schema, ByteBuffer.wrap(record.value()).getInt(1));
                    written.add(producer.send(new ProducerRecord<>(arguments[3], record.key(), bytes)));
                }
            }
            for (Future<RecordMetadata> record : written) {
                record.get();
            }
        }
    }

    private static GenericRecord decode(byte[] bytes, Schema schema) throws Exception {
        if (bytes[0] != 0) {
            throw new IllegalArgumentException("not in the wire format of a schema registry");
        }
        var decoder = DecoderFactory.get().binaryDecoder(bytes, HEADER, bytes.length - HEADER, null);
        GenericRecord value = new GenericDatumReader<GenericRecord>(schema).read(null, decoder);
        if (!decoder.isEnd()) {
            throw new IllegalArgumentException("bytes follow the datum");
        }
        return value;
    }

    private static String json(GenericRecord value, Schema schema) throws Exception {
        ByteArrayOutputStream text = new ByteArrayOutputStream();
        JsonEncoder encoder = EncoderFactory.get().jsonEncoder(schema, text);
        new GenericDatumWriter<GenericRecord>(schema).write(value, encoder);
        encoder.flush();
        return text.toString("UTF-8");
    }

    private static byte[] encode(GenericRecord value, Schema schema, int id) throws Exception {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        bytes.write(ByteBuffer.allocate(HEADER).put((byte) 0).putInt(id).array());
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(bytes, null);
        new GenericDatumWriter<GenericRecord>(schema).write(value, encoder);
        encoder.flush();
        return bytes.toByteArray();
    }
}
