//! Parses `WWW-Authenticate` (RFC 9110, sections 11.3 and 11.6.1). A header may contain several challenges, and there
//! may be several headers. A malformed rest is dropped, and the challenges before it are kept.

use super::super::scanner::{Scanner, is_blank};

/// A scheme and its parameters. The scheme and the names of parameters are in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Returns the first parameter with this name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Parses the challenges of all header values, in order.
pub(crate) fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    for header in headers {
        let mut scanner = Scanner { rest: header };
        while scanner.challenge(&mut challenges).is_some() {}
    }
    challenges
}

impl Scanner<'_> {
    /// Reads one challenge. A word followed by `=` is a parameter; any other word is the scheme of the next challenge.
    fn challenge(&mut self, challenges: &mut Vec<Challenge>) -> Option<()> {
        self.skip(|c| is_blank(c) || c == ',');
        let scheme = self.token()?.to_ascii_lowercase();
        challenges.push(Challenge { scheme, parameters: Vec::new() });
        let current = challenges.last_mut()?;
        if self.rest.starts_with(is_blank) {
            self.skip(is_blank);
            self.skip_token68();
        }
        loop {
            self.skip(|c| is_blank(c) || c == ',');
            let before = self.rest;
            let name = self.token()?;
            self.skip(is_blank);
            if !self.rest.starts_with('=') {
                self.rest = before;
                return Some(());
            }
            self.rest = self.rest.get(1..)?;
            self.skip(is_blank);
            let value = if self.rest.starts_with('"') { self.quoted()? } else { self.token()?.to_owned() };
            current.parameters.push((name.to_ascii_lowercase(), value));
        }
    }

    /// Skips a token68, which no supported scheme uses. It extends to a comma or the end.
    fn skip_token68(&mut self) {
        let is_token68 = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
        let rest = self.rest.trim_start_matches(is_token68).trim_start_matches('=').trim_start_matches(is_blank);
        if rest.len() < self.rest.len() && (rest.is_empty() || rest.starts_with(',')) {
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[&str], expected: &[(&str, &[(&str, &str)])]) {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let expected: Vec<_> = expected
            .iter()
            .map(|(scheme, parameters)| Challenge {
                scheme: (*scheme).to_owned(),
                parameters: parameters.iter().map(own).collect(),
            })
            .collect();
        assert_eq!(parse(headers.iter().copied()), expected, "{headers:?}");
    }

    #[test]
    fn parses_the_challenges_of_registries() {
        check(
            &[r#"Bearer realm="https://auth.io/token",service="r.io",scope="repository:a/b:pull,push""#],
            &[(
                "bearer",
                &[("realm", "https://auth.io/token"), ("service", "r.io"), ("scope", "repository:a/b:pull,push")],
            )],
        );
        check(&["Basic realm=\"x\""], &[("basic", &[("realm", "x")])]);
        check(&["bEaReR\t  REALM = \"a\" ,, service=b ,"], &[("bearer", &[("realm", "a"), ("service", "b")])]);
        check(
            &[r#"Bearer realm="a \"quoted\" \\ one",x=y"#],
            &[("bearer", &[("realm", "a \"quoted\" \\ one"), ("x", "y")])],
        );
    }

    #[test]
    fn separates_several_challenges() {
        check(
            &[r#"Negotiate, Basic realm="a, b", Bearer realm="c",service="d""#],
            &[("negotiate", &[]), ("basic", &[("realm", "a, b")]), ("bearer", &[("realm", "c"), ("service", "d")])],
        );
        check(&["Basic realm=a", "Bearer realm=b"], &[("basic", &[("realm", "a")]), ("bearer", &[("realm", "b")])]);
        check(&["NTLM TlRMTVNTUAAB==, Basic realm=a"], &[("ntlm", &[]), ("basic", &[("realm", "a")])]);
        check(&[", ,Basic"], &[("basic", &[])]);
    }

    #[test]
    fn drops_a_malformed_rest() {
        check(&[r#"Basic realm="a", Bearer realm="never closed"#], &[("basic", &[("realm", "a")]), ("bearer", &[])]);
        check(&["Bearer realm=\"a\\"], &[("bearer", &[])]);
        check(&["Bearer =x"], &[("bearer", &[])]);
        check(&["", "   ", "\"", "=", "@"], &[]);
        let long = format!("Bearer {}", "a=b,".repeat(20_000));
        assert_eq!(parse([long.as_str()]).len(), 1);
    }
}
