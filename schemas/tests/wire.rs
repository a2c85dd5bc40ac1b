//! Bytes that are no value of ours are told apart, each with its own error.

use schemas::{wire::WireError, *};

#[test]
fn each_kind_of_broken_bytes_has_its_error() {
    let registry = Registry::new();
    let codec = registry.codec::<SourceCustomer>("customers.crm-value").unwrap();
    let good = codec.encode(&SourceCustomer::default()).unwrap();
    assert_eq!(good[..5], [0, 0, 0, 0, 1]);
    let long = [&good[..], b"xyz"].concat();
    let table: Vec<(&str, Vec<u8>, CodecError)> = vec![
        ("empty", vec![], CodecError::Wire(WireError::Truncated { length: 0 })),
        ("a header cut short", good[..4].to_vec(), CodecError::Wire(WireError::Truncated { length: 4 })),
        ("plain JSON", b"{\"fields\":{}}".to_vec(), CodecError::Wire(WireError::Magic { found: b'{' })),
        ("one wrong byte", vec![1], CodecError::Wire(WireError::Magic { found: 1 })),
        ("an id that nobody has", [&[0, 0, 0, 1, 0], &good[5..]].concat(), CodecError::UnknownSchema(256)),
        ("trailing bytes", long.clone(), CodecError::Trailing { id: 1, bytes: 3 }),
    ];
    for (what, bytes, error) in table {
        assert_eq!(codec.decode(&bytes).unwrap_err(), error, "{what}");
        assert_eq!(registry.decode_json(&bytes).unwrap_err(), error, "{what}, without a type");
    }
    for cut in 5..good.len() {
        assert!(matches!(codec.decode(&good[..cut]), Err(CodecError::Datum { id: 1, .. })), "cut at {cut}");
        assert!(matches!(registry.decode_json(&good[..cut]), Err(CodecError::Datum { id: 1, .. })), "cut at {cut}, without a type");
    }
}

#[test]
fn random_bytes_never_panic() {
    let registry = Registry::new();
    let codec = registry.codec::<UnifyMessage>("customers.unify-value").unwrap();
    let mut seed = 7u64;
    for length in 0..400 {
        let mut bytes = vec![0, 0, 0, 0, 1];
        bytes.extend((0..length).map(|_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8 & if length % 2 == 0 { 0x0f } else { 0xff }
        }));
        let _ = codec.decode(&bytes);
        let _ = registry.decode_json(&bytes);
    }
}
