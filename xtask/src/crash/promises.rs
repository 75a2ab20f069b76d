//! Checks the trace of a run without a fault against the rules. A fault cannot show a missing fsync, because a process
//! that is killed does not lose the disk's cache; the order of the calls can.
//!
//! The check keeps a list of the files that changed since they were last synced, and one of the names that were created
//! since their folder was last synced. It assumes that the names in the start state are not on the disk either, because
//! an earlier run may have been killed right after it created them.

use std::collections::BTreeMap;

use super::events::Event;
use super::rules::{
    CREATIONS, Creation, FINALS, Final, Kind, LINKS, Later, Mode, REMOVALS, is_below_staging, is_staging, matches,
};
use crate::Result;

/// The number of an event that was before the run.
const BEFORE: usize = 0;

/// Checks the events of a run below a folder, which had these paths at the start. Each violation is a line of the
/// error.
pub fn check(events: &[Event], folder: &str, start: &[String]) -> Result {
    let names = start.iter().map(|path| (path.clone(), Unsynced { line: BEFORE, is_needed: false })).collect();
    let mut disk = Disk { names, ..Disk::default() };
    for moment in moments(events) {
        let Some(operation) = operation(moment.event, folder)? else { continue };
        disk.see(&moment, &operation);
    }
    disk.end();
    if disk.violations.is_empty() { Ok(()) } else { Err(disk.violations.join("\n")) }
}

/// The begin or the return of a call. Calls of several threads overlap.
struct Moment<'a> {
    event: &'a Event,
    is_end: bool,
}

fn moments(events: &[Event]) -> Vec<Moment<'_>> {
    let mut moments = Vec::new();
    for event in events.iter().filter(|event| event.has_succeeded()) {
        moments.push((event.begin, 0, Moment { event, is_end: false }));
        moments.push((event.end, 1, Moment { event, is_end: true }));
    }
    moments.sort_by_key(|(line, order, _)| (*line, *order));
    moments.into_iter().map(|(_, _, moment)| moment).collect()
}

/// What a call does. Paths are relative to the folder of the run, whose own path is empty.
#[derive(Debug, PartialEq)]
enum Operation {
    Create { path: String, kind: Kind, mode: String },
    Link { path: String },
    Change { path: String },
    ChangeMode { path: String, mode: String },
    Sync { path: String },
    SyncFilesystem { path: String },
    Rename { from: String, to: String },
    Remove { path: String },
}

/// Reads a call. `None` if it changes nothing below the folder.
fn operation(event: &Event, folder: &str) -> Result<Option<Operation>> {
    let relative = |path: &str| {
        let rest = path.strip_prefix(folder)?;
        if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('/').map(str::to_owned) }
    };
    let descriptor = |index| event.descriptor(index).and_then(relative);
    let path = |index| event.path(index).and_then(relative);
    let at = |index| event.path_at(index).as_deref().and_then(relative);
    let mode = |index: usize| event.arguments.get(index).cloned().unwrap_or_default();
    let create = |path: Option<String>, kind, mode| path.map(|path| Operation::Create { path, kind, mode });
    let change = |path: Option<String>| path.map(|path| Operation::Change { path });
    let change_mode = |path: Option<String>, mode| path.map(|path| Operation::ChangeMode { path, mode });
    let rename = |from: Option<String>, to: Option<String>| match (from, to) {
        (None, None) => Ok(None),
        (Some(from), Some(to)) => Ok(Some(Operation::Rename { from, to })),
        _ => Err(format!("a rename into or out of the folder of the run: {}", event.line)),
    };
    let is_creation = event.line.contains("O_CREAT") || event.line.contains("O_TMPFILE");
    Ok(match event.name.as_str() {
        "open" | "openat" | "openat2" if !is_creation => None,
        "open" => create(path(0), Kind::File, mode(2)),
        "openat" => create(at(0), Kind::File, mode(3)),
        "mkdir" => create(path(0), Kind::Folder, mode(1)),
        "mkdirat" => create(at(0), Kind::Folder, mode(2)),
        "mknodat" => create(at(0), Kind::Device, mode(2)),
        "symlink" => path(1).map(|path| Operation::Link { path }),
        "symlinkat" => at(1).map(|path| Operation::Link { path }),
        "link" => path(1).map(|path| Operation::Link { path }),
        "linkat" => at(2).map(|path| Operation::Link { path }),
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" | "sendfile" => change(descriptor(0)),
        "ftruncate" | "fallocate" | "fchown" | "fsetxattr" | "fremovexattr" => change(descriptor(0)),
        "copy_file_range" | "splice" => change(descriptor(2)),
        "truncate" | "chown" | "lchown" | "utimes" | "utime" => change(path(0)),
        "setxattr" | "lsetxattr" | "removexattr" | "lremovexattr" => change(path(0)),
        "fchownat" | "utimensat" | "futimesat" => change(at(0)),
        "chmod" => change_mode(path(0), mode(1)),
        "fchmod" => change_mode(descriptor(0), mode(1)),
        "fchmodat" | "fchmodat2" => change_mode(at(0), mode(2)),
        "fsync" | "fdatasync" => descriptor(0).map(|path| Operation::Sync { path }),
        // It only begins the writing.
        "sync_file_range" => None,
        "syncfs" => descriptor(0).map(|path| Operation::SyncFilesystem { path }),
        "rename" => rename(path(0), path(1))?,
        "renameat" | "renameat2" => rename(at(0), at(2))?,
        "unlink" | "rmdir" => path(0).map(|path| Operation::Remove { path }),
        "unlinkat" => at(0).map(|path| Operation::Remove { path }),
        _ if event.first_path(folder).is_none() => None,
        name => return Err(format!("the check of the trace does not know {name}: {}", event.line)),
    })
}

/// A name or a change that is not on the disk yet.
#[derive(Clone, Copy, Debug)]
struct Unsynced {
    line: usize,
    /// Whether it must be on the disk when the run ends.
    is_needed: bool,
}

#[derive(Default)]
struct Disk {
    /// The files and folders whose content or metadata changed since they were last synced, by path.
    files: BTreeMap<String, Unsynced>,
    /// The names that were created since their folder was last synced, by path.
    names: BTreeMap<String, Unsynced>,
    violations: Vec<String>,
}

impl Disk {
    /// A rule must hold when a call begins. A change may happen at any moment of its call, so it counts at the end too.
    /// A sync covers what was complete when it began.
    fn see(&mut self, moment: &Moment<'_>, operation: &Operation) {
        let Moment { event, is_end } = *moment;
        let line = if is_end { event.end } else { event.begin } + 1;
        match operation {
            Operation::Create { path, kind, mode } => {
                if is_end {
                    self.check_creation(event, path, *kind, mode);
                    let is_needed = *kind == Kind::Folder && !is_below_staging(path) && !is_staging(path);
                    self.names.insert(path.clone(), Unsynced { line, is_needed });
                }
            }
            Operation::Link { path } => {
                let is_expected = LINKS.iter().any(|pattern| matches(pattern, path));
                if !is_end && !is_expected && !is_below_staging(path) && !is_staging(path) {
                    self.complain(event, "a link outside of a tree");
                }
                self.names.insert(path.clone(), Unsynced { line, is_needed: false });
            }
            Operation::Change { path } => {
                if !is_end {
                    self.check_change(event, path);
                }
                self.files.insert(path.clone(), Unsynced { line, is_needed: false });
            }
            Operation::ChangeMode { path, mode } => {
                if !is_end {
                    self.check_change(event, path);
                    self.check_mode(event, path, mode);
                }
                self.files.insert(path.clone(), Unsynced { line, is_needed: false });
            }
            Operation::Sync { path } if is_end => {
                let begin = event.begin + 1;
                self.files.retain(|file, unsynced| file != path || unsynced.line > begin);
                self.names.retain(|name, unsynced| parent(name) != path || unsynced.line > begin);
            }
            Operation::SyncFilesystem { path } if is_end => {
                // The store and the targets may be on two filesystems.
                let (top, begin) = (top(path), event.begin + 1);
                self.files.retain(|file, unsynced| self::top(file) != top || unsynced.line > begin);
                self.names.retain(|name, unsynced| self::top(name) != top || unsynced.line > begin);
            }
            Operation::Sync { .. } | Operation::SyncFilesystem { .. } => {}
            Operation::Rename { from, to } if is_end => self.rename(from, to, line),
            Operation::Rename { from, to } => self.check_rename(event, from, to),
            Operation::Remove { path } => {
                if is_end {
                    self.names.retain(|name, _| !is_at_or_below(name, path));
                    self.files.retain(|file, _| !is_at_or_below(file, path));
                } else {
                    self.check_removal(event, path);
                }
            }
        }
    }

    fn check_creation(&mut self, event: &Event, path: &str, kind: Kind, mode: &str) {
        let rule = CREATIONS.iter().find(|rule| rule.kind == kind && matches(rule.path, path));
        let Some(Creation { mode: expected, flags, .. }) = rule else {
            return self.complain(event, "no rule for its creation");
        };
        let is_right = octal(mode).is_some_and(|mode| match expected {
            Mode::Exactly(bits) => mode == *bits,
            Mode::Within(bits) => mode & !bits == 0,
        });
        if !is_right {
            self.complain(event, "created with a wrong mode");
        }
        if let Some(flag) = flags.iter().find(|flag| !event.line.contains(**flag)) {
            self.complain(event, &format!("created without {flag}"));
        }
    }

    fn check_mode(&mut self, event: &Event, path: &str, mode: &str) {
        let mut rules = CREATIONS.iter().filter(|rule| matches(rule.path, path)).peekable();
        if rules.peek().is_none() {
            return self.complain(event, "no rule for its mode");
        }
        let is_right = |rule: &Creation| match rule.later {
            Later::Only(modes) => octal(mode).is_some_and(|mode| modes.contains(&mode)),
            Later::Any => true,
        };
        if !rules.any(is_right) {
            self.complain(event, "changed to a wrong mode");
        }
    }

    fn check_change(&mut self, event: &Event, path: &str) {
        if FINALS.iter().any(|rule| is_at_or_below_pattern(rule.path, path)) {
            self.complain(event, "changed after it got its name");
        }
    }

    fn check_rename(&mut self, event: &Event, from: &str, to: &str) {
        if is_below_staging(to) || is_staging(to) {
            return;
        }
        let Some(Final { needs, .. }) = FINALS.iter().find(|rule| matches(rule.path, to)) else {
            return self.complain(event, "no rule for this name");
        };
        let unsynced_file = self.files.keys().find(|file| is_at_or_below(file, from)).cloned();
        if let Some(file) = unsynced_file {
            self.complain(event, &format!("{file} is not synced before it gets its name"));
        }
        let unsynced_name = self.names.keys().find(|name| name.as_str() != from && is_at_or_below(name, from)).cloned();
        if let Some(name) = unsynced_name {
            self.complain(event, &format!("the folder of {name} is not synced before its tree gets its name"));
        }
        self.check_needs(event, needs);
    }

    fn check_removal(&mut self, event: &Event, path: &str) {
        if let Some(rule) = REMOVALS.iter().find(|rule| matches(rule.path, path)) {
            self.check_needs(event, rule.needs);
        }
    }

    /// Checks that these names are on the disk.
    fn check_needs(&mut self, event: &Event, needs: &[&str]) {
        let is_needed = |name: &&String| needs.iter().any(|need| matches(need, name));
        if let Some(name) = self.names.keys().find(is_needed).cloned() {
            self.complain(event, &format!("the folder of {name} is not synced before"));
        }
    }

    /// Moves what is known of a file or tree to its new name.
    fn rename(&mut self, from: &str, to: &str, line: usize) {
        for map in [&mut self.files, &mut self.names] {
            let moved: Vec<String> = map.keys().filter(|path| is_at_or_below(path, from)).cloned().collect();
            for path in moved {
                if let Some(unsynced) = map.remove(&path) {
                    map.insert(format!("{to}{}", &path[from.len()..]), unsynced);
                }
            }
        }
        self.names.insert(to.to_owned(), Unsynced { line, is_needed: !is_below_staging(to) && !is_staging(to) });
    }

    fn end(&mut self) {
        for (name, unsynced) in &self.names {
            if unsynced.is_needed {
                self.violations.push(format!("the folder of {name} is not synced after it got the name"));
            }
        }
    }

    fn complain(&mut self, event: &Event, what: &str) {
        self.violations.push(format!("{what}: {}", event.line));
    }
}

fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_at_or_below_pattern(pattern: &str, path: &str) -> bool {
    matches(pattern, path) || matches(&format!("{pattern}/**"), path)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn top(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// The bits of a mode, such as `0700`, `0100644` or `S_IFCHR|0600`, without those of the file type.
fn octal(text: &str) -> Option<u32> {
    let mode = u32::from_str_radix(text.rsplit('|').next()?, 8).ok()?;
    Some(mode & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::super::events;
    use super::*;

    /// Replaces a file of the store as it should be.
    const REPLACE: &str = "openat(AT_FDCWD</>, \"/r/store/index.json.new\", O_CREAT|O_EXCL|O_NOFOLLOW, 0644) = 3<>\n\
                           write(3</r/store/index.json.new>, \"x\", 1) = 1\n\
                           fsync(3</r/store/index.json.new>) = 0\n\
                           rename(\"/r/store/index.json.new\", \"/r/store/index.json\") = 0\n\
                           fsync(4</r/store>) = 0\n";
    /// Makes a tree of one file.
    const TREE: &str = "mkdirat(3</r/targets>, \".root.pullet\", 0700) = 0\n\
                        mkdirat(4</r/targets/.root.pullet>, \"root\", 0700) = 0\n\
                        fchmod(5</r/targets/.root.pullet/root>, 0755) = 0\n\
                        openat(5</r/targets/.root.pullet/root>, \"a\", O_CREAT|O_EXCL|O_NOFOLLOW, 0644) = 6<>\n\
                        syncfs(4</r/targets/.root.pullet>) = 0\n\
                        renameat(4</r/targets/.root.pullet>, \"root\", 3</r/targets>, \"root\") = 0\n\
                        fsync(3</r/targets>) = 0\n";

    fn check_log(log: &str, start: &[&str]) -> Result {
        let log: String = log.lines().map(|line| format!("7 {line}\n")).collect();
        let start: Vec<String> = start.iter().map(|path| (*path).to_owned()).collect();
        check(&events::read(&log), "/r", &start)
    }

    /// Checks that a log is as promised, and that it is not without each of these calls, or with another text in it.
    fn check_all(log: &str, needed: &[&str], wrong: &[(&str, &str)]) {
        assert_eq!(check_log(log, &[]), Ok(()));
        for call in needed {
            let rest: String =
                log.lines().filter(|line| !line.starts_with(call)).map(|line| format!("{line}\n")).collect();
            assert!(check_log(&rest, &[]).is_err(), "without {call}");
        }
        for (old, new) in wrong {
            assert!(log.contains(old), "{old}");
            assert!(check_log(&log.replacen(old, new, 1), &[]).is_err(), "{old}: {new}");
        }
    }

    #[test]
    fn a_file_is_synced_before_its_name_and_its_folder_after_it() {
        let wrong = [
            ("0644", "0666"),
            ("O_EXCL", "O_TRUNC"),
            ("index.json.new", "other"),
            ("\"/r/store/index.json\"", "\"/r/x\""),
        ];
        check_all(REPLACE, &["fsync(3", "fsync(4"], &wrong);
    }

    #[test]
    fn a_tree_is_synced_before_its_name_and_created_privately() {
        let wrong =
            [("0700", "0755"), ("\"root\", 0700", "\"root\", 0755"), ("O_NOFOLLOW", "O_TRUNC"), ("0644", "04755")];
        check_all(TREE, &["syncfs", "fsync"], &wrong);
        let changed_mode = TREE.replace("fchmod(5</r/targets/.root.pullet/root>", "fchmod(5</r/targets/.root.pullet>");
        assert!(check_log(&changed_mode, &[]).is_err());
    }

    #[test]
    fn names_of_an_earlier_run_are_synced_before_the_index() {
        let start = ["store", "store/blobs", "store/blobs/sha256", "store/blobs/sha256/ab"];
        let (blobs, sha256) =
            ("fsync(5</r/store>) = 0\nfsync(5</r/store/blobs>) = 0\n", "fsync(5</r/store/blobs/sha256>) = 0\n");
        assert_eq!(check_log(&format!("{blobs}{sha256}{REPLACE}"), &start), Ok(()));
        assert!(check_log(&format!("{blobs}{REPLACE}"), &start).is_err());
        assert!(check_log(&format!("{sha256}{REPLACE}"), &start).is_err());
    }

    #[test]
    fn a_sync_does_not_cover_what_happens_during_it() {
        let sync = "7 fsync(3</r/store/index.json.new>";
        let log: String = REPLACE.lines().map(|line| format!("7 {line}\n")).collect();
        let write = "8 write(3</r/store/index.json.new>, \"y\", 1) = 1\n";
        let before = log.replace(sync, &format!("{write}{sync}"));
        assert_eq!(check(&events::read(&before), "/r", &[]), Ok(()));
        let during = format!("{sync} <unfinished ...>\n{write}7 <... fsync resumed>");
        assert!(check(&events::read(&log.replace(sync, &during)), "/r", &[]).is_err());
    }

    #[test]
    fn nothing_changes_after_it_got_its_name() {
        assert!(check_log(&format!("{REPLACE}write(3</r/store/index.json>, \"x\", 1) = 1\n"), &[]).is_err());
        assert!(check_log(&format!("{TREE}utimensat(5</r/targets/root>, \"a\", NULL, 0) = 0\n"), &[]).is_err());
        assert!(check_log("unknown(\"/r/store\") = 0\n", &[]).is_err());
    }
}
