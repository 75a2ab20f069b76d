//! Looks up the user of an image in its own `/etc/passwd` and `/etc/group`, by the rules of runc and umoci. A line that is
//! malformed is skipped; they read a bad number as 0, which is root.

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{read_capped, within};
use crate::oci::runtime::ProcessUser;
use crate::unpack::Root;

/// The maximum size of each of the two files in bytes.
const FILE_LIMIT: usize = 1 << 20;
/// The largest user or group ID that runc accepts.
const ID_LIMIT: u32 = i32::MAX as u32;

/// One line of `/etc/passwd`.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// One line of `/etc/group`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    /// The names of its users, with commas between them.
    members: &'a str,
}

/// Finds the user `USER[:GROUP]` in the tree at `root`. An empty text means user 0. Numbers need no line in the files,
/// names do.
pub(super) fn find_user(root: &Root, spec: &str) -> Result<ProcessUser> {
    let (passwd, group) = (read_lines(root, b"etc/passwd")?, read_lines(root, b"etc/group")?);
    resolve(spec, &passwd, &group)
}

/// Reads a file of the tree, which may be missing.
fn read_lines(root: &Root, path: &[u8]) -> Result<String> {
    let Some(file) = root.open_file(path)? else { return Ok(String::new()) };
    let name = String::from_utf8_lossy(path);
    let bytes = read_capped(file, FILE_LIMIT).map_err(|e| Error::disk("read", name.as_ref(), e))?;
    let bytes = within(bytes, "bytes", FILE_LIMIT).map_err(|e| e.context(&name))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn resolve(spec: &str, passwd: &str, group: &str) -> Result<ProcessUser> {
    let (user, own_group) = spec.split_once(':').unwrap_or((spec, ""));
    let mut found = ProcessUser::default();
    let uid = number(if user.is_empty() { "0" } else { user });
    let account = passwd.lines().filter_map(Account::parse).find(|account| match uid {
        Some(uid) => account.uid == uid,
        None => account.name == user,
    });
    match (&account, uid) {
        (Some(account), _) => {
            found = ProcessUser { uid: account.uid, gid: account.gid, groups: vec![], home: account.home.to_owned() };
        }
        (None, Some(uid)) => found.uid = uid,
        (None, None) => return Err(unknown("user", user)),
    }
    let mut groups = group.lines().filter_map(Group::parse);
    if own_group.is_empty() {
        if let Some(account) = account {
            let is_member = |group: &Group<'_>| group.members.split(',').any(|name| name == account.name);
            found.groups = groups.filter(is_member).map(|group| group.gid).collect();
        }
        return Ok(found);
    }
    found.gid = match number(own_group) {
        Some(gid) => gid,
        None => groups.find(|group| group.name == own_group).ok_or_else(|| unknown("group", own_group))?.gid,
    };
    Ok(found)
}

impl<'a> Account<'a> {
    /// Parses `NAME:PASSWORD:UID:GID:COMMENT:HOME:SHELL`.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or_default();
        Some(Self { name, uid: number(uid)?, gid: number(gid)?, home })
    }
}

impl<'a> Group<'a> {
    /// Parses `NAME:PASSWORD:GID:MEMBERS`.
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Self { name, gid: number(gid)?, members: fields.next().unwrap_or_default() })
    }
}

/// Parses an ID, which has only digits.
fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| is_number && *id <= ID_LIMIT)
}

fn unknown(kind: &str, name: &str) -> Error {
    let text = format!("the {kind} \"{name}\" of the image config is not in the image's /etc files");
    Error::new(ErrorKind::Unsupported, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n  app:x:1000:1001::/home/app:/bin/sh\nbad:x:one:0::/:\nbad:x:5:6\n\
                          again:x:1000:7::/other:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\napp:x:1001:\nvideo:x:44:app\nodd:x:x:app\n";

    #[test]
    fn finds_users_as_runc_and_umoci_do() {
        let user = |uid, gid, groups: &[u32], home: &str| {
            Ok(ProcessUser { uid, gid, groups: groups.to_vec(), home: home.to_owned() })
        };
        for (spec, expected) in [
            ("", user(0, 0, &[10], "/root")),
            ("app", user(1000, 1001, &[10, 44], "/home/app")),
            ("1000", user(1000, 1001, &[10, 44], "/home/app")),
            ("app:", user(1000, 1001, &[10, 44], "/home/app")),
            ("app:video", user(1000, 44, &[], "/home/app")),
            ("app:5", user(1000, 5, &[], "/home/app")),
            ("4711", user(4711, 0, &[], "")),
            ("4711:wheel", user(4711, 10, &[], "")),
            (":wheel", user(0, 10, &[], "/root")),
            ("bad", user(5, 6, &[], "")),
            ("nobody", Err(ErrorKind::Unsupported)),
            ("app:nobody", Err(ErrorKind::Unsupported)),
            ("-1", Err(ErrorKind::Unsupported)),
            ("4294967295", Err(ErrorKind::Unsupported)),
        ] {
            assert_eq!(resolve(spec, PASSWD, GROUP).map_err(|e| e.kind()), expected, "{spec}");
        }
        assert_eq!(resolve("7:8", "", "").map_err(|e| e.kind()), user(7, 8, &[], ""));
    }
}
