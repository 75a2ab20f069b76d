//! Mutations of the promises about folders that are filled in place, about watches, and about refusals by the first bytes.

use super::{Mutation, NoticedBy};

const FAULTS: NoticedBy = NoticedBy::Test("in_place::a_kill_or_an_error_at_any_point_leaves_a_mark_or_nothing_or_all");

pub const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "in-place-list-leads-out",
        promise: "nothing outside a target is removed because of its list of moved entries",
        file: "target/in_place.rs",
        old: r#"!name.contains(&b'/') && name.as_slice() != b"." && name.as_slice() != b"..";"#,
        new: "!name.is_empty();",
        noticed_by: NoticedBy::Test("in_place::only_what_was_moved_is_cleared"),
    },
    Mutation {
        name: "in-place-in-any-folder",
        promise: "a folder that is not empty is not filled",
        file: "target/in_place.rs",
        old: "if name == STAGING.as_bytes() || (name == LOST_FOUND",
        new: "if !name.is_empty() || (name == LOST_FOUND",
        noticed_by: NoticedBy::Test("in_place::refuses_what_is_no_empty_folder_and_leaves_it_as_it_is"),
    },
    Mutation {
        name: "in-place-list-late",
        promise: "an entry is on the list before it is moved",
        file: "target/in_place.rs",
        old: "            self.write_list(&names)?;\n            self.move_all(tree, &names)?;\n",
        new: "            self.move_all(tree, &names)?;\n            self.write_list(&names)?;\n",
        noticed_by: FAULTS,
    },
    Mutation {
        name: "in-place-left-after-an-error",
        promise: "after an error nothing of the tree is in the target",
        file: "target/in_place.rs",
        old: "            let _ = self.remove(&names);\n",
        new: "            let _ = self.remove(&[]);\n",
        noticed_by: FAULTS,
    },
    Mutation {
        name: "watch-record-in-place",
        promise: "the record of a watch is replaced atomically",
        file: "store/watch.rs",
        old: "        replace(&self.path, format!(\"{}\\n\", Value::Object(members)).as_bytes())",
        new: "        let text = format!(\"{}\\n\", Value::Object(members));\n        std::fs::write(&self.path, text).map_err(|e| Error::disk(\"write\", &self.path, e))",
        noticed_by: NoticedBy::Trace("watch"),
    },
    Mutation {
        name: "watch-starts-unrecorded",
        promise: "the start of the command is on record before it runs",
        file: "store/watch.rs",
        old: "        self.running = Some(digest);\n        self.save()?;\n",
        new: "        self.running = Some(digest);\n",
        noticed_by: NoticedBy::Test("watch::a_killed_watch_runs_the_command_again"),
    },
    Mutation {
        name: "watch-starts-unbounded",
        promise: "a command that always dies is given up",
        file: "store/watch.rs",
        old: "if self.starts >= STARTS_LIMIT {",
        new: "if self.starts == u64::MAX {",
        noticed_by: NoticedBy::Test("watch::a_command_that_always_dies_is_given_up"),
    },
    Mutation {
        name: "watch-forgets-failures",
        promise: "a digest that has failed is left alone",
        file: "store/watch.rs",
        old: "        self.failed.push(digest);\n",
        new: "",
        noticed_by: NoticedBy::Test("watch::a_digest_that_has_failed_is_left_alone"),
    },
    Mutation {
        name: "watch-shares-its-record",
        promise: "two watches never use one record",
        file: "store/watch.rs",
        old: "match file.try_lock() {",
        new: "match file.try_lock_shared() {",
        noticed_by: NoticedBy::Test("watch::the_record_is_for_one_name_and_one_process"),
    },
    Mutation {
        name: "refused-by-one-transfer",
        promise: "a blob is refused by its first bytes only if two transfers begin alike",
        file: "client/start.rs",
        old: "if refused.start == start =>",
        new: "if refused.start.len() == start.len() =>",
        noticed_by: NoticedBy::Test("first_bytes::a_transfer_that_changes_is_a_wrong_digest"),
    },
    Mutation {
        name: "damage-taken-for-a-format",
        promise: "a damaged copy is a wrong digest, whatever its first bytes are",
        file: "layer/start.rs",
        old: "_ if is_known(start) ||",
        new: "_ if !is_tar(start) ||",
        noticed_by: NoticedBy::Test("first_bytes::a_layer_that_is_damaged_where_it_is_stored_is_a_wrong_digest"),
    },
];
