//! Writes JSON as Docker does: members in its order, the four blanks of its indentation, and no control characters that could
//! affect a terminal.

use pullet::Escaped;
use serde_json::Value;

/// The members that come first, in Docker's order. Others follow by name.
const ORDER: [&str; 42] = [
    "Id",
    "RepoTags",
    "RepoDigests",
    "Comment",
    "Created",
    "Author",
    "Config",
    "Hostname",
    "Domainname",
    "User",
    "ExposedPorts",
    "Tty",
    "Env",
    "Entrypoint",
    "Cmd",
    "Healthcheck",
    "Test",
    "Interval",
    "Timeout",
    "StartPeriod",
    "StartInterval",
    "Retries",
    "ArgsEscaped",
    "Image",
    "Volumes",
    "WorkingDir",
    "OnBuild",
    "Labels",
    "StopSignal",
    "Shell",
    "Architecture",
    "Variant",
    "Os",
    "OsVersion",
    "Size",
    "RootFS",
    "Type",
    "Layers",
    "Descriptor",
    "mediaType",
    "digest",
    "size",
];

/// JSON on one line.
pub(crate) fn compact(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, None);
    out
}

/// JSON with one member a line.
pub(crate) fn indented(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, Some(0));
    out
}

/// The members of an object in their order. Rows of lists are sorted by name, as in Docker.
pub(crate) fn members(value: &Value) -> Vec<(&str, &Value)> {
    let all: Vec<(&str, &Value)> =
        value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect();
    // The map is sorted by name.
    if value.get("CreatedSince").is_some() {
        return all;
    }
    // Not a sort, which would add 4 KB of code.
    let first = ORDER.iter().filter_map(|known| all.iter().find(|(name, _)| name == known));
    let rest = all.iter().filter(|(name, _)| !ORDER.contains(name));
    first.chain(rest).copied().collect()
}

/// Writes a value. `depth` is that of its lines; `None` writes one line.
fn write(out: &mut String, value: &Value, depth: Option<usize>) {
    let inner = depth.map(|depth| depth + 1);
    match value {
        Value::String(text) => push_string(out, text),
        Value::Array(items) if !items.is_empty() => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                begin_item(out, index, inner);
                write(out, item, inner);
            }
            new_line(out, depth);
            out.push(']');
        }
        Value::Object(object) if !object.is_empty() => {
            out.push('{');
            for (index, (name, member)) in members(value).into_iter().enumerate() {
                begin_item(out, index, inner);
                push_string(out, name);
                out.push_str(if depth.is_some() { ": " } else { ":" });
                write(out, member, inner);
            }
            new_line(out, depth);
            out.push('}');
        }
        // Numbers, words, and empty brackets.
        other => out.push_str(&other.to_string()),
    }
}

fn begin_item(out: &mut String, index: usize, depth: Option<usize>) {
    if index > 0 {
        out.push(',');
    }
    new_line(out, depth);
}

fn new_line(out: &mut String, depth: Option<usize>) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    }
}

fn push_string(out: &mut String, text: &str) {
    for c in Value::from(text).to_string().chars() {
        if !Escaped(c.encode_utf8(&mut [0; 4])).to_string().starts_with("\\u{") {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn orders_and_indents_as_docker_does() {
        let value =
            json!({ "Zoo": [], "Os": "linux", "Id": "x", "Config": { "Env": ["A=1"], "Cmd": null }, "Abc": {} });
        assert_eq!(compact(&value), r#"{"Id":"x","Config":{"Env":["A=1"],"Cmd":null},"Os":"linux","Abc":{},"Zoo":[]}"#);
        let lines = "{\n    \"Id\": \"x\",\n    \"Config\": {\n        \"Env\": [\n            \"A=1\"\n        ],\n        \"Cmd\": null\n    },\n    \"Os\": \"linux\",\n    \"Abc\": {},\n    \"Zoo\": []\n}";
        assert_eq!(indented(&value), lines);
    }

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        assert_eq!(compact(&json!("a\u{1b}[2J\u{9b}\u{202e}<&>\"")), r#""a\u001b[2J\u009b\u202e<&>\"""#);
    }
}
