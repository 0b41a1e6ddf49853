//! A protobuf message, field by field, with the bytes of each: what is unknown can be kept.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};

use super::error::{ImageError, Problem};

/// One field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field<'a> {
    /// Its number in the message.
    pub(crate) number: u32,
    /// Key and value.
    pub(crate) raw: &'a [u8],
    pub(crate) value: Value<'a>,
    /// Of the value in the file.
    pub(crate) offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    /// Of a string, bytes or a message.
    Bytes(&'a [u8]),
    /// Of a kind that no message here has.
    Other,
}

/// The fields of a message that stands at `offset` in a file.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'a [u8], offset: u64) -> Self {
        Self { rest: message, offset }
    }

    fn read(&mut self) -> Result<Field<'a>, prost::DecodeError> {
        let whole = self.rest;
        let (number, wire_type) = decode_key(&mut self.rest)?;
        let value = match wire_type {
            WireType::Varint => Value::Number(decode_varint(&mut self.rest)?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut self.rest)?;
                let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
                let (bytes, rest) = split.ok_or_else(|| too_long(length))?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            other => {
                skip_field(other, number, &mut self.rest, DecodeContext::default())?;
                Value::Other
            }
        };
        let length = whole.len() - self.rest.len();
        let value_bytes = match value {
            Value::Bytes(bytes) => bytes.len(),
            Value::Number(_) | Value::Other => 0,
        };
        let offset = self.offset + (length - value_bytes) as u64;
        self.offset += length as u64;
        Ok(Field { number, raw: whole.get(..length).unwrap_or_default(), value, offset })
    }
}

#[allow(deprecated, reason = "the only public way to an error of prost's kind")]
fn too_long(length: u64) -> prost::DecodeError {
    prost::DecodeError::new(format!("a field of {length} bytes reaches over the end of its message"))
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, ImageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let start = self.offset;
        Some(self.read().map_err(|error| {
            self.rest = &[];
            ImageError::new(start, Problem::Malformed(error.to_string()))
        }))
    }
}

/// The fields of a message that have none of these numbers, as they stand there.
pub(crate) fn others(message: &[u8], offset: u64, known: &[u32]) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    for field in Fields::new(message, offset) {
        let field = field?;
        if !known.contains(&field.number) {
            bytes.extend_from_slice(field.raw);
        }
    }
    Ok(bytes)
}

pub(crate) fn put_number(number: u32, value: u64, into: &mut Vec<u8>) {
    encode_key(number, WireType::Varint, into);
    encode_varint(value, into);
}

pub(crate) fn put_bytes(number: u32, bytes: &[u8], into: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, into);
    encode_varint(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}
