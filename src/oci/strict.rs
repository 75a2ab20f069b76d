//! JSON objects without freedom: of several texts for one value, only one is accepted. Two readers that take different
//! values from one text are how checks of signatures and manifests are bypassed (a repeated member counts first in one
//! reader and last in another).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most values in one document. A bundle has about 60, and a list of 1,000 referrers 12,000. They take at most 700 bytes
/// of memory each.
const VALUE_LIMIT: usize = 30_000;

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

/// An object whose members are taken by name and type. `null` counts as missing, as in Go. The errors are texts for people.
#[derive(Default)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// Parses an object as [`parse_object`] does.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        parse_object(bytes).map(Self)
    }

    pub(crate) fn of(value: Value) -> Result<Self, String> {
        match value {
            Value::Object(members) => Ok(Self(members)),
            _ => Err("it is not a JSON object".to_owned()),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    pub(crate) fn take_text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("\"{name}\" is not a string")),
        }
    }

    pub(crate) fn take_number(&mut self, name: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| format!("\"{name}\" is not a whole number"))
    }

    pub(crate) fn take_flag(&mut self, name: &str) -> Result<bool, String> {
        let Some(value) = self.take(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| format!("\"{name}\" is neither true nor false"))
    }

    pub(crate) fn take_list(&mut self, name: &str) -> Result<Option<Vec<Value>>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(format!("\"{name}\" is not a list")),
        }
    }

    pub(crate) fn take_object(&mut self, name: &str) -> Result<Option<Self>, String> {
        self.take(name).map(Self::of).transpose().map_err(|_| format!("\"{name}\" is not an object"))
    }

    /// Takes a member of any type.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
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

    #[test]
    fn members_have_the_type_that_is_asked_for() {
        let parse = || Object::parse(br#"{"t":"x","n":7,"f":true,"l":[1],"o":{"a":1},"z":null,"m":-1,"d":1.5}"#);
        let Ok(mut members) = parse() else { panic!("refused") };
        assert!(members.has("t") && !members.has("z") && !members.has("x"));
        assert_eq!(members.take_text("t"), Ok(Some("x".to_owned())));
        assert_eq!(members.take_number("n"), Ok(Some(7)));
        assert_eq!(members.take_flag("f"), Ok(true));
        assert_eq!(members.take_list("l"), Ok(Some(vec![1.into()])));
        assert!(members.take_object("o").is_ok_and(|inner| inner.is_some_and(|inner| inner.has("a"))));
        for missing in ["z", "x"] {
            assert_eq!((members.take_text(missing), members.take_number(missing)), (Ok(None), Ok(None)));
            assert_eq!((members.take_list(missing), members.take_flag(missing)), (Ok(None), Ok(false)));
            assert!(members.take_object(missing).is_ok_and(|inner| inner.is_none()));
        }
        for wrong in ["f", "m", "d"] {
            let refused = parse().map(|mut it| (it.take_text(wrong).is_err(), it.take_number(wrong).is_ok()));
            assert_eq!(refused, Ok((true, true)), "{wrong}: the first call takes the member");
            assert_eq!(parse().map(|mut it| it.take_number(wrong).is_err()), Ok(true), "{wrong}");
        }
        for wrong in ["t", "n"] {
            assert_eq!(parse().map(|mut it| it.take_list(wrong).is_err()), Ok(true), "{wrong}");
            assert_eq!(parse().map(|mut it| it.take_object(wrong).is_err()), Ok(true), "{wrong}");
            assert_eq!(parse().map(|mut it| it.take_flag(wrong).is_err()), Ok(true), "{wrong}");
        }
    }
}
