//! The files of an OCI image layout: `oci-layout` and `index.json` (image-spec, image-layout.md). Keeps entries and
//! annotations of other tools unchanged, and mends files that are damaged.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::disk::{self, read_small, rename, replace, sync_folders};
use super::index::{self, ImageEntry, Piece};
use super::lock::{self, LockWait};
use super::owner::check_owner;
use crate::advice::Advice;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::oci::media_type::OCI_INDEX;
use crate::progress::Event;

const VERSION: &str = "1.0.0";
const INDEX: &str = "index.json";
const LAYOUT: &str = "oci-layout";
const INDEX_LIMIT: usize = 16 << 20;
/// The most images that one call lists. Each takes about half a kilobyte of memory.
const IMAGE_LIMIT: usize = 20_000;

#[derive(Deserialize)]
struct LayoutFile {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

/// Writes the two files if they are missing, and mends them if their text is damaged. Fails for a layout of another
/// version.
pub(super) fn create(root: &Path, wait: LockWait<'_>) -> Result<()> {
    let _held = lock::index(root, wait)?;
    let path = root.join(LAYOUT);
    match read_small(&path, INDEX_LIMIT)? {
        Some(text) if parse_version(&text).is_ok() => check_version(&path, &text)?,
        damaged => {
            if let Some(text) = damaged {
                set_aside(&path, &text, wait)?;
            }
            replace(&path, json!({ "imageLayoutVersion": VERSION }).to_string().as_bytes())?;
        }
    }
    let path = root.join(INDEX);
    match read_small(&path, INDEX_LIMIT)? {
        Some(text) if index::read(&text, &mut |_| {}).is_ok() => Ok(()),
        Some(text) => {
            let rebuilt = rebuild(root, &text);
            sync_folders(root)?;
            set_aside(&path, &text, wait)?;
            replace(&path, rebuilt.as_bytes())
        }
        None => replace(&path, index_of(&[]).as_bytes()),
    }
}

/// Removes what is in the place of a file and is not a file, sets an index aside that is too large, and mends the two files.
/// Changes nothing where there is no store.
pub(super) fn mend(root: &Path, wait: LockWait<'_>) -> Result<()> {
    let has = |name: &str| fs::symlink_metadata(root.join(name)).is_ok();
    if ![INDEX, LAYOUT, "blobs"].into_iter().any(has) {
        return Ok(());
    }
    check_owner(root)?;
    for path in lock::files(root).into_iter().chain(disk::files(&root.join("ingest"))?) {
        if !is_usable(&path, u64::MAX)? {
            disk::remove(&path)?;
        }
    }
    for path in [root.join(LAYOUT), root.join(INDEX)] {
        if !is_usable(&path, INDEX_LIMIT as u64)? {
            move_aside(&path, wait)?;
        }
    }
    create(root, wait)
}

/// Returns true if there is an index.
pub(super) fn exists(root: &Path) -> Result<bool> {
    let path = root.join(INDEX);
    path.try_exists().map_err(|e| Error::disk("read", &path, e))
}

/// The entries that `keep` accepts, in order. Skips those whose descriptor is malformed.
pub(super) fn entries(root: &Path, keep: &dyn Fn(&ImageEntry) -> bool) -> Result<Vec<ImageEntry>> {
    let mut entries = Vec::new();
    let mut is_exceeded = false;
    visit(root, &mut |entry| {
        if let Some(entry) = entry.filter(keep) {
            is_exceeded |= entries.len() == IMAGE_LIMIT;
            if !is_exceeded {
                entries.push(entry);
            }
        }
    })?;
    if is_exceeded {
        return Err(Limits::exceeded("images", IMAGE_LIMIT).context(root.join(INDEX).display()));
    }
    Ok(entries)
}

/// Calls `visit` for each entry, in order; with `None` for one whose descriptor is malformed.
pub(super) fn visit(root: &Path, visit: &mut dyn FnMut(Option<ImageEntry>)) -> Result<()> {
    check_owner(root)?;
    let layout = root.join(LAYOUT);
    if let Some(text) = read_small(&layout, INDEX_LIMIT)? {
        check_version(&layout, &text)?;
    }
    let path = root.join(INDEX);
    let Some(text) = read_small(&path, INDEX_LIMIT)? else { return Ok(()) };
    let read = index::read(&text, &mut |piece| {
        if let Piece::Entry(text) = piece {
            visit(index::parse_entry(text));
        }
    });
    read.map_err(|e| malformed(&path, &e))
}

/// Puts `entries` into the index and removes the other entries of their names. Syncs the folders of the
/// blobs first, because an earlier run may have been killed after renaming a blob and before syncing its folder.
pub(super) fn name(root: &Path, entries: &[ImageEntry], wait: LockWait<'_>) -> Result<()> {
    sync_folders(root)?;
    let _held = lock::index(root, wait)?;
    let path = root.join(INDEX);
    let text = read_small(&path, INDEX_LIMIT)?.unwrap_or_else(|| index_of(&[]).into_bytes());
    replace(&path, &index::with_entries(&text, entries).map_err(|e| malformed(&path, &e))?)
}

/// Removes the entries that `is_unwanted` accepts from the index. Keeps those whose descriptor is malformed. Syncs all folders
/// first, also if no entry goes: a run that was killed may have replaced the index and not synced its folder, and blobs that
/// only the old index needs may be removed next.
pub(super) fn unname(root: &Path, is_unwanted: &dyn Fn(&ImageEntry) -> bool, wait: LockWait<'_>) -> Result<()> {
    sync_folders(root)?;
    let _held = lock::index(root, wait)?;
    let path = root.join(INDEX);
    let Some(text) = read_small(&path, INDEX_LIMIT)? else { return Ok(()) };
    let mut is_changed = false;
    let mut keep = |entry: &str| {
        let is_kept = !index::parse_entry(entry).is_some_and(|entry| is_unwanted(&entry));
        is_changed |= !is_kept;
        is_kept
    };
    let edited = index::edited(&text, &mut keep, &[]).map_err(|e| malformed(&path, &e))?;
    if is_changed { replace(&path, &edited) } else { Ok(()) }
}

/// The text of an index with the entries before the damage whose manifest is in the store and has its digest.
fn rebuild(root: &Path, damaged: &[u8]) -> String {
    let mut entries: Vec<String> = Vec::new();
    let read = index::read(damaged, &mut |piece| {
        let Piece::Entry(text) = piece else { return };
        let is_proven =
            |entry: &ImageEntry| disk::read_document(root, &entry.manifest, Limits::default().document).is_ok();
        if index::parse_entry(text).is_some_and(|entry| is_proven(&entry)) {
            entries.push(text.to_owned());
        }
    });
    // It is known to be damaged.
    drop(read);
    index_of(&entries)
}

fn index_of(entries: &[String]) -> String {
    format!("{{\"schemaVersion\":2,\"mediaType\":\"{OCI_INDEX}\",\"manifests\":[{}]}}", entries.join(","))
}

/// Keeps a copy of a damaged file, before it is replaced.
fn set_aside(path: &Path, text: &[u8], wait: LockWait<'_>) -> Result<()> {
    replace(&damaged_path(path), text)?;
    report_set_aside(path, wait);
    Ok(())
}

/// Renames a damaged file or folder. A link, FIFO or device is removed, because it has no content to keep, and a confined
/// process may not create one, not even by renaming it.
fn move_aside(path: &Path, wait: LockWait<'_>) -> Result<()> {
    let kind = fs::symlink_metadata(path).map_err(|e| Error::disk("read", path, e))?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        wait.progress.report(Event::Warning(&format!("{} is not a file: replacing it", path.display())));
        return disk::remove(path);
    }
    let aside = damaged_path(path);
    disk::remove(&aside)?;
    rename(path, &aside)?;
    report_set_aside(path, wait);
    Ok(())
}

fn report_set_aside(path: &Path, wait: LockWait<'_>) {
    let (path, aside) = (path.display(), damaged_path(path));
    let text = format!("{path} is damaged: rebuilding it from what is good; the old file is {}", aside.display());
    wait.progress.report(Event::Warning(&text));
}

fn damaged_path(path: &Path) -> PathBuf {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    PathBuf::from(aside)
}

/// Returns true if a path is a regular file of at most this size, or does not exist.
fn is_usable(path: &Path, limit: u64) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.is_file() && metadata.len() <= limit),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(Error::disk("read", path, e)),
    }
}

fn check_version(path: &Path, text: &[u8]) -> Result<()> {
    let version = parse_version(text).map_err(|e| malformed(path, &e))?;
    if version != VERSION {
        let text = format!("{}: image layout version \"{version}\" is not supported", path.display());
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    Ok(())
}

fn parse_version(text: &[u8]) -> serde_json::Result<String> {
    serde_json::from_slice(text).map(|LayoutFile { version }| version)
}

fn malformed(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Disk, format!("read {}: {why}", path.display())).with_advice(Advice::MendStore)
}
