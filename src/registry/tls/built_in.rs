//! The root certificates in the program, and how old they are.

use webpki_roots::TLS_SERVER_ROOTS;

/// The version of webpki-roots in Cargo.lock, and the day of its release.
const VERSION: &str = "1.0.10 of 2026-10-19";
/// The bytes of names and keys of that version. webpki-roots has no date, and a program that uses this library may be built
/// with another version, which must not get the date of this one.
const BYTES: usize = 54_214;

/// Returns which root certificates are built in: number, version and date.
pub(crate) fn built_in_roots() -> String {
    let version = if bytes() == BYTES { VERSION } else { "of another version" };
    format!("{} certificates, webpki-roots {version}", TLS_SERVER_ROOTS.len())
}

fn bytes() -> usize {
    TLS_SERVER_ROOTS.iter().map(|root| root.subject.len() + root.subject_public_key_info.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_belongs_to_the_version_in_cargo_lock() {
        let lock = include_str!("../../../Cargo.lock");
        let (_, package) = lock.split_once("name = \"webpki-roots\"\nversion = \"").unwrap();
        let locked = package.split('"').next().unwrap();
        let known = VERSION.split(' ').next().unwrap();
        assert_eq!(
            (known, BYTES),
            (locked, bytes()),
            "set VERSION, its date (`pubtime` in the registry's index) and BYTES"
        );
        assert!(built_in_roots().ends_with(VERSION));
    }
}
