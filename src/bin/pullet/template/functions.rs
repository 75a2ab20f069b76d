//! The functions of templates: those of Docker, and of Go's that do not format.

use pullet::Escaped;
use serde_json::Value;

use super::value::{compare, display, is_true, length, missing};
use crate::json;

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    /// The least and the most number of arguments.
    pub(super) arguments: (usize, usize),
    pub(super) run: fn(&[Value]) -> Result<Value, String>,
}

const ANY: usize = usize::MAX;

pub(super) static FUNCTIONS: [Function; 16] = [
    Function { name: "and", arguments: (1, ANY), run: |values| Ok(first_where(values, |value| !is_true(value))) },
    Function { name: "eq", arguments: (2, ANY), run: |values| is_equal(values).map(Value::from) },
    Function { name: "index", arguments: (1, ANY), run: index },
    Function { name: "join", arguments: (2, 2), run: join },
    Function { name: "json", arguments: (1, 1), run: |values| Ok(json::compact(argument(values, 0)).into()) },
    Function { name: "len", arguments: (1, 1), run: |values| length(argument(values, 0)).map(Value::from) },
    Function { name: "lower", arguments: (1, 1), run: |values| Ok(text(values, 0)?.to_ascii_lowercase().into()) },
    Function { name: "ne", arguments: (2, 2), run: |values| is_equal(values).map(|is_equal| Value::from(!is_equal)) },
    Function { name: "not", arguments: (1, 1), run: |values| Ok((!is_true(argument(values, 0))).into()) },
    Function { name: "or", arguments: (1, ANY), run: |values| Ok(first_where(values, is_true)) },
    Function {
        name: "print",
        arguments: (0, ANY),
        run: |values| Ok(values.iter().map(escaped).collect::<String>().into()),
    },
    Function { name: "println", arguments: (0, ANY), run: println },
    Function { name: "split", arguments: (2, 2), run: split },
    Function { name: "title", arguments: (1, 1), run: |values| Ok(title(&text(values, 0)?).into()) },
    Function { name: "truncate", arguments: (2, 2), run: truncate },
    Function { name: "upper", arguments: (1, 1), run: |values| Ok(text(values, 0)?.to_ascii_uppercase().into()) },
];

impl Function {
    /// Whether the result is safe to print. It may have line breaks and tabs of the template, which must stay.
    pub(super) fn is_safe(&self) -> bool {
        matches!(self.name, "join" | "json" | "print" | "println")
    }

    pub(super) fn call(&self, arguments: &[Value]) -> Result<Value, String> {
        let (least, most) = self.arguments;
        if !(least..=most).contains(&arguments.len()) {
            return Err(format!("{} does not take {} arguments", self.name, arguments.len()));
        }
        (self.run)(arguments).map_err(|why| format!("{}: {why}", self.name))
    }

    /// What the function makes of the heading of a column.
    pub(super) fn heading(&self, arguments: &[Value]) -> Value {
        argument(arguments, 0).clone()
    }
}

/// The text of a value, without control characters.
fn escaped(value: &Value) -> String {
    Escaped(&display(value)).to_string()
}

fn argument(values: &[Value], at: usize) -> &Value {
    values.get(at).unwrap_or(&Value::Null)
}

fn text(values: &[Value], at: usize) -> Result<String, String> {
    match argument(values, at) {
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("{} is not a string", json::compact(other))),
    }
}

/// The first value that `is_wanted` accepts, or else the last.
fn first_where(values: &[Value], is_wanted: impl Fn(&Value) -> bool) -> Value {
    values.iter().find(|value| is_wanted(value)).or(values.last()).cloned().unwrap_or_default()
}

/// Whether the first value equals one of the others.
fn is_equal(values: &[Value]) -> Result<bool, String> {
    let others = values.get(1..).unwrap_or_default();
    for other in others {
        if compare(argument(values, 0), other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn index(values: &[Value]) -> Result<Value, String> {
    let mut value = argument(values, 0).clone();
    for key in values.get(1..).unwrap_or_default() {
        value = match (&value, key) {
            (Value::Array(items), Value::Number(at)) => {
                let item = at.as_u64().and_then(|at| items.get(usize::try_from(at).ok()?));
                item.cloned().ok_or_else(|| format!("{at} is out of range"))?
            }
            (Value::Object(members), Value::String(name)) => members.get(name).cloned().unwrap_or_else(|| "".into()),
            (Value::Null, Value::String(_)) => "".into(),
            _ => return Err(format!("no element {} in {}", json::compact(key), json::compact(&value))),
        };
    }
    Ok(value)
}

fn join(values: &[Value]) -> Result<Value, String> {
    let separator = text(values, 1)?;
    match argument(values, 0) {
        Value::Array(items) => Ok(items.iter().map(escaped).collect::<Vec<_>>().join(&separator).into()),
        Value::Null => Ok("".into()),
        other => Err(format!("{} is not a list", json::compact(other))),
    }
}

fn println(values: &[Value]) -> Result<Value, String> {
    let words: Vec<String> = values.iter().map(escaped).collect();
    Ok(format!("{}\n", words.join(" ")).into())
}

fn split(values: &[Value]) -> Result<Value, String> {
    let separator = text(values, 1)?;
    Ok(text(values, 0)?.split(&separator).map(Value::from).collect::<Vec<_>>().into())
}

/// The first letter of each word in upper case.
fn title(text: &str) -> String {
    let mut is_first = true;
    let mut out = String::new();
    for c in text.chars() {
        out.push(if is_first { c.to_ascii_uppercase() } else { c });
        is_first = !c.is_ascii_alphanumeric();
    }
    out
}

fn truncate(values: &[Value]) -> Result<Value, String> {
    let Some(length) = argument(values, 1).as_u64() else { return Err(missing("a length")) };
    Ok(text(values, 0)?.chars().take(usize::try_from(length).unwrap_or(usize::MAX)).collect::<String>().into())
}
