//! Mutations of the removal of names and blobs.

use super::Mutation;
use super::NoticedBy::{Test, Trace};

pub const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "unknown-document-empty",
        promise: "a document of an unknown kind is not taken for one that needs nothing",
        file: "store/links.rs",
        old: "if is_known { Ok(links) }",
        new: "if is_known || !text.is_empty() { Ok(links) }",
        noticed_by: Test("manage::prune::removes_no_blob_if_it_is_unknown_what_an_entry_needs"),
    },
    Mutation {
        name: "missing-manifest-ignored",
        promise: "an entry without its document keeps all blobs",
        file: "store/marks.rs",
        old: "            self.obstacle.get_or_insert_with(|| disk::missing(&entry.manifest));",
        new: "            let _ = disk::missing(&entry.manifest);",
        noticed_by: Test("manage::prune::removes_no_blob_if_it_is_unknown_what_an_entry_needs"),
    },
    Mutation {
        name: "proofs-not-kept",
        promise: "the documents that prove a pinned digest stay",
        file: "store/marks.rs",
        old: "if claimed != digest && self.mark(claimed, Mark::Blob) {",
        new: "if claimed != digest && self.is_marked(claimed) {",
        noticed_by: Test("manage::prune::keeps_the_documents_that_prove_a_pinned_digest"),
    },
    Mutation {
        name: "nested-proofs-not-kept",
        promise: "the indexes within an index that prove a pinned digest stay",
        file: "store/marks.rs",
        old: "                self.mark_indexes(claimed)?;\n",
        new: "",
        noticed_by: Test("manage::prune::keeps_the_documents_that_prove_a_pinned_digest"),
    },
    Mutation {
        name: "shared-blobs-removed",
        promise: "rmi removes only what no other image needs",
        file: "store/removal.rs",
        old: ".filter(|digest| !needed.is_marked(digest)).collect()",
        new: ".filter(|digest| needed.obstacle.is_none() || !needed.is_marked(digest)).collect()",
        noticed_by: Test("manage::rmi::removes_the_blobs_that_no_other_image_needs"),
    },
    Mutation {
        name: "signatures-not-kept",
        promise: "signatures of images that stay are kept",
        file: "store/removal.rs",
        old: "if is_needed && marks.has(",
        new: "if !is_needed && marks.has(",
        noticed_by: Test("manage::prune::signatures_stay_and_go_with_their_image"),
    },
    Mutation {
        name: "missing-index-empty",
        promise: "a store without an index is not taken for an empty one",
        file: "store/removal.rs",
        old: "if !layout::exists(root)? {",
        new: "if false {",
        noticed_by: Test("manage::prune::a_damaged_index_is_not_taken_for_an_empty_one"),
    },
    Mutation {
        name: "removal-before-the-index",
        promise: "the index is on the disk before a blob is removed",
        file: "store/layout.rs",
        old: "    sync_folders(root)?;\n    let _held = lock::index(root, wait)?;\n    let path = root.join(INDEX);\n    let Some(text)",
        new: "    let _held = lock::index(root, wait)?;\n    let path = root.join(INDEX);\n    let Some(text)",
        noticed_by: Trace("prune after a tag moved"),
    },
];
