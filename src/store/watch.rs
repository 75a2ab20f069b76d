//! The record of a watch: the digest that was handled last, the one that is being handled, and those that failed. One small
//! JSON document, which is replaced atomically, so that a watch may be killed at any time.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::disk::{create_folder, create_private_folder, open_private, read_small, replace};
use super::owner::{check_file, check_owner};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::reference::Reference;
use crate::progress::{Event, Progress};

/// The folder in the store with the records of watches.
const FOLDER: &str = "watch";
/// The most bytes of a record.
const RECORD_LIMIT: usize = 64 << 10;
/// The most digests that failed. A new one replaces the oldest.
const FAILED_LIMIT: usize = 32;
/// How often the handling of one digest is begun without an end, before it counts as failed: it may be what kills this
/// machine each time.
const STARTS_LIMIT: u64 = 10;

/// The record of one watch, locked against other processes.
#[derive(Debug)]
pub(crate) struct WatchRecord {
    path: PathBuf,
    _lock: File,
    /// The full name that is watched.
    name: String,
    pub(crate) handled: Option<Digest>,
    /// The digest whose handling was begun and has not ended.
    running: Option<Digest>,
    /// How often it was begun.
    starts: u64,
    /// The oldest first.
    failed: Vec<Digest>,
}

/// The file in the store at `root` for the record of a watch of `name`.
pub(super) fn file(root: &Path, name: &Reference) -> PathBuf {
    let digest = Digest::sha256(name.to_string().as_bytes()).to_string();
    let hex = digest.rsplit(':').next().unwrap_or_default();
    root.join(FOLDER).join(format!("{hex}.json"))
}

impl WatchRecord {
    /// Reads the record, or begins one. One that is damaged is reported, and begun again. Fails with [`ErrorKind::Usage`] if it
    /// is of another name, and with [`ErrorKind::Disk`] if another process uses it.
    pub(crate) fn open(path: &Path, is_in_store: bool, name: &Reference, progress: &dyn Progress) -> Result<Self> {
        let path = &std::path::absolute(path).map_err(|e| Error::disk("find", path, e))?;
        if is_in_store && let Some(folder) = path.parent() {
            let root = folder.parent().unwrap_or(folder);
            create_folder(root)?;
            check_owner(root)?;
            create_private_folder(folder)?;
        }
        let lock = lock(path)?;
        let mut record = Self {
            path: path.to_owned(),
            _lock: lock,
            name: name.to_string(),
            handled: None,
            running: None,
            starts: 0,
            failed: Vec::new(),
        };
        // Another user could suppress an update: by a record that says that it is done, or has failed.
        check_file(path)?;
        let Some(text) = read_small(path, RECORD_LIMIT)? else { return Ok(record) };
        if !record.read(&text) {
            let text = format!("{} is damaged: beginning a new record", path.display());
            progress.report(Event::Warning(&text));
            return Ok(record);
        }
        if record.name != name.to_string() {
            let text = format!("{} is the record of a watch of {}", path.display(), record.name);
            return Err(Error::new(ErrorKind::Usage, text));
        }
        Ok(record)
    }

    pub(crate) fn has_failed(&self, digest: &Digest) -> bool {
        self.failed.contains(digest)
    }

    /// Records that the handling of `digest` begins. Returns false, and records a failure, if it was begun too often without
    /// an end.
    pub(crate) fn begin(&mut self, digest: Digest) -> Result<bool> {
        self.starts = if self.running == Some(digest) { self.starts } else { 0 };
        if self.starts >= STARTS_LIMIT {
            self.fail(digest)?;
            return Ok(false);
        }
        self.starts += 1;
        self.running = Some(digest);
        self.save()?;
        Ok(true)
    }

    /// Records that the handling ended in order, although without success, and that the next one is not another start.
    pub(crate) fn postpone(&mut self) -> Result<()> {
        self.running = None;
        self.save()
    }

    pub(crate) fn succeed(&mut self, digest: Digest) -> Result<()> {
        self.handled = Some(digest);
        self.failed.retain(|failed| *failed != digest);
        self.postpone()
    }

    pub(crate) fn fail(&mut self, digest: Digest) -> Result<()> {
        self.failed.retain(|failed| *failed != digest);
        self.failed.push(digest);
        drop_oldest(&mut self.failed);
        self.postpone()
    }

    fn save(&self) -> Result<()> {
        let mut members = Map::new();
        members.insert("name".to_owned(), self.name.as_str().into());
        if let Some(handled) = &self.handled {
            members.insert("handled".to_owned(), handled.to_string().into());
        }
        if let Some(running) = &self.running {
            members.insert("running".to_owned(), running.to_string().into());
            members.insert("starts".to_owned(), self.starts.into());
        }
        let failed = self.failed.iter().map(|digest| Value::from(digest.to_string())).collect();
        members.insert("failed".to_owned(), Value::Array(failed));
        replace(&self.path, format!("{}\n", Value::Object(members)).as_bytes())
    }

    /// Returns false if `text` is no record.
    fn read(&mut self, text: &[u8]) -> bool {
        self.parse(text).is_some()
    }

    fn parse(&mut self, text: &[u8]) -> Option<()> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let digest = |name: &str| match value.get(name) {
            None => Some(None),
            Some(value) => value.as_str()?.parse::<Digest>().ok().map(Some),
        };
        let name = value.get("name")?.as_str()?;
        let (handled, running) = (digest("handled")?, digest("running")?);
        let mut failed = Vec::new();
        for value in value.get("failed")?.as_array()? {
            failed.push(value.as_str()?.parse::<Digest>().ok()?);
        }
        drop_oldest(&mut failed);
        self.name = name.to_owned();
        (self.handled, self.running, self.failed) = (handled, running, failed);
        self.starts = value.get("starts").and_then(Value::as_u64).unwrap_or(0);
        Some(())
    }
}

/// Keeps the digests that failed last.
fn drop_oldest(failed: &mut Vec<Digest>) {
    let excess = failed.len().saturating_sub(FAILED_LIMIT);
    failed.drain(..excess);
}

/// Locks the record by a file next to it, because the record itself is replaced.
fn lock(path: &Path) -> Result<File> {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let file = open_private(Path::new(&lock))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::new(ErrorKind::Disk, format!("another process watches with {}", path.display())))
        }
        Err(TryLockError::Error(e)) => Err(Error::disk("lock", &lock, e)),
    }
}
