package bench;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serializer;

/** Confluent's wire format: five bytes, then the datum. Each thread keeps its reader, writer and their buffers; texts stay UTF-8. */
final class Avro implements Serde<GenericRecord> {
    static final Schema SCHEMA = schema();
    private static final int HEADER = 5;

    private static final class Coder {
        final GenericDatumReader<GenericRecord> reader = new GenericDatumReader<>(SCHEMA, SCHEMA, new GenericData().setFastReaderEnabled(true));
        final GenericDatumWriter<GenericRecord> writer = new GenericDatumWriter<>(SCHEMA);
        final ByteArrayOutputStream out = new ByteArrayOutputStream(512);
        BinaryEncoder encoder;
        BinaryDecoder decoder;
    }

    private final ThreadLocal<Coder> coders = ThreadLocal.withInitial(Coder::new);
    /** Of the values that were read: the outputs are of the same schema. */
    private volatile byte[] header = new byte[HEADER];

    private static Schema schema() {
        try (InputStream in = Avro.class.getResourceAsStream("/SourceCustomer.avsc")) {
            return new Schema.Parser().parse(in);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @Override
    public Serializer<GenericRecord> serializer() {
        return (topic, record) -> {
            if (record == null) return null;
            Coder coder = coders.get();
            coder.out.reset();
            coder.out.write(header, 0, HEADER);
            try {
                coder.encoder = EncoderFactory.get().directBinaryEncoder(coder.out, coder.encoder);
                coder.writer.write(record, coder.encoder);
                coder.encoder.flush();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
            return coder.out.toByteArray();
        };
    }

    @Override
    public Deserializer<GenericRecord> deserializer() {
        return (topic, bytes) -> {
            if (bytes == null) return null;
            if (bytes[4] != header[4]) header = java.util.Arrays.copyOf(bytes, HEADER);
            Coder coder = coders.get();
            try {
                coder.decoder = DecoderFactory.get().binaryDecoder(bytes, HEADER, bytes.length - HEADER, coder.decoder);
                return coder.reader.read(null, coder.decoder);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        };
    }
}
