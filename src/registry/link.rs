//! Parses `Link` (RFC 8288, section 3). A header may contain several links, and there may be several headers.

use super::http::Response;
use super::scanner::{Scanner, is_blank};
use crate::error::Result;

/// Returns path and query of the page that follows `response`, of a list named `what`. The host and scheme of the link do
/// not matter, because a registry behind a proxy may not know its own: the page is requested where this one came from, as
/// containers/image does.
pub(super) fn next_page(response: &Response, what: &str) -> Result<Option<String>> {
    let Some(reference) = next(response.headers("link")) else { return Ok(None) };
    let next = response.url().join(reference).map_err(|e| e.context(format!("next page of the {what}")))?;
    Ok(Some(next.target().to_owned()))
}

/// Returns the target of the first link whose relations include `next`.
fn next<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    for header in headers {
        let mut scanner = Scanner { rest: header };
        while let Some(link) = scanner.link() {
            if link.is_next {
                return Some(link.target);
            }
        }
    }
    None
}

struct Link<'a> {
    target: &'a str,
    is_next: bool,
}

impl<'a> Scanner<'a> {
    /// Reads one link. Skips what is not a link, and returns `None` at the end.
    fn link(&mut self) -> Option<Link<'a>> {
        loop {
            self.skip(|c| is_blank(c) || c == ',');
            if let Some(rest) = self.rest.strip_prefix('<') {
                let (target, rest) = rest.split_once('>')?;
                self.rest = rest;
                return Some(Link { target: target.trim(), is_next: self.has_relation_next() });
            }
            self.skip_to_comma()?;
        }
    }

    /// Reads the parameters of a link. Only the first `rel` counts (RFC 8288, section 3.3). It is a list of relations,
    /// which are compared without regard to case.
    fn has_relation_next(&mut self) -> bool {
        let mut relations = None;
        loop {
            self.skip(|c| is_blank(c) || c == ';');
            if self.rest.is_empty() || self.rest.starts_with(',') {
                break;
            }
            let Some((name, value)) = self.link_parameter() else { break };
            if relations.is_none() && name.eq_ignore_ascii_case("rel") {
                relations = Some(value);
            }
        }
        relations.is_some_and(|list| list.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case("next")))
    }

    /// Reads `name=value`, where a value may be missing. A value without quotes extends to the next separator, because
    /// servers also send characters there that a token may not have.
    fn link_parameter(&mut self) -> Option<(&'a str, String)> {
        let (name, rest) = self.rest.split_at(self.rest.find(['=', ';', ',']).unwrap_or(self.rest.len()));
        self.rest = rest;
        let Some(rest) = rest.strip_prefix('=') else { return Some((name.trim(), String::new())) };
        self.rest = rest;
        self.skip(is_blank);
        if self.rest.starts_with('"') {
            return Some((name.trim(), self.quoted()?));
        }
        let (value, rest) = self.rest.split_at(self.rest.find([';', ',']).unwrap_or(self.rest.len()));
        self.rest = rest;
        Some((name.trim(), value.trim().to_owned()))
    }

    fn skip_to_comma(&mut self) -> Option<()> {
        self.rest = self.rest.get(self.rest.find(',')?..)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn finds_the_link_with_the_relation_next() {
        for (headers, expected) in [
            (&[r#"</b>; rel="next""#][..], Some("/b")),
            (&["</b>;rel=next"], Some("/b")),
            (&["</b>; REL=\"NEXT\""], Some("/b")),
            (&["</b>; Rel = Next"], Some("/b")),
            (&["< /b > ; rel=next"], Some("/b")),
            (&[r#"</b?x=1,2;3&y=a,b>; rel="next""#], Some("/b?x=1,2;3&y=a,b")),
            (&[r#"</a>; rel="prev", </b>; rel="next""#], Some("/b")),
            (&[r#"</a>; rel="prev""#, r#"</b>; rel="next""#], Some("/b")),
            (&[r#"</a>; rel=prev; title="x, </c>; rel=next", </b>; rel=next"#], Some("/b")),
            (&[r#"</b>; rel="last next""#], Some("/b")),
            (&[r#"</b>; title="a \"quoted\" one"; rel="next""#], Some("/b")),
            (&["</b>; crossorigin; rel=next"], Some("/b")),
            (&[", ,</b>;; rel=next;"], Some("/b")),
            (&["garbage, </b>; rel=next"], Some("/b")),
            (&["</b>; title*=UTF-8''x%20y; rel=next"], Some("/b")),
            (&["<>; rel=next"], Some("")),
            (&[r#"</b>; rel="nextish""#], None),
            (&[r#"</b>; rel=prev; rel=next"#], None),
            (&[r#"</b>; rel=first; title="rel=next""#], None),
            (&["</b>; xrel=next"], None),
            (&["</b>"], None),
            (&["/b; rel=next"], None),
            (&["</b; rel=next"], None),
            (&[r#"</b>; title="never closed; rel=next"#], None),
            (&["", "<", ";", "="], None),
            (&[], None),
        ] {
            assert_eq!(super::next(headers.iter().copied()), expected, "{headers:?}");
        }
    }
}
