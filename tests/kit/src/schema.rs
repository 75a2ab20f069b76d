//! Checks a JSON value against a JSON Schema: the part of draft 2020-12 that pullet's schema uses.
//!
//! An unknown keyword panics, so that a schema cannot demand what is not checked.

use serde_json::Value;

/// Checks `value` against the document `schema`, and returns the first difference.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    check_part(schema, schema, value, "$")
}

fn check_part(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let keywords = schema.as_object().unwrap_or_else(|| panic!("{place}: the schema is no object: {schema}"));
    for (keyword, wanted) in keywords {
        let is_met = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let pointer = wanted.as_str().unwrap().trim_start_matches('#');
                check_part(document, document.pointer(pointer).expect("the reference exists"), value, place)?;
                true
            }
            "oneOf" => check_one_of(document, wanted, value, place)?,
            "type" => types(wanted).any(|name| has_type(value, name)),
            "const" => value == wanted,
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| matches_pattern(wanted.as_str().unwrap(), text)),
            "required" => names(wanted).all(|name| value.get(name).is_some()),
            "properties" => {
                for (name, property) in wanted.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        check_part(document, property, member, &format!("{place}.{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(wanted, &Value::Bool(false), "{place}");
                let known = schema.get("properties").and_then(Value::as_object).expect("properties");
                value.as_object().is_none_or(|members| members.keys().all(|name| known.contains_key(name)))
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check_part(document, wanted, item, &format!("{place}[{index}]"))?;
                }
                true
            }
            other => panic!("{place}: the keyword {other} is not known here"),
        };
        if !is_met {
            return Err(format!("{place}: {value} does not meet {keyword}: {wanted}"));
        }
    }
    Ok(())
}

/// Exactly one of the schemas must fit. Reports the difference from the one for this event, if there is one.
fn check_one_of(document: &Value, schemas: &Value, value: &Value, place: &str) -> Result<bool, String> {
    let results: Vec<Result<(), String>> =
        schemas.as_array().unwrap().iter().map(|schema| check_part(document, schema, value, place)).collect();
    if results.iter().filter(|result| result.is_ok()).count() == 1 {
        return Ok(true);
    }
    let differences: Vec<&str> =
        results.iter().filter_map(|result| result.as_ref().err().map(String::as_str)).collect();
    Err(format!("{place}: fits not exactly one schema:\n{}", differences.join("\n")))
}

fn types(wanted: &Value) -> impl Iterator<Item = &str> {
    wanted.as_str().into_iter().chain(names(wanted))
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("the type {other} is not known here"),
    }
}

/// Only the pattern of digests is known.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    assert_eq!(pattern, "^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$");
    let is_hex = |hex: &str, length| hex.len() == length && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    text.strip_prefix("sha256:").is_some_and(|hex| is_hex(hex, 64))
        || text.strip_prefix("sha512:").is_some_and(|hex| is_hex(hex, 128))
}
