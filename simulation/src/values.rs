//! Values that people type, and how systems render them.
//!
//! A typed value starts with a number of its own, so that the oracle can say whose edit a value is, however it was cut off or
//! re-cased. E-mails come from a pool and may come back.

use schemas::{Address, Field, Value};

/// How a system shows a text that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rendering {
    Exact,
    Trimmed,
    LowerCased,
    UpperCased,
    /// Cut off after so many characters.
    CutOff(usize),
    /// Runs of white space made one space, and trimmed.
    Collapsed,
}

impl Rendering {
    fn text(self, text: &str) -> String {
        match self {
            Rendering::Exact => text.to_owned(),
            Rendering::Trimmed => text.trim().to_owned(),
            Rendering::LowerCased => text.to_lowercase(),
            Rendering::UpperCased => text.to_uppercase(),
            Rendering::CutOff(n) => text.chars().take(n).collect(),
            Rendering::Collapsed => text.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    /// What the system shows of a value.
    pub fn apply(self, value: &Value) -> Value {
        match value {
            Value::Empty => Value::Empty,
            Value::Text(text) => self.text(text).into(),
            Value::Address(address) => {
                let a = &**address;
                Address {
                    line1: self.text(&a.line1),
                    line2: self.text(&a.line2),
                    city: self.text(&a.city),
                    state: self.text(&a.state),
                    postal_code: self.text(&a.postal_code),
                    country: self.text(&a.country),
                }
                .into()
            }
        }
    }
}

/// Every field of the simulated world.
pub fn fields() -> [Field; 5] {
    [Field::Name, Field::Email, Field::Phone, Field::Address, Field::attribute("plan")]
}

/// A field by its place in [`fields`].
pub fn field(index: usize) -> Field {
    match index {
        0 => Field::Name,
        1 => Field::Email,
        2 => Field::Phone,
        3 => Field::Address,
        _ => Field::attribute("plan"),
    }
}

/// The place of a field in [`fields`].
pub fn index(field: &Field) -> usize {
    match field {
        Field::Name => 0,
        Field::Email => 1,
        Field::Phone => 2,
        Field::Address => 3,
        Field::Attribute(_) => 4,
    }
}

/// A value that nobody typed before. `spaced`: with blanks around and capitals inside, for systems that tidy up.
pub fn typed(field: &Field, number: u32, spaced: bool) -> Value {
    match field {
        Field::Name if spaced => format!(" {number}  Ann de Vries ").into(),
        Field::Name => format!("{number} Ann Vries").into(),
        Field::Email => format!("{number}@new.example").into(),
        Field::Phone => format!("+{number} 555").into(),
        Field::Address => {
            let line1 = if spaced { format!("{number} High  Street ") } else { format!("{number} High St") };
            Address { line1, city: "Utrecht".into(), country: "NL".into(), ..Address::default() }.into()
        }
        Field::Attribute(_) => format!("{number} Gold").into(),
    }
}

/// A person's e-mail: the pool. `cased`: typed in capitals.
pub fn email(person: usize, cased: bool) -> Value {
    if cased { format!("P{person}@Example.com").into() } else { format!("p{person}@example.com").into() }
}
