//! Links and anchors of Markdown files, as GitHub makes them.

use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// The events of a text, in which every heading has an ID.
pub fn events(text: &str) -> Vec<Event<'_>> {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut events: Vec<Event> = Parser::new_ext(text, options).collect();
    let mut used = Vec::new();
    for at in 0..events.len() {
        let title = heading(&events[at..]);
        if let Event::Start(Tag::Heading { id, .. }) = &mut events[at] {
            *id = Some(unique(&slug(&title), &mut used).into());
        }
    }
    events
}

/// The text of the heading with which these events begin, without its markup.
pub fn heading(events: &[Event]) -> String {
    let inside = events.iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let text = inside.filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(&**text),
        _ => None,
    });
    text.collect()
}

/// The anchors of a text.
pub fn anchors(events: &[Event]) -> Vec<String> {
    let id = |event: &Event| match event {
        Event::Start(Tag::Heading { id: Some(id), .. }) => Some(id.to_string()),
        _ => None,
    };
    events.iter().filter_map(id).collect()
}

/// The targets of links and images.
pub fn targets(events: &[Event]) -> Vec<String> {
    let target = |event: &Event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => Some(dest_url.to_string()),
        _ => None,
    };
    events.iter().filter_map(target).collect()
}

/// A link to something in the project.
#[derive(Debug, PartialEq)]
pub struct Link {
    /// The path of the file, from the folder of the project.
    pub path: PathBuf,
    pub anchor: Option<String>,
}

impl Link {
    /// Reads the target of a link in the file `from`. Returns `None` if it leads out of the project's files.
    pub fn parse(from: &Path, target: &str) -> Option<Link> {
        if target.contains("://") || target.starts_with("mailto:") {
            return None;
        }
        let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
        let folder = from.parent().unwrap_or(Path::new(""));
        let path = if path.is_empty() { from.to_owned() } else { normal(&folder.join(path)) };
        Some(Link { path, anchor: anchor.map(str::to_owned) })
    }
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::Normal(name) => normal.push(name),
            _ => {}
        }
    }
    normal
}

/// The anchor of a heading: lower case, letters, digits, `-` and `_`, with `-` for spaces.
fn slug(title: &str) -> String {
    let kept = title.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// The slug, with a number if an earlier heading has it too.
fn unique(slug: &str, used: &mut Vec<String>) -> String {
    let count = used.iter().filter(|other| *other == slug).count();
    used.push(slug.to_owned());
    if count == 0 { slug.to_owned() } else { format!("{slug}-{count}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_have_the_anchors_of_github() {
        let events = events("# The `--format` option\n\n## A, b & c\n\n## Same\n\n## Same\n");
        assert_eq!(anchors(&events), ["the---format-option", "a-b--c", "same", "same-1"]);
    }

    #[test]
    fn reads_links() {
        let link = |path: &str, anchor: Option<&str>| Link { path: path.into(), anchor: anchor.map(str::to_owned) };
        let parse = |target| Link::parse(Path::new("docs/a.md"), target);
        assert_eq!(parse("b.md"), Some(link("docs/b.md", None)));
        assert_eq!(parse("../SECURITY.md#x"), Some(link("SECURITY.md", Some("x"))));
        assert_eq!(parse("#y"), Some(link("docs/a.md", Some("y"))));
        assert_eq!(parse("https://example.com"), None);
        assert_eq!(targets(&events("[a](b.md) ![c](d.svg) <https://e.f>")), ["b.md", "d.svg", "https://e.f"]);
    }
}
