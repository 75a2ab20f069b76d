//! Typed access to the members of a strict JSON object. A missing member and a member of another type are different errors,
//! and neither is ever taken for a default.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A JSON object.
pub(super) type Members = Map<String, Value>;

/// Returns a member that must be a string.
pub(super) fn string<'a>(members: &'a Members, name: &str) -> Result<&'a str, String> {
    required(members, name)?.as_str().ok_or_else(|| format!("member \"{name}\" is not a string"))
}

/// Returns a member that must be an object.
pub(super) fn object<'a>(members: &'a Members, name: &str) -> Result<&'a Members, String> {
    required(members, name)?.as_object().ok_or_else(|| format!("member \"{name}\" is not an object"))
}

/// Returns a member that must be a list.
pub(super) fn list<'a>(members: &'a Members, name: &str) -> Result<&'a [Value], String> {
    match required(members, name)? {
        Value::Array(list) => Ok(list),
        _ => Err(format!("member \"{name}\" is not a list")),
    }
}

/// Fails unless the object has exactly these members.
pub(super) fn exactly(members: &Members, names: &[&str]) -> Result<(), String> {
    for name in names {
        required(members, name)?;
    }
    match members.keys().find(|key| !names.contains(&key.as_str())) {
        Some(unknown) => Err(format!("member \"{unknown}\" is unknown")),
        None => Ok(()),
    }
}

/// The members whose values are strings.
pub(super) fn strings(members: &Members) -> BTreeMap<String, String> {
    members.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn required<'a>(members: &'a Members, name: &str) -> Result<&'a Value, String> {
    members.get(name).ok_or_else(|| format!("member \"{name}\" is missing"))
}
