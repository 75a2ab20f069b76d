//! Values of templates as Go sees them: what is true, how long they are, and how they are printed.

use serde_json::Value;

use crate::json;

/// What Go prints for a key that a map does not have.
pub(super) const NO_VALUE: &str = "<no value>";

/// The objects that are maps from any key. A missing key of a map is no error.
const MAPS: [&str; 4] = ["Annotations", "ExposedPorts", "Labels", "Volumes"];

/// Whether a condition holds: empty values and zero are false.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// The number of elements, or of bytes of a string.
pub(super) fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(members) => Ok(members.len()),
        other => Err(format!("{other} has no length")),
    }
}

pub(super) fn compare(one: &Value, other: &Value) -> Result<bool, String> {
    match (one, other) {
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            Err("lists and objects cannot be compared".to_owned())
        }
        _ => Ok(one == other),
    }
}

/// The text of a value as Go prints it: `[a b]`, `map[k:v]`.
pub(super) fn display(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // A list or map of a config that does not have it.
        Value::Null => "[]".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(display).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{name}:{}", display(value))).collect();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}

/// A field of a field of a value. An unknown field is an error with the known ones.
pub(super) fn field(value: &Value, path: &[String]) -> Result<Value, String> {
    let mut current = value;
    let mut parent = "";
    for (depth, name) in path.iter().enumerate() {
        current = match current {
            Value::Object(members) => match members.get(name) {
                Some(member) => member,
                None if MAPS.contains(&parent) => return Ok(NO_VALUE.into()),
                None => return Err(unknown(path.get(..=depth).unwrap_or_default(), current)),
            },
            Value::Null if MAPS.contains(&parent) => return Ok(NO_VALUE.into()),
            other => return Err(format!("no field .{} in {}", path.join("."), json::compact(other))),
        };
        parent = name;
    }
    Ok(current.clone())
}

fn unknown(path: &[String], value: &Value) -> String {
    let prefix: String = path.iter().rev().skip(1).rev().map(|name| format!(".{name}")).collect();
    let known: Vec<String> = json::members(value).iter().map(|(name, _)| format!("{prefix}.{name}")).collect();
    format!("unknown field .{}: expected one of {}", path.join("."), known.join(", "))
}

pub(super) fn missing(what: &str) -> String {
    format!("{what} was expected")
}
