//! One page: the navigation, and the text with its links, tables and commands made ready for the web.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, CowStr, Event, Tag, TagEnd, html as writer};

use super::markdown::{Link, events};
use super::summary::{Entry, Summary};
use crate::cargo;

/// The HTML of a page. Adds the files of the project to which it links and that are no pages.
pub fn html(summary: &Summary, entry: &Entry, text: &str, files: &mut Vec<PathBuf>) -> String {
    let mut body = String::new();
    writer::push_html(&mut body, Body { summary, entry, files }.events(text).into_iter());
    let title = escaped(&entry.title);
    let is_front = entry.output() == Path::new("index.html");
    let title =
        if is_front { "pullet: docker pull for small machines".to_owned() } else { format!("{title} · pullet") };
    let navigation = navigation(summary, entry);
    let footer = footer(summary, entry);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <link rel=\"stylesheet\" href=\"style.css\">\n</head>\n<body>\n{navigation}<main>\n{body}{footer}</main>\n</body>\n</html>\n"
    )
}

/// The path in the site of a file that is no page.
pub fn file_output(file: &Path) -> PathBuf {
    file.strip_prefix("docs").map_or_else(|_| Path::new("files").join(file), Path::to_owned)
}

/// A page that lists the files of a folder of the project.
pub fn folder_html(folder: &Path, files: &[PathBuf]) -> String {
    let mut text =
        format!("<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>{0}</title>\n<h1>{0}</h1>\n", folder.display());
    for file in files {
        let _ = writeln!(text, "<p><a href=\"{0}\">{0}</a></p>", file.display());
    }
    text
}

/// The list of all pages. On a narrow screen it is closed until the reader opens it.
fn navigation(summary: &Summary, current: &Entry) -> String {
    let mut text = "<nav>\n<input type=\"checkbox\" id=\"menu\"><label for=\"menu\">Menu</label>\n".to_owned();
    text += "<a class=\"home\" href=\"index.html\">pullet</a>\n<div class=\"pages\">\n";
    for part in &summary.parts[1..] {
        let _ = write!(text, "<h2>{}</h2>\n<ul>\n", escaped(&part.title));
        for entry in &part.entries {
            let mark = if entry == current { " aria-current=\"page\"" } else { "" };
            let _ =
                writeln!(text, "<li><a href=\"{}\"{mark}>{}</a></li>", entry.output().display(), escaped(&entry.title));
        }
        text += "</ul>\n";
    }
    text + "</div>\n</nav>\n"
}

fn footer(summary: &Summary, entry: &Entry) -> String {
    let (before, after) = summary.neighbours(entry);
    let link = |entry: &Entry, arrow: &str| {
        format!("<a href=\"{}\">{}</a>", entry.output().display(), arrow.replace("…", &escaped(&entry.title)))
    };
    let before = before.map_or_else(|| "<span></span>".to_owned(), |entry| link(entry, "← …"));
    let after = after.map_or_else(String::new, |entry| link(entry, "… →"));
    format!("<footer>{before}{after}</footer>\n")
}

struct Body<'a> {
    summary: &'a Summary,
    entry: &'a Entry,
    files: &'a mut Vec<PathBuf>,
}

impl Body<'_> {
    fn events<'t>(mut self, text: &'t str) -> Vec<Event<'t>> {
        let mut body = Vec::new();
        let mut events = events(text).into_iter();
        while let Some(event) = events.next() {
            match event {
                Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                    let dest_url = self.target(&dest_url);
                    body.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
                }
                Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
                    let dest_url = self.target(&dest_url);
                    body.push(Event::Start(Tag::Image { link_type, dest_url, title, id }));
                }
                // A wide table gets its own scroll bar.
                Event::Start(Tag::Table(alignment)) => {
                    body.push(Event::Html("<div class=\"table\">".into()));
                    body.push(Event::Start(Tag::Table(alignment)));
                }
                Event::End(TagEnd::Table) => body.extend([Event::End(TagEnd::Table), Event::Html("</div>\n".into())]),
                Event::Html(comment) => body.extend(caption(&comment)),
                Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) if *language == *"console" => {
                    let inside = events.by_ref().take_while(|event| !matches!(event, Event::End(TagEnd::CodeBlock)));
                    let text: String = inside.filter_map(text_of).collect();
                    body.push(Event::Html(session(&text).into()));
                }
                other => body.push(other),
            }
        }
        body
    }

    /// The target of a link, as the site has it.
    fn target(&mut self, target: &str) -> CowStr<'static> {
        let Some(Link { path, anchor }) = Link::parse(&self.entry.source, target) else {
            return target.to_owned().into();
        };
        let anchor = anchor.map_or_else(String::new, |anchor| format!("#{anchor}"));
        if let Some(entry) = self.summary.find(&path) {
            let same = if *entry == *self.entry && !anchor.is_empty() {
                String::new()
            } else {
                entry.output().display().to_string()
            };
            return format!("{same}{anchor}").into();
        }
        let output = file_output(&path);
        let is_folder = cargo::root().join(&path).is_dir();
        self.files.push(path);
        let output = if is_folder { output.join("index.html") } else { output };
        output.display().to_string().into()
    }
}

fn text_of(event: Event) -> Option<String> {
    match event {
        Event::Text(text) => Some(text.into_string()),
        _ => None,
    }
}

/// The name of a file whose content follows. Other comments are for the tests.
fn caption(comment: &str) -> Option<Event<'static>> {
    let path = comment.trim().strip_prefix("<!-- file: ")?.strip_suffix(" -->")?;
    Some(Event::Html(format!("<p class=\"file\">{}</p>\n", escaped(path)).into()))
}

/// A session of a terminal, in which the commands stand out from their output.
fn session(text: &str) -> String {
    let mut html = "<pre class=\"session\"><code>".to_owned();
    for line in text.lines() {
        let line = escaped(line);
        let _ = match ["$ ", "# ", "&gt; "].iter().find(|prompt| line.starts_with(**prompt)) {
            Some(prompt) => writeln!(html, "<i>{prompt}</i><b>{}</b>", &line[prompt.len()..]),
            None => writeln!(html, "{line}"),
        };
    }
    html + "</code></pre>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_a_page() {
        let summary = Summary::parse("[Front](../README.md)\n\n## Part\n\n- [A](a.md)\n");
        let text = "# A\n\n[f](../README.md#x) [l](../LICENSE)\n\n<!-- file: /etc/b -->\n```toml\nb\n```\n\n```console\n$ c <d\ne\n```\n";
        let mut files = Vec::new();
        let html = html(&summary, &summary.parts[1].entries[0], text, &mut files);
        for expected in [
            "<title>A · pullet</title>",
            "<h1 id=\"a\">A</h1>",
            "<a href=\"index.html#x\">f</a> <a href=\"files/LICENSE\">l</a>",
            "<p class=\"file\">/etc/b</p>",
            "<i>$ </i><b>c &lt;d</b>\ne\n",
            "<a href=\"a.html\" aria-current=\"page\">A</a>",
        ] {
            assert!(html.contains(expected), "{expected}\n{html}");
        }
        assert_eq!(files, [PathBuf::from("LICENSE")]);
    }
}
