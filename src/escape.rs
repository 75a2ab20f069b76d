//! Makes untrusted text safe to print. Names, error bodies and paths may contain terminal control sequences (CWE-150).

use std::fmt;

/// Displays text with control characters, bidirectional overrides and invisible separators escaped as `\u{…}`.
///
/// ```
/// assert_eq!(pullet::Escaped("a\u{1b}[2Jb").to_string(), "a\\u{1b}[2Jb");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if is_harmful(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        Ok(())
    }
}

/// C0, C1 and DEL control the terminal. Bidirectional controls and zero-width characters make text look like other
/// text.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(Escaped(text).to_string(), expected);
    }

    #[test]
    fn escapes_terminal_and_bidirectional_controls_only() {
        check("plain text, größer", "plain text, größer");
        check("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}");
        check("line\nline\r", "line\\u{a}line\\u{d}");
        check("c1 \u{9b}31m", "c1 \\u{9b}31m");
        check("bidi \u{202e}txt", "bidi \\u{202e}txt");
    }
}
