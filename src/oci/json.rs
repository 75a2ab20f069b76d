//! JSON from untrusted sources: limits its depth and rejects bytes after the value. Prints JSON for people.

use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny};
use serde_json::{Map, Value};

use crate::escape::Escaped;

/// The most values within each other. serde_json has the same limit, but not for members that it skips. `pretty` needs
/// it for those too, because its indentation grows with the square of the depth.
const DEPTH_LIMIT: usize = 128;

/// Parses all of `bytes`. The error is a text for people.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if !is_shallow(bytes) {
        return Err(format!("limit exceeded: more than {DEPTH_LIMIT} values within each other"));
    }
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}

/// Deserializes a member for which `null` means the default value. Go's decoder takes `null` as missing, and some tools
/// write missing members as `null`.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Returns the name of a member, in any case. Go's decoder matches members without regard to case, so the files of tools in
/// Go have them in any case. The exact name comes first.
pub(crate) fn member_name<'a>(members: &'a Map<String, Value>, name: &'a str) -> Option<&'a str> {
    if members.contains_key(name) {
        return Some(name);
    }
    members.keys().map(String::as_str).find(|key| key.eq_ignore_ascii_case(name))
}

/// Returns a member, whose name may have any case. `null` counts as missing, as in Go.
pub(crate) fn member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let key = member_name(members, name)?;
    members.get(key).filter(|value| !value.is_null())
}

/// Formats JSON for people, one member a line. Control characters that could affect a terminal become escapes of the
/// same meaning.
///
/// Changes only the white space between tokens. serde_json's formatter would sort the members and rewrite the numbers,
/// so that the output would no longer show the document that was hashed.
pub(crate) fn pretty(bytes: &[u8]) -> Result<String, String> {
    parse::<IgnoredAny>(bytes)?;
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let (mut out, mut depth, mut in_string, mut is_escaped) = (String::new(), 0_usize, false, false);
    let mut chars = text.chars().filter(|c| !matches!(c, '\n' | '\r' | '\t')).peekable();
    while let Some(c) = chars.next() {
        match c {
            _ if in_string => {
                in_string = is_escaped || c != '"';
                is_escaped = c == '\\' && !is_escaped;
                push_escaped(&mut out, c);
            }
            ' ' => {}
            '[' | '{' => {
                out.push(c);
                while chars.next_if_eq(&' ').is_some() {}
                match chars.next_if(|next| matches!(next, ']' | '}')) {
                    Some(close) => out.push(close),
                    None => {
                        depth += 1;
                        new_line(&mut out, depth);
                    }
                }
            }
            ']' | '}' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out.push('\n');
    Ok(out)
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Writes a character of a string, as an escape if it is harmful.
fn push_escaped(out: &mut String, c: char) {
    if !Escaped(c.encode_utf8(&mut [0; 4])).to_string().starts_with("\\u{") {
        out.push(c);
        return;
    }
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

/// Returns true if at most [`DEPTH_LIMIT`] brackets are open anywhere outside of strings.
fn is_shallow(bytes: &[u8]) -> bool {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_LIMIT {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #[test]
    fn pretty_changes_white_space_only() {
        let check = |text: &str, expected: &str| {
            let pretty = super::pretty(text.as_bytes());
            assert_eq!(pretty.as_deref(), Ok(expected));
            let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            assert_eq!(parse(expected), parse(text), "{text}");
        };
        check(
            "{\"b\":[1.50,{}, [ ],\n\t{ }],\"a\" : \"x, {y}: [\\\"z\\\\\"}",
            "{\n  \"b\": [\n    1.50,\n    {},\n    [],\n    {}\n  ],\n  \"a\": \"x, {y}: [\\\"z\\\\\"\n}\n",
        );
        check("\"\u{9b}31m\u{202e}\"", "\"\\u009b31m\\u202e\"\n");
        assert!(super::pretty(b"{} x").is_err() && super::pretty(b"\xff").is_err());
    }

    #[test]
    fn counts_brackets_outside_of_strings_only() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(super::is_shallow(nested(128).as_bytes()) && !super::is_shallow(nested(129).as_bytes()));
        assert!(super::is_shallow(format!("\"{}\\\"{}\"", "[".repeat(200), "[".repeat(200)).as_bytes()));
    }
}
