//! The tag list of a repository. Its pages are parsed without a copy of their strings, so that a page of short strings
//! does not need many times its size in memory.

use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::link::next_page;
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, within};
use crate::oci::reference::is_tag;
use crate::progress::Event;

/// Pages in a row without a new tag. Registries that hide tags after they have cut the list into pages send some.
const IDLE_PAGES: usize = 100;
/// Invalid tags that the note quotes.
const QUOTED_TAGS: usize = 5;

impl Session<'_> {
    /// Returns all tags, in the registry's order. Follows the pages by `Link`, and fails if they do not lead to an end,
    /// because a part of the list must not be taken for all of it.
    pub(super) fn tags(&mut self) -> Result<Vec<String>> {
        let limits = &self.connections.config.limits;
        let mut list = TagList::new(limits.tags);
        let mut idle_pages = 0;
        let mut next = Some(self.repository_path("tags/list?n=1000"));
        while let Some(target) = next {
            let response = self.get(&target, None)?;
            next = next_page(&response, "tag list")?;
            let body = within(response.read(limits.document)?, "bytes of tag list", limits.document)?;
            let page = list.add_page(&body)?;
            if next.as_ref() == Some(&target) {
                if page.is_empty {
                    break;
                }
                return Err(Error::new(ErrorKind::Unsafe, "the tag list has no end: a page is its own next page"));
            }
            idle_pages = if page.has_new_tag { 0 } else { idle_pages + 1 };
            if idle_pages > IDLE_PAGES {
                return Err(Limits::exceeded("pages of the tag list without a new tag", IDLE_PAGES));
            }
        }
        if let Some(text) = list.note() {
            self.progress.report(Event::Warning(&text));
        }
        Ok(list.tags.iter().map(|tag| tag.as_ref().to_owned()).collect())
    }
}

/// The tags of the pages so far.
struct TagList {
    tags: Vec<Rc<str>>,
    known: HashSet<Rc<str>>,
    limit: usize,
    /// The number of strings, valid or not, repeated or not.
    strings: usize,
    /// The number of strings that are not valid tags, and the first of them.
    invalid: usize,
    quoted: Vec<String>,
}

/// What one page added.
struct Page {
    is_empty: bool,
    has_new_tag: bool,
}

impl TagList {
    fn new(limit: usize) -> Self {
        Self { tags: Vec::new(), known: HashSet::new(), limit, strings: 0, invalid: 0, quoted: Vec::new() }
    }

    fn add_page(&mut self, body: &[u8]) -> Result<Page> {
        let (strings, count) = (self.strings, self.tags.len());
        let mut document = serde_json::Deserializer::from_slice(body);
        let parsed = document.deserialize_map(DocumentVisitor(self)).and_then(|()| document.end());
        if self.tags.len() > self.limit {
            return Err(Limits::exceeded("tags", self.limit));
        }
        parsed.map_err(|e| Error::new(ErrorKind::Network, format!("malformed tag list: {e}")))?;
        Ok(Page { is_empty: self.strings == strings, has_new_tag: self.tags.len() > count })
    }

    /// Adds a string of the list.
    fn add(&mut self, text: &str) {
        self.strings += 1;
        if !is_tag(text) {
            self.invalid += 1;
            if self.quoted.len() < QUOTED_TAGS {
                self.quoted.push(format!("\"{}\"", text.chars().take(128).collect::<String>()));
            }
        } else if !self.known.contains(text) {
            let tag: Rc<str> = text.into();
            self.known.insert(Rc::clone(&tag));
            self.tags.push(tag);
        }
    }

    /// Returns the note about invalid tags.
    fn note(&self) -> Option<String> {
        let more = match self.invalid.checked_sub(self.quoted.len())? {
            0 if self.quoted.is_empty() => return None,
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("skipping invalid tags of the list: {}{more}", self.quoted.join(", ")))
    }
}

/// Reads the document: `{"tags": [...]}`, where the list may be null.
struct DocumentVisitor<'l>(&'l mut TagList);

impl<'de> Visitor<'de> for DocumentVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut has_tags = false;
        while let Some(name) = map.next_key::<String>()? {
            if name != "tags" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            // Which of two lists counts is ambiguous.
            if has_tags {
                return Err(A::Error::duplicate_field("tags"));
            }
            has_tags = true;
            map.next_value_seed(ListSeed(self.0))?;
        }
        Ok(())
    }
}

/// Reads the list.
struct ListSeed<'l>(&'l mut TagList);

impl<'de> DeserializeSeed<'de> for ListSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ListSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tags")
    }

    fn visit_unit<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        while seq.next_element_seed(TagSeed(self.0))?.is_some() {}
        Ok(())
    }
}

/// Reads one string of the list.
struct TagSeed<'l>(&'l mut TagList);

impl<'de> DeserializeSeed<'de> for TagSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for TagSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<(), E> {
        self.0.add(text);
        if self.0.tags.len() > self.0.limit {
            return Err(E::custom("too many tags"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(limit: usize, pages: &[&str]) -> Result<TagList> {
        let mut list = TagList::new(limit);
        for page in pages {
            list.add_page(page.as_bytes())?;
        }
        Ok(list)
    }

    #[test]
    fn collects_each_tag_once_in_order() {
        let found =
            list(3, &[r#"{"name":"a","tags":["b","a","b"]}"#, r#"{"tags":null}"#, r#"{"tags":["a","\u0063"]}"#]);
        let tags: Vec<String> = found.map(|list| list.tags.iter().map(|tag| tag.to_string()).collect()).unwrap();
        assert_eq!(tags, ["b", "a", "c"]);
    }

    #[test]
    fn rejects_a_malformed_list() {
        for page in [
            "7",
            "null",
            "[]",
            "",
            "<html>",
            r#"{"tags":7}"#,
            r#"{"tags":{"tags":[]}}"#,
            r#"{"tags":"a"}"#,
            r#"{"tags":[7]}"#,
            r#"{"tags":[null]}"#,
            r#"{"tags":["a"]"#,
            r#"{"tags":["a"]}x"#,
            r#"{"tags":["a"],"tags":["b"]}"#,
        ] {
            assert!(list(9, &[page]).is_err_and(|e| e.kind() == ErrorKind::Network), "{page}");
        }
        assert!(list(1, &[r#"{"tags":["a","b"]}"#]).is_err_and(|e| e.kind() == ErrorKind::Unsafe));
        assert!(list(1, &[r#"{"tags":["a"]}"#, r#"{"tags":["b"]}"#]).is_err_and(|e| e.kind() == ErrorKind::Unsafe));
    }

    #[test]
    fn skips_invalid_tags_and_quotes_some_in_a_note() {
        let note = |page: &str| list(9, &[page]).ok().and_then(|list| list.note()).unwrap_or_default();
        assert_eq!(note(r#"{"tags":["a"]}"#), "");
        assert_eq!(note(r#"{"tags":["a","b c",""]}"#), r#"skipping invalid tags of the list: "b c", """#);
        let many = format!(r#"{{"tags":[{}]}}"#, [r#"".""#; 9].join(","));
        assert!(note(&many).ends_with(r#"".", "." and 4 more"#), "{}", note(&many));
        assert!(note(&format!(r#"{{"tags":["{}"]}}"#, " ".repeat(9999))).len() < 200);
    }
}
