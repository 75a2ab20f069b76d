//! JSON that came from outside: no byte behind the value, no member twice, and no deeper than any document is.

use serde::de::{DeserializeOwned, IgnoredAny};

use crate::escape::Escaped;

/// Values within values. serde_json has a bound of its own, but not for the members that are skipped.
const DEPTH_LIMIT: usize = 128;

/// Parses all of `bytes`; the error is a text.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match is_shallow(bytes) {
        true => serde_json::from_slice(bytes).map_err(|e| e.to_string()),
        false => Err(format!("limit exceeded: more than {DEPTH_LIMIT} values within each other")),
    }
}

/// The same values for people: a member a line, in the order and with the numbers of the original. What could move a
/// terminal's cursor is written as an escape, which means the same.
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
                push_shown(&mut out, c);
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

fn push_shown(out: &mut String, c: char) {
    match Escaped(c.encode_utf8(&mut [0; 4])).to_string().starts_with("\\u{") {
        true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        false => out.push(c),
    }
}

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
    fn pretty_changes_the_blanks_only() {
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
    fn brackets_count_outside_of_strings_only() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(super::is_shallow(nested(128).as_bytes()) && !super::is_shallow(nested(129).as_bytes()));
        assert!(super::is_shallow(format!("\"{}\\\"{}\"", "[".repeat(200), "[".repeat(200)).as_bytes()));
    }
}
