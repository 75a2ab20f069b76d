//! Mutations of the promises about images on devices.

use super::{Mutation, NoticedBy};

pub const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "device-head-first",
        promise: "the first block of a device is written after everything else",
        file: "target/device/writer.rs",
        old: "            self.write_head(first..length)?;\n            self.write_head(0..first)?;\n",
        new: "            self.write_head(0..first)?;\n            self.write_head(first..length)?;\n",
        noticed_by: NoticedBy::Test("device::killed::a_fault_at_any_call_leaves_the_old_image_or_no_valid_head"),
    },
    Mutation {
        name: "device-head-stays-valid",
        promise: "the head of a device is invalid before anything else is written",
        file: "target/device/writer.rs",
        old: "if self.is_invalid || self.place.is_new {",
        new: "if true {",
        noticed_by: NoticedBy::Test("device::written::wrong_content_never_gets_a_head"),
    },
    Mutation {
        name: "device-shared",
        promise: "a device that is in use is not opened",
        file: "target/device/open.rs",
        old: "custom_flags(OFlags::EXCL.bits().cast_signed())",
        new: "custom_flags((OFlags::EXCL & OFlags::empty()).bits().cast_signed())",
        noticed_by: NoticedBy::Test("device::refused::devices_in_use_are_refused_with_what_uses_them"),
    },
    Mutation {
        name: "device-of-any-label",
        promise: "only the partition with the expected label is written",
        file: "target/device/open.rs",
        old: "Some(label) if label == *expected => {}",
        new: "Some(label) if label == *expected || !expected.is_empty() => {}",
        noticed_by: NoticedBy::Test("device::refused::only_the_partition_with_the_expected_label_is_written"),
    },
    Mutation {
        name: "device-left-writable",
        promise: "the boot partition of an eMMC is protected again",
        file: "target/device/force_ro.rs",
        old: "let _ = self.switch.write_at(b\"1\", 0);",
        new: "let _ = self.switch.write_at(b\"0\", 0);",
        noticed_by: NoticedBy::Test(
            "device::refused::the_boot_partition_of_an_emmc_is_protected_again_on_every_way_out",
        ),
    },
    Mutation {
        name: "device-unproven-content",
        promise: "the digest of the unpacked image is verified before its head is written",
        file: "client/raw.rs",
        old: "digest.map_or_else(|| VerifyState::unknown(size), |digest| VerifyState::new(digest, size))",
        new: "digest.map_or_else(|| VerifyState::unknown(size), |_| VerifyState::unknown(size))",
        noticed_by: NoticedBy::Test("device::written::wrong_content_never_gets_a_head"),
    },
    Mutation {
        name: "device-unsigned-blob",
        promise: "a blob without a manifest is refused where a signature is demanded",
        file: "client/gate.rs",
        old: "        self.prove_blob(name, progress)?;\n",
        new: "        let _ = self.prove_blob(name, progress);\n",
        noticed_by: NoticedBy::Test("device::refused::a_blob_is_refused_where_a_signature_is_demanded"),
    },
    Mutation {
        name: "device-size-unread",
        promise: "a zstd frame that does not fit is refused before anything is written",
        file: "client/raw.rs",
        old: "            self.writer.check_size(size)?;\n",
        new: "            let _ = self.writer.check_size(size);\n",
        noticed_by: NoticedBy::Test(
            "device::written::a_zstd_frame_that_does_not_fit_is_refused_before_anything_is_written",
        ),
    },
    Mutation {
        name: "device-mounted-unnoticed",
        promise: "the error says what uses a device",
        file: "target/device/open.rs",
        old: "if let Some(user) = device.user() {",
        new: "if let Some(user) = device.user().filter(|_| options.skip_same) {",
        noticed_by: NoticedBy::Test("device::refused::devices_in_use_are_refused_with_what_uses_them"),
    },
    Mutation {
        name: "device-resumed-unproven",
        promise: "nothing that an earlier run has noted is believed",
        file: "client/raw.rs",
        old: "if self.resumed_until > HEAD as u64 {",
        new: "if self.resumed_until > HEAD as u64 {\n            return Ok(blob.digest);",
        noticed_by: NoticedBy::Test("device::repeated::what_an_earlier_run_has_left_is_not_believed"),
    },
];
