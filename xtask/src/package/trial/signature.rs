//! The checksums are signed with a new key, and the public key verifies exactly these checksums.

use super::Subject;
use crate::package::{SUMS, sign};
use crate::{Result, debian, disk, shell};

pub fn verify(subject: &Subject) -> Result {
    debian::need(&[sign::PROGRAM])?;
    let folder = subject.work.join("signature");
    disk::fresh(&folder)?;
    let (secret, public) = (folder.join("key"), folder.join("key.pub"));
    shell::run(shell::program("minisign").args(["-G", "-W", "-s"]).arg(&secret).arg("-p").arg(&public))?;
    // The packages themselves stay without a signature by a key that nobody knows.
    let signed = folder.join("packages");
    shell::run(shell::program("cp").arg("-r").arg(subject.out).arg(&signed))?;
    let signature = sign::sign(&secret, &signed)?;
    let is_good = || {
        let mut minisign = shell::program("minisign");
        minisign.arg("-V").arg("-q").arg("-p").arg(&public).arg("-x").arg(&signature).arg("-m").arg(signed.join(SUMS));
        shell::succeeds(&mut minisign)
    };
    if !is_good() {
        return Err("minisign refuses the signature".into());
    }
    let sums = disk::read(&signed.join(SUMS))?;
    disk::write(&signed.join(SUMS), sums.replacen('0', "1", 1))?;
    if is_good() {
        return Err("minisign accepts other checksums".into());
    }
    if sign::sign(&secret, &signed).is_ok() {
        return Err("wrong checksums were signed".into());
    }
    Ok(())
}
