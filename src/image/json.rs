//! JSON that came from outside: no byte behind the value, no member twice, and no deeper than any document is.

use serde::de::DeserializeOwned;

/// Values within values. serde_json has a bound of its own, but not for the members that are skipped.
const DEPTH_LIMIT: usize = 128;

/// Parses all of `bytes`; the error is a text.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match is_shallow(bytes) {
        true => serde_json::from_slice(bytes).map_err(|e| e.to_string()),
        false => Err(format!("limit exceeded: more than {DEPTH_LIMIT} values within each other")),
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
    fn brackets_count_outside_of_strings_only() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(super::is_shallow(nested(128).as_bytes()) && !super::is_shallow(nested(129).as_bytes()));
        assert!(super::is_shallow(format!("\"{}\\\"{}\"", "[".repeat(200), "[".repeat(200)).as_bytes()));
    }
}
