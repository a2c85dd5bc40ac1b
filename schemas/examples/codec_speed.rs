//! How long a customer takes through the codec, and through apache-avro: `cargo run --release -p schemas --example codec_speed`.

use apache_avro::{reader::datum::GenericDatumReader, writer::datum::GenericDatumWriter};
use schemas::{wire::HEADER, *};
use std::{hint::black_box, time::Instant};

fn customer() -> SourceCustomer {
    let address = Address { line1: "1 Main Street".into(), city: "Leeds".into(), postal_code: "LS1".into(), ..Default::default() };
    let fields = CustomerFields {
        name: Some("Ada Lovelace".into()),
        email: Some("ada@example.com".into()),
        phone: Some("+44 113 496 0000".into()),
        address: Some(address.clone()),
        attributes: [("plan".to_owned(), "pro".to_owned()), ("segment".to_owned(), "b2b".to_owned())].into(),
    };
    let change = Change { field: Field::Address, previous: Some(Previous { value: Value::Empty }), new: address.into() };
    let notice = Notice { event_id: "evt_1".into(), write_id: None, time: 1_700_000_000_000, changes: vec![change] };
    SourceCustomer { order: Some(7), look: 1_700_000_000_123, fields: Some(fields), notices: vec![notice], ..Default::default() }
}

fn nanoseconds(what: &str, mut once: impl FnMut()) -> f64 {
    const ROUNDS: u32 = 20_000;
    (0..ROUNDS / 10).for_each(|_| once());
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| once());
    let each = start.elapsed().as_nanos() as f64 / f64::from(ROUNDS);
    println!("{what:<28} {each:>8.0} ns");
    each
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let customer = customer();
    let codec = Registry::new().codec::<SourceCustomer>("customers.crm-value")?;
    let bytes = codec.encode(&customer)?;
    println!("{} bytes", bytes.len());
    let ours = nanoseconds("encode", || drop(black_box(codec.encode(&customer))))
        + nanoseconds("decode", || drop(black_box(codec.decode(&bytes))));

    let schema = Schema::parse(SourceCustomer::SCHEMA)?;
    let writer = GenericDatumWriter::builder(schema.avro()).build()?;
    let reader = GenericDatumReader::builder(schema.avro()).build()?;
    let value = reader.read_value(&mut &bytes[HEADER..])?;
    let theirs = nanoseconds("apache-avro value to bytes", || drop(black_box(writer.write_value_to_vec(value.clone()))))
        + nanoseconds("apache-avro bytes to value", || drop(black_box(reader.read_value(&mut &bytes[HEADER..]))));
    println!("{:.1} times faster", theirs / ours);
    Ok(())
}
