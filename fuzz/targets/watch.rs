//! Reads the record of a watch, and records a failure in it.

#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::watch_record;
use pullet::{Digest, ErrorKind, Reference};
use pullet_fuzz::Watched;

static WATCHED: LazyLock<Watched> = LazyLock::new(Watched::new);
static NAME: LazyLock<Reference> = LazyLock::new(|| "registry.example/a:b".parse().expect("the name is valid"));

fuzz_target!(|bytes: &[u8]| {
    let folder = WATCHED.target();
    fs::create_dir_all(&folder).expect("the folder can be created");
    let file = folder.join("record");
    fs::write(&file, bytes).expect("the record can be written");
    let digest: Digest = format!("sha256:{:064x}", 7).parse().expect("the digest is valid");
    pullet_fuzz::within((256 << 10) + 64 * bytes.len(), || match watch_record(&file, &NAME, digest) {
        Ok((has_failed, _)) => assert!(has_failed, "the failure is forgotten"),
        // The record of another name, and one that is too large, stay as they are.
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::Usage | ErrorKind::Unsafe), "{error}");
            assert!(fs::read(&file).expect("the record can be read") == bytes, "the record was changed");
        }
    });
    WATCHED.check(true);
});
