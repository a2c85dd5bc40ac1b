//! Serialisers and deserialisers.

use bytes::Bytes;

/// Turns values of a type into the bytes of a topic or a store, and back. `None` is Kafka's null.
///
/// ```
/// use streams::{LongSerde, Serde};
/// assert_eq!(LongSerde.serialize("topic", &258).unwrap().unwrap(), [0, 0, 0, 0, 0, 0, 1, 2]);
/// assert_eq!(LongSerde.nullable().deserialize("topic", None).unwrap(), None);
/// ```
pub trait Serde<T>: Send + Sync {
    /// The bytes of a value; `None` for null.
    fn serialize(&self, topic: &str, value: &T) -> Result<Option<Vec<u8>>, SerdeError>;

    /// The value of these bytes. A type that has no null refuses `None` with [`SerdeError::Null`].
    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<T, SerdeError>;

    /// Whether the value stands for null. Operators that Kafka Streams defines to skip null keys or values ask this.
    fn is_null(&self, _value: &T) -> bool {
        false
    }

    /// The same serde for `Option<T>`, in which null is `None`.
    fn nullable(self) -> Nullable<Self>
    where
        Self: Sized,
    {
        Nullable(self)
    }
}

/// Bytes that are no value of the type, or a value that has no bytes.
#[derive(Debug, thiserror::Error)]
pub enum SerdeError {
    /// Null where the type has none.
    #[error("null where a value is required")]
    Null,
    /// The wrong number of bytes for a type of fixed size.
    #[error("{actual} bytes where {expected} are required")]
    Length {
        /// How many bytes the type has.
        expected: usize,
        /// How many there were.
        actual: usize,
    },
    /// Text that is not UTF-8.
    #[error("not UTF-8: {0}")]
    Utf8(#[from] std::str::Utf8Error),
    /// What the serde of a user's own type says, with its error code.
    #[error("{message}")]
    Other {
        /// A stable error code, which a dead letter record carries.
        code: &'static str,
        /// What is wrong, without the data itself.
        message: String,
        /// The cause, if there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl SerdeError {
    /// An error of a user's own serde.
    pub fn other(code: &'static str, message: impl Into<String>) -> Self {
        Self::Other { code, message: message.into(), source: None }
    }

    /// An error of a user's own serde with its cause.
    pub fn caused(code: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Other { code, message: source.to_string(), source: Some(Box::new(source)) }
    }

    /// The stable error code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Null => "serde-null",
            Self::Length { .. } => "serde-length",
            Self::Utf8(_) => "serde-utf8",
            Self::Other { code, .. } => code,
        }
    }
}

/// UTF-8 text, as Kafka's `Serdes.String()`.
#[derive(Debug, Clone, Copy, Default)]
pub struct StringSerde;

impl Serde<String> for StringSerde {
    fn serialize(&self, _topic: &str, value: &String) -> Result<Option<Vec<u8>>, SerdeError> {
        Ok(Some(value.as_bytes().to_vec()))
    }

    fn deserialize(&self, _topic: &str, bytes: Option<&[u8]>) -> Result<String, SerdeError> {
        Ok(std::str::from_utf8(bytes.ok_or(SerdeError::Null)?)?.to_owned())
    }
}

/// Eight bytes, big-endian, as Kafka's `Serdes.Long()`.
#[derive(Debug, Clone, Copy, Default)]
pub struct LongSerde;

impl Serde<i64> for LongSerde {
    fn serialize(&self, _topic: &str, value: &i64) -> Result<Option<Vec<u8>>, SerdeError> {
        Ok(Some(value.to_be_bytes().to_vec()))
    }

    fn deserialize(&self, _topic: &str, bytes: Option<&[u8]>) -> Result<i64, SerdeError> {
        Ok(i64::from_be_bytes(fixed(bytes)?))
    }
}

/// Four bytes, big-endian, as Kafka's `Serdes.Integer()`.
#[derive(Debug, Clone, Copy, Default)]
pub struct IntegerSerde;

impl Serde<i32> for IntegerSerde {
    fn serialize(&self, _topic: &str, value: &i32) -> Result<Option<Vec<u8>>, SerdeError> {
        Ok(Some(value.to_be_bytes().to_vec()))
    }

    fn deserialize(&self, _topic: &str, bytes: Option<&[u8]>) -> Result<i32, SerdeError> {
        Ok(i32::from_be_bytes(fixed(bytes)?))
    }
}

/// Eight bytes, IEEE 754, big-endian, as Kafka's `Serdes.Double()`.
#[derive(Debug, Clone, Copy, Default)]
pub struct DoubleSerde;

impl Serde<f64> for DoubleSerde {
    fn serialize(&self, _topic: &str, value: &f64) -> Result<Option<Vec<u8>>, SerdeError> {
        Ok(Some(value.to_be_bytes().to_vec()))
    }

    fn deserialize(&self, _topic: &str, bytes: Option<&[u8]>) -> Result<f64, SerdeError> {
        Ok(f64::from_be_bytes(fixed(bytes)?))
    }
}

fn fixed<const N: usize>(bytes: Option<&[u8]>) -> Result<[u8; N], SerdeError> {
    let bytes = bytes.ok_or(SerdeError::Null)?;
    bytes.try_into().map_err(|_| SerdeError::Length { expected: N, actual: bytes.len() })
}

/// The bytes themselves, as Kafka's `Serdes.ByteArray()`: for `Vec<u8>` and [`Bytes`].
#[derive(Debug, Clone, Copy, Default)]
pub struct BytesSerde;

impl Serde<Vec<u8>> for BytesSerde {
    fn serialize(&self, _topic: &str, value: &Vec<u8>) -> Result<Option<Vec<u8>>, SerdeError> {
        Ok(Some(value.clone()))
    }

    fn deserialize(&self, _topic: &str, bytes: Option<&[u8]>) -> Result<Vec<u8>, SerdeError> {
        Ok(bytes.ok_or(SerdeError::Null)?.to_vec())
    }
}

impl Serde<Bytes> for BytesSerde {
    fn serialize(&self, _topic: &str, value: &Bytes) -> Result<Option<Vec<u8>>, SerdeError> {
        Ok(Some(value.to_vec()))
    }

    fn deserialize(&self, _topic: &str, bytes: Option<&[u8]>) -> Result<Bytes, SerdeError> {
        Ok(Bytes::copy_from_slice(bytes.ok_or(SerdeError::Null)?))
    }
}

/// A serde for `Option<T>`, in which null is `None`. Made by [`Serde::nullable`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Nullable<S>(pub S);

impl<T, S: Serde<T>> Serde<Option<T>> for Nullable<S> {
    fn serialize(&self, topic: &str, value: &Option<T>) -> Result<Option<Vec<u8>>, SerdeError> {
        value.as_ref().map_or(Ok(None), |value| self.0.serialize(topic, value))
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<Option<T>, SerdeError> {
        bytes.map(|bytes| self.0.deserialize(topic, Some(bytes))).transpose()
    }

    fn is_null(&self, value: &Option<T>) -> bool {
        value.as_ref().is_none_or(|value| self.0.is_null(value))
    }
}

impl<T, S: Serde<T> + ?Sized> Serde<T> for std::sync::Arc<S> {
    fn serialize(&self, topic: &str, value: &T) -> Result<Option<Vec<u8>>, SerdeError> {
        (**self).serialize(topic, value)
    }

    fn deserialize(&self, topic: &str, bytes: Option<&[u8]>) -> Result<T, SerdeError> {
        (**self).deserialize(topic, bytes)
    }

    fn is_null(&self, value: &T) -> bool {
        (**self).is_null(value)
    }
}
