//! Values of any schema, to try it with: does what one version writes come through another?

use crate::{
    generic::{self, DatumError},
    schema::{Names, Schema, Shape},
};
use apache_avro::types::Value;

/// Below this depth arrays and maps are empty, and unions null where they can be.
const DEEP: usize = 5;

/// The datum of value number `n` of the schema: the same for the same number. Together the values go through branches, symbols and extremes.
pub fn datum(schema: &Schema, n: u64) -> Result<Vec<u8>, DatumError> {
    let names = Names::of(schema.plain());
    // An odd multiplier: neighbouring numbers begin far apart.
    let mut dice = Dice(n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let value = value(schema.plain(), &names, &mut dice, DEEP);
    generic::encode(&value, schema)
}

/// Xorshift: sequences that differ, of which nothing else is asked.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n.max(1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

fn value<'a>(schema: &'a apache_avro::Schema, names: &Names<'a>, dice: &mut Dice, depth: usize) -> Value {
    let down = depth.saturating_sub(1);
    let how_many = |dice: &mut Dice| if depth == 0 { 0 } else { dice.below(3) };
    match names.shape(schema) {
        Shape::Null => Value::Null,
        Shape::Boolean => Value::Boolean(dice.below(2) == 1),
        Shape::Int => Value::Int(dice.pick(&[0, 1, -1, 64, i32::MAX, i32::MIN])),
        Shape::Long => Value::Long(dice.pick(&[0, 1, -1, 64, 1 << 53, i64::MAX, i64::MIN])),
        Shape::Float => Value::Float(dice.pick(&[0.0, 0.1, -1.5, f32::MAX, f32::INFINITY])),
        Shape::Double => Value::Double(dice.pick(&[0.0, 0.1, -1.5, f64::MAX, f64::NEG_INFINITY])),
        Shape::String => Value::String(dice.pick(&["", "Ada", "Zoë 🦀"]).to_owned()),
        // Text: other bytes are no string, where a schema makes one of them.
        Shape::Bytes => Value::Bytes(dice.pick(&["", "Ada", "Zoë 🦀"]).into()),
        Shape::Fixed(_, size) => Value::Fixed(size, vec![b'k'; size]),
        Shape::Enum(of) => {
            let at = dice.below(of.symbols.len());
            Value::Enum(at as u32, of.symbols.get(at).cloned().unwrap_or_default())
        }
        Shape::Array(of) => Value::Array((0..how_many(dice)).map(|_| value(of, names, dice, down)).collect()),
        Shape::Map(of) => Value::Map((0..how_many(dice)).map(|n| (format!("k{n}"), value(of, names, dice, down))).collect()),
        Shape::Union(branches) => {
            let null = branches.iter().position(|branch| matches!(names.shape(branch), Shape::Null)).filter(|_| depth == 0);
            let at = null.unwrap_or_else(|| dice.below(branches.len()));
            let inner = branches.get(at).map_or(Value::Null, |branch| value(branch, names, dice, down));
            Value::Union(at as u32, Box::new(inner))
        }
        Shape::Record(of) => {
            Value::Record(of.fields.iter().map(|field| (field.name.clone(), value(&field.schema, names, dice, down))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn values_go_through_branches_and_symbols_and_come_back_the_same() {
        let text = r#"{"type":"record","name":"R","fields":[{"name":"next","type":["null","R","string"]},
            {"name":"kind","type":{"type":"enum","name":"E","symbols":["a","b","c"]}},{"name":"parts","type":{"type":"array","items":"R"}}]}"#;
        let schema = Schema::parse(text).unwrap();
        let mut seen = BTreeSet::new();
        for n in 0..100 {
            let bytes = datum(&schema, n).unwrap();
            assert_eq!(bytes, datum(&schema, n).unwrap());
            let json = generic::to_json(&generic::decode(&bytes, &schema).unwrap(), &schema);
            seen.insert(json["kind"].to_string());
            seen.insert(
                match &json["next"] {
                    serde_json::Value::Null => "null",
                    serde_json::Value::String(_) => "string",
                    _ => "record",
                }
                .to_owned(),
            );
        }
        assert_eq!(seen.len(), 6, "{seen:?}");
    }
}
