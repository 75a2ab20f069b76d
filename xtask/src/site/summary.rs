//! The list of the pages: parts with titles, and a page before the first part, which is the front page.

use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, HeadingLevel, Tag, TagEnd};

use super::SUMMARY;
use super::markdown::{Link, events, heading};

pub struct Summary {
    pub parts: Vec<Part>,
}

/// Pages that belong together. The first part has no title.
#[derive(Default)]
pub struct Part {
    pub title: String,
    pub entries: Vec<Entry>,
}

#[derive(Debug, PartialEq)]
pub struct Entry {
    pub title: String,
    /// The path of the Markdown file in the project.
    pub source: PathBuf,
}

impl Summary {
    pub fn parse(text: &str) -> Self {
        let events = events(text);
        let mut parts = vec![Part::default()];
        for (at, event) in events.iter().enumerate() {
            match event {
                Event::Start(Tag::Heading { level: HeadingLevel::H2, .. }) => {
                    parts.push(Part { title: heading(&events[at..]), ..Part::default() });
                }
                Event::Start(Tag::Link { dest_url, .. }) => {
                    let inside = events[at..].iter().take_while(|event| !matches!(event, Event::End(TagEnd::Link)));
                    let title = inside.filter_map(|event| match event {
                        Event::Text(text) => Some(&**text),
                        _ => None,
                    });
                    let link = Link::parse(Path::new(SUMMARY), dest_url);
                    if let (Some(link), Some(part)) = (link, parts.last_mut()) {
                        part.entries.push(Entry { title: title.collect(), source: link.path });
                    }
                }
                _ => {}
            }
        }
        Self { parts }
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.parts.iter().flat_map(|part| &part.entries)
    }

    pub fn find(&self, source: &Path) -> Option<&Entry> {
        self.entries().find(|entry| entry.source == source)
    }

    pub fn has(&self, source: &Path) -> bool {
        self.find(source).is_some()
    }

    /// The pages before and after this one.
    pub fn neighbours(&self, entry: &Entry) -> (Option<&Entry>, Option<&Entry>) {
        let entries: Vec<&Entry> = self.entries().collect();
        let at = entries.iter().position(|other| *other == entry).unwrap_or_default();
        (at.checked_sub(1).and_then(|before| entries.get(before)).copied(), entries.get(at + 1).copied())
    }
}

impl Entry {
    /// The path in the site: all pages are in one folder.
    pub fn output(&self) -> PathBuf {
        if self.source == Path::new("README.md") {
            return "index.html".into();
        }
        let name = self.source.with_extension("").display().to_string();
        format!("{}.html", name.trim_start_matches("docs/").replace('/', "-")).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_parts_and_pages() {
        let summary =
            Summary::parse("# S\n\n[Front](../README.md)\n\n## Part\n\n- [A](a.md)\n- [B c](../x/README.md)\n");
        let outputs: Vec<String> = summary.entries().map(|entry| entry.output().display().to_string()).collect();
        assert_eq!(outputs, ["index.html", "a.html", "x-README.html"]);
        assert_eq!((summary.parts[1].title.as_str(), summary.parts[1].entries[1].title.as_str()), ("Part", "B c"));
        let (before, after) = summary.neighbours(&summary.parts[1].entries[0]);
        assert_eq!((before.unwrap().title.as_str(), after.unwrap().title.as_str()), ("Front", "B c"));
    }
}
