//! Programs that nobody here wrote read what we write, and write what we read: Java's consumer, producer and Avro, Kafka's console tools,
//! and kcat.

mod kafka_support;
#[allow(dead_code)]
#[path = "../../schemas/tests/strategies/mod.rs"]
mod strategies;

mod on_kafka {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::TestRunner;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use schemas::{Registry, UnifiedCustomer, value_subject};
    use streams::kafka::KafkaStreams;
    use streams::partition_for_key;

    use super::kafka_support::*;
    use super::strategies;

    const WITHIN: Duration = Duration::from_secs(60);
    const PARTITIONS: i32 = 7;

    fn java(class: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("java");
        let flags = ["-Xmx128m", "-XX:+UseSerialGC", "-Dorg.apache.logging.log4j.level=ERROR", "-Dfile.encoding=UTF-8"];
        command.args(flags).args(["-cp", &classpath(), class]).args(arguments);
        command
    }

    /// What a program prints, given this on standard input.
    fn output(mut program: Command, input: &str) -> String {
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn keys() -> Vec<String> {
        let key = |n: usize| match n % 5 {
            0 => format!("k{n}"),
            1 => format!("ключ-{n}"),
            2 => format!("客户-{n}"),
            3 => format!("Zoë-🦀-{n}"),
            _ => uuid::Uuid::from_u128(n as u128).to_string(),
        };
        (0..250).map(key).collect()
    }

    /// Writes values to the partitions that the driver chooses.
    fn write(topic: &str, records: &[(String, Vec<u8>)]) {
        let producer: BaseProducer = client().set("enable.idempotence", "true").create().unwrap();
        for (key, value) in records {
            let record = BaseRecord::to(topic).key(key).payload(value).partition(partition_for_key(key.as_bytes(), PARTITIONS));
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(WITHIN).unwrap();
    }

    #[test]
    fn java_reads_and_writes_unified_customers_on_the_same_partitions() {
        let (ours, javas) = (unique("unified"), unique("mirrored"));
        create_topics(&[(&ours, PARTITIONS), (&javas, PARTITIONS)]);
        let registry = Registry::new();
        let subject = value_subject("customers.unified");
        let codec = registry.codec::<UnifiedCustomer>(&subject).unwrap();
        let mut runner = TestRunner::deterministic();
        let any = strategies::unified();
        let customers: BTreeMap<String, UnifiedCustomer> =
            keys().into_iter().map(|key| (key, any.new_tree(&mut runner).unwrap().current())).collect();
        let records: Vec<(String, Vec<u8>)> =
            customers.iter().map(|(key, customer)| (key.clone(), codec.encode(customer).unwrap())).collect();
        write(&ours, &records);

        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (program, schema) = (root.join("tests/kafka/Mirror.java"), root.join("schemas/UnifiedCustomer.avsc"));
        let count = records.len().to_string();
        let arguments = [bootstrap(), &ours, &count, &javas, schema.to_str().unwrap()];
        let printed = output(java(program.to_str().unwrap(), &arguments), "");

        // Each JSON that Java prints is one of the customers.
        let mut read: Vec<UnifiedCustomer> = Vec::new();
        for line in printed.lines() {
            let json = serde_json::from_str(line).unwrap();
            read.push(codec.decode(&registry.encode_json(&subject, &json).unwrap_or_else(|error| panic!("{error}: {line}"))).unwrap());
        }
        let sorted = |mut list: Vec<UnifiedCustomer>| {
            list.sort_by_key(|customer| format!("{customer:?}"));
            list
        };
        assert_eq!(sorted(read), sorted(customers.values().cloned().collect()));

        let mirrored = read_all(&javas);
        assert_eq!(mirrored.len(), customers.len());
        for record in &mirrored {
            assert_eq!(codec.decode(&record.value).unwrap(), customers[&record.key], "as Java writes it");
            assert_eq!(record.partition, partition_for_key(record.key.as_bytes(), PARTITIONS), "{}", record.key);
        }
        println!("{} customers to Java and back; keys on the same partitions", mirrored.len());
    }

    #[test]
    fn console_tools_and_kcat_write_lines_and_read_counts() {
        let (prefix, folder) = (unique("console"), tempfile::tempdir().unwrap());
        let (lines, counts) = (format!("{prefix}-lines"), format!("{prefix}-counts"));
        create_topics(&[(&lines, 2), (&format!("{prefix}-words"), 2), (&counts, 1)]);
        let mut kcat = Command::new("kcat");
        kcat.args(["-P", "-b", bootstrap(), "-t", &lines, "-K", ":"]);
        output(kcat, "1:a ключ\n");
        let producer = java(
            "org.apache.kafka.tools.ConsoleProducer",
            &[
                "--bootstrap-server",
                bootstrap(),
                "--topic",
                &lines,
                "--reader-property",
                "parse.key=true",
                "--reader-property",
                "key.separator=:",
            ],
        );
        output(producer, "2:ключ\n");

        let streams = KafkaStreams::start(&word_count(&prefix), config(&prefix, folder.path())).unwrap();
        await_counted(&prefix, 3);
        assert!(streams.close(WITHIN), "it does not end");

        let consumer = java(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &[
                "--bootstrap-server",
                bootstrap(),
                "--topic",
                &counts,
                "--from-beginning",
                "--max-messages",
                "3",
                "--isolation-level",
                "read_committed",
                "--formatter-property",
                "print.key=true",
                "--formatter-property",
                "value.deserializer=org.apache.kafka.common.serialization.LongDeserializer",
            ],
        );
        let sorted = |text: String| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(output(consumer, "")), ["a\t1", "ключ\t1", "ключ\t2"]);
        let mut kcat = Command::new("kcat");
        kcat.args(["-C", "-e", "-q", "-b", bootstrap(), "-t", &counts, "-o", "beginning", "-s", "value=>q", "-f", "%k\t%s\n"]);
        assert_eq!(sorted(output(kcat, "")), ["a\t1", "ключ\t1", "ключ\t2"]);
    }
}
