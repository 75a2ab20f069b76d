//! Base64 and JSON without freedom: of several texts for one value, only one is accepted. Two readers that take different
//! values from one text are how signature checks are bypassed (a repeated JSON member counts first in one reader and last in
//! another).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most values in one document. A bundle has about 60, and a list of 1,000 referrers 12,000. They take at most 700 bytes
/// of memory each.
const VALUE_LIMIT: usize = 30_000;

/// Decodes the standard alphabet with padding. Refuses line breaks, missing padding, and bits after the last byte that are
/// not zero.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Parses an object. Refuses repeated members at any depth, more than [`VALUE_LIMIT`] values, more than 128 values within
/// each other, and anything after the object. The error is a text for people.
pub(crate) fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let mut count = 0;
    let mut document = serde_json::Deserializer::from_slice(bytes);
    let parsed = StrictValue { count: &mut count }.deserialize(&mut document);
    let value = parsed.and_then(|value| document.end().map(|()| value)).map_err(|e| format!("malformed JSON: {e}"))?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err("it is not a JSON object".to_owned()),
    }
}

/// Reads one value.
struct StrictValue<'c> {
    /// The number of values so far.
    count: &'c mut usize,
}

impl<'de> DeserializeSeed<'de> for StrictValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        *self.count += 1;
        if *self.count > VALUE_LIMIT {
            return Err(D::Error::custom(format_args!("limit exceeded: more than {VALUE_LIMIT} values")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictValue<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(StrictValue { count: &mut *self.count })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(StrictValue { count: &mut *self.count })?;
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("member \"{name}\" is repeated")));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_has_one_text_for_each_value() {
        assert_eq!(decode_base64("AQI=").as_deref(), Some(&[1, 2][..]));
        assert_eq!(decode_base64("+/8=").as_deref(), Some(&[0xfb, 0xff][..]));
        for text in ["AQI", "AQJ=", "AQ\nI=", "AQI=\n", "-_8=", "AQI==", "AQI=AQI=", " AQI=", "A"] {
            assert_eq!(decode_base64(text), None, "{text:?}");
        }
    }

    #[test]
    fn json_members_are_not_repeated_at_any_depth() {
        assert!(parse_object(br#"{"a":{"b":1},"c":{"b":2}}"#).is_ok());
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"\u0061":2}]}"#, r#"{"x":{"y":{"a":null,"b":0,"a":null}}}"#] {
            let error = parse_object(text.as_bytes()).err().unwrap_or_default();
            assert!(error.contains("member \"a\" is repeated"), "{text}: {error}");
        }
    }

    #[test]
    fn json_is_one_object_of_bounded_depth_and_size() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        let long = |n: usize| format!("{{\"a\":[{}0]}}", "0,".repeat(n));
        assert!(parse_object(nested(100).as_bytes()).is_ok() && parse_object(long(29_000).as_bytes()).is_ok());
        for text in [
            nested(128),
            nested(100_000),
            long(30_000),
            "[]".into(),
            "null".into(),
            "{} {}".into(),
            "{}x".into(),
            "{\"a\":1e999}".into(),
            "{\"a\":\"\\ud800\"}".into(),
            "\u{feff}{}".into(),
            "{\"a\":1,}".into(),
            "{'a':1}".into(),
            "{/**/}".into(),
            String::new(),
        ] {
            assert!(parse_object(text.as_bytes()).is_err(), "{}", text.chars().take(20).collect::<String>());
        }
    }
}
