//! Every link in a Markdown file leads somewhere: to a file of the project, and to a heading in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::site::markdown::{Link, anchors, events, targets};
use crate::{Result, disk, shell};

/// The Markdown files of the project, and all paths that git knows.
pub struct Texts {
    texts: BTreeMap<PathBuf, String>,
    paths: Vec<PathBuf>,
}

impl Texts {
    pub fn read(root: &Path) -> Result<Self> {
        let mut git = shell::program("git");
        git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root);
        let paths: Vec<PathBuf> = shell::read(&mut git)?.lines().map(PathBuf::from).collect();
        let is_text = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "md");
        let existing = paths.iter().filter(is_text).filter(|path| root.join(path).exists());
        let texts = existing.map(|path| Ok((path.clone(), disk::read(&root.join(path))?))).collect::<Result<_>>()?;
        Ok(Self { texts, paths })
    }
}

pub fn complaints(texts: &Texts) -> Vec<String> {
    let anchors: BTreeMap<&PathBuf, Vec<String>> =
        texts.texts.iter().map(|(path, text)| (path, anchors(&events(text)))).collect();
    let mut complaints = Vec::new();
    for (from, text) in &texts.texts {
        for target in targets(&events(text)) {
            let Some(Link { path, anchor }) = Link::parse(from, &target) else { continue };
            let exists = texts.paths.iter().any(|known| known.starts_with(&path));
            let has_anchor = match (&anchor, anchors.get(&path)) {
                (None, _) => true,
                (Some(anchor), Some(anchors)) => anchors.contains(anchor),
                (Some(_), None) => false,
            };
            if !exists || !has_anchor {
                complaints.push(format!("{}: the link {target} leads nowhere", from.display()));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_links_that_lead_nowhere() {
        let check = |text: &str, is_right: bool| {
            let texts = [("docs/a.md", text), ("b.md", "# One two\n")].map(|(path, text)| (path.into(), text.into()));
            let paths = ["docs/a.md", "b.md", "c/d"].map(PathBuf::from).to_vec();
            assert_eq!(complaints(&Texts { texts: texts.into(), paths }).is_empty(), is_right, "{text}");
        };
        check("[x](../b.md) [y](../b.md#one-two) [z](../c) [o](https://example.com/b#c)", true);
        check("# Here\n[x](#here)", true);
        check("[x](b.md)", false);
        check("[x](../b.md#two)", false);
        check("[x](../c/d#line)", false);
    }
}
