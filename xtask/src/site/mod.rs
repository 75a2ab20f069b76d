//! `cargo xtask site`: the documentation as a static web site in target/site, made of the same files. It has no scripts.
//!
//! docs/SUMMARY.md has the pages and their order, in the form that mdBook uses.

pub mod markdown;
mod page;
mod summary;

use std::path::{Path, PathBuf};

use crate::{Result, cargo, disk, show};
use summary::Summary;

/// The list of the pages.
const SUMMARY: &str = "docs/SUMMARY.md";

/// A file of the site.
struct Output {
    /// Its path in the site.
    path: PathBuf,
    bytes: Vec<u8>,
}

pub fn run() -> Result {
    let folder = cargo::target()?.join("site");
    disk::fresh(&folder)?;
    let outputs = outputs(&cargo::root())?;
    for Output { path, bytes } in &outputs {
        let path = folder.join(path);
        path.parent().map_or(Ok(()), disk::create_folder)?;
        disk::write(&path, bytes)?;
    }
    println!("{}: {}", cargo::shown(&folder), show::count(outputs.len(), "file"));
    Ok(())
}

/// All files of the site. Fails if a page is not in the list, or a linked file does not exist.
fn outputs(root: &Path) -> Result<Vec<Output>> {
    let summary = Summary::parse(&disk::read(&root.join(SUMMARY))?);
    for path in disk::list(&root.join("docs"))? {
        let name = path.strip_prefix(root).unwrap_or(&path);
        let is_page = name.extension().is_some_and(|extension| extension == "md") && name != Path::new(SUMMARY);
        if is_page && !summary.has(name) {
            return Err(format!("{SUMMARY}: does not list {}", name.display()));
        }
    }
    let mut outputs = vec![Output { path: "style.css".into(), bytes: include_bytes!("style.css").to_vec() }];
    let mut files = Vec::new();
    for entry in summary.entries() {
        let text = disk::read(&root.join(&entry.source))?;
        let html = page::html(&summary, entry, &text, &mut files);
        outputs.push(Output { path: entry.output(), bytes: html.into_bytes() });
    }
    files.sort();
    files.dedup();
    for file in &files {
        add_file(root, file, &mut outputs)?;
    }
    Ok(outputs)
}

/// Adds a file that a page links to; of a folder, its files and a list of them.
fn add_file(root: &Path, file: &Path, outputs: &mut Vec<Output>) -> Result {
    let path = page::file_output(file);
    if !root.join(file).is_dir() {
        outputs.push(Output { path, bytes: disk::read_bytes(&root.join(file))? });
        return Ok(());
    }
    let mut names = Vec::new();
    list(&root.join(file), Path::new(""), &mut names)?;
    for name in &names {
        outputs.push(Output { path: path.join(name), bytes: disk::read_bytes(&root.join(file).join(name))? });
    }
    outputs.push(Output { path: path.join("index.html"), bytes: page::folder_html(file, &names).into_bytes() });
    Ok(())
}

fn list(folder: &Path, below: &Path, names: &mut Vec<PathBuf>) -> Result {
    for path in disk::list(folder)? {
        let name = below.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            list(&path, &name, names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_of_the_site_leads_nowhere() {
        let outputs = outputs(&cargo::root()).unwrap();
        let paths: Vec<String> = outputs.iter().map(|output| output.path.display().to_string()).collect();
        assert!(paths.contains(&"index.html".to_owned()) && paths.len() > 30);
        for Output { path, bytes } in
            outputs.iter().filter(|output| output.path.extension().is_some_and(|name| name == "html"))
        {
            let html = String::from_utf8_lossy(bytes);
            let links = html.split(" href=\"").skip(1).chain(html.split(" src=\"").skip(1));
            for link in links.filter_map(|rest| rest.split('"').next()) {
                let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
                let file = if file.is_empty() { path.file_name().unwrap() } else { file.as_ref() };
                let file = path.parent().unwrap().join(file);
                let target = outputs.iter().find(|output| output.path == file);
                let is_right = link.contains("://")
                    || target.is_some_and(|target| {
                        let text = String::from_utf8_lossy(&target.bytes);
                        anchor.is_empty() || text.contains(&format!("id=\"{anchor}\""))
                    });
                assert!(is_right, "{}: {link}", path.display());
            }
        }
    }
}
