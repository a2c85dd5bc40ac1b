//! What the check calls compatible is read, for any schema and whatever somebody made of it; and is read as bytes.

#[path = "strategies/evolution.rs"]
mod evolution;

use evolution::{Entropy, any_type, changed, schema};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use schemas::{Schema, compatibility::unreadable, generic, resolve::resolve, samples};
use serde_json::json;
use std::cell::Cell;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..160)
}

#[test]
fn what_is_compatible_is_readable_whatever_was_written() {
    let (compatible, not, read) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(Config { cases: 6_000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(bytes(), bytes(), any::<u32>()), |(first, second, seed)| {
        let written = any_type(&mut Entropy::new(&first), 3);
        let wanted = changed(&written, &mut Entropy::new(&second));
        let (written, wanted) = (schema(&written), schema(&wanted));
        let writer = Schema::parse(&written.to_string()).map_err(|e| TestCaseError::fail(format!("{written}: {e}")))?;
        let reader = Schema::parse(&wanted.to_string()).map_err(|e| TestCaseError::fail(format!("{wanted}: {e}")))?;
        prop_assert_eq!(&unreadable(&writer, &writer), &[], "{} reads itself", written);
        if !unreadable(&writer, &reader).is_empty() {
            not.set(not.get() + 1);
            return Ok(());
        }
        compatible.set(compatible.get() + 1);
        for n in 0..8 {
            let datum = samples::datum(&writer, u64::from(seed) * 8 + n).unwrap();
            let value = generic::decode(&datum, &writer).unwrap();
            let resolved = resolve(value.clone(), &writer, &reader).map_err(|e| {
                TestCaseError::fail(format!("compatible, and not readable: {e}\nwriter {written}\nreader {wanted}\n{value:?}"))
            })?;
            // It is a value of the reader's schema: it goes through bytes.
            let datum = generic::encode(&resolved, &reader).map_err(|e| {
                TestCaseError::fail(format!("no value of the reader: {e}\nwriter {written}\nreader {wanted}\n{resolved:?}"))
            })?;
            prop_assert_eq!(&generic::decode(&datum, &reader).unwrap(), &resolved);
            read.set(read.get() + 1);
        }
        Ok(())
    });
    let (compatible, not, read) = (compatible.get(), not.get(), read.get());
    println!("{compatible} pairs compatible, {not} not; {read} values read");
    outcome.unwrap_or_else(|e| panic!("{e}"));
    assert!(compatible > 1_000 && not > 1_000, "the pairs are all of one kind: {compatible} compatible, {not} not");
}

/// Bytes may become a string, say the schemas; whether they are one only the datum says.
#[test]
fn bytes_that_are_no_text_are_refused_where_a_string_is_wanted() {
    let (writer, reader) = (Schema::parse(r#""bytes""#).unwrap(), Schema::parse(r#""string""#).unwrap());
    assert_eq!(unreadable(&writer, &reader), []);
    let error = resolve(apache_avro::types::Value::Bytes(vec![0xff]), &writer, &reader).unwrap_err();
    assert_eq!(error.to_string(), "a bytes cannot be read as string");
}

/// Random pairs for Java to judge: `COMPAT_PAIRS=20000 COMPAT_CASES=/tmp/c.json cargo test -p schemas --test random_evolution -- --ignored`,
/// then `tests/compat/recapture.sh /tmp/c.json /tmp/g.json`, then the tests of `java_compatibility.rs` with `COMPAT_CASES` and `COMPAT_GOLDEN`.
#[test]
#[ignore = "writes a file for a comparison by hand"]
fn write_random_pairs() {
    let count: usize = std::env::var("COMPAT_PAIRS").unwrap().parse().unwrap();
    let mut runner = TestRunner::default();
    let pairs = (0..count).map(|n| {
        let (first, second) = (bytes(), bytes()).new_tree(&mut runner).unwrap().current();
        let written = any_type(&mut Entropy::new(&first), 3);
        let wanted = changed(&written, &mut Entropy::new(&second));
        json!({"name": n.to_string(), "writer": schema(&written), "reader": schema(&wanted)})
    });
    let cases = json!({"pairs": pairs.collect::<Vec<_>>(), "histories": []});
    std::fs::write(std::env::var("COMPAT_CASES").unwrap(), cases.to_string()).unwrap();
}
