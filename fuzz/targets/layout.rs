//! Reads the index of a store, and adds one of its entries again.

#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pullet::fuzzing::index_json;
use pullet_fuzz::Watched;

static WATCHED: LazyLock<Watched> = LazyLock::new(Watched::new);

fuzz_target!(|bytes: &[u8]| {
    let store = WATCHED.target();
    fs::create_dir_all(store.join("blobs/sha256")).expect("the store can be created");
    fs::write(store.join("index.json"), bytes).expect("the index can be written");
    pullet_fuzz::within((1 << 20) + 64 * bytes.len(), || {
        if let Ok(names) = index_json(&store) {
            assert!(names.iter().all(|name| !name.is_empty()), "{names:?}");
        }
    });
    WATCHED.check(true);
});
