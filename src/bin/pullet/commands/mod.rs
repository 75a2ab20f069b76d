//! The commands, one file each, and the table of all of them.

#[cfg(feature = "manage")]
mod artifact;
#[cfg(feature = "device")]
mod blob;
#[cfg(feature = "boot")]
mod boot;
#[cfg(feature = "manage")]
mod cat;
#[cfg(feature = "manage")]
mod completion;
#[cfg(feature = "manage")]
mod config;
#[cfg(feature = "policy")]
mod confirm;
#[cfg(feature = "manage")]
mod diff;
#[cfg(feature = "manage")]
mod digest;
#[cfg(feature = "manage")]
mod export;
#[cfg(feature = "manage")]
mod help;
#[cfg(feature = "manage")]
mod history;
#[cfg(feature = "manage")]
mod images;
#[cfg(feature = "manage")]
mod import;
#[cfg(feature = "manage")]
mod inspect;
#[cfg(feature = "manage")]
mod load;
#[cfg(feature = "manage")]
mod login;
#[cfg(feature = "manage")]
mod logout;
#[cfg(feature = "manage")]
mod ls;
#[cfg(feature = "manage")]
mod manifest;
#[cfg(feature = "manage")]
mod prune;
mod pull;
#[cfg(feature = "manage")]
mod releases;
#[cfg(feature = "manage")]
mod replace;
#[cfg(feature = "manage")]
mod rmi;
#[cfg(feature = "manage")]
mod rollback;
#[cfg(feature = "manage")]
mod save;
#[cfg(feature = "manage")]
mod tag;
#[cfg(feature = "manage")]
mod tags;
mod unpack;
#[cfg(feature = "manage")]
mod verify;
#[cfg(feature = "manage")]
mod version;
#[cfg(feature = "manage")]
mod watch;

#[cfg(feature = "manage")]
use crate::cli::command::Family;
use crate::cli::command::{Feature, Section, Table};

/// All commands, in the order of the program's help.
pub(crate) static TABLE: Table = Table {
    sections: &[
        Section {
            heading: "Images",
            commands: &[
                &pull::COMMAND,
                &unpack::COMMAND,
                #[cfg(feature = "manage")]
                &releases::COMMAND,
                #[cfg(feature = "manage")]
                &rollback::COMMAND,
                #[cfg(feature = "boot")]
                &boot::COMMAND,
                #[cfg(feature = "manage")]
                &artifact::COMMAND,
                #[cfg(feature = "device")]
                &blob::COMMAND,
            ],
        },
        Section {
            heading: "Store",
            commands: &[
                #[cfg(feature = "manage")]
                &images::COMMAND,
                #[cfg(feature = "manage")]
                &inspect::COMMAND,
                #[cfg(feature = "manage")]
                &history::COMMAND,
                #[cfg(feature = "manage")]
                &tag::COMMAND,
                #[cfg(feature = "manage")]
                &rmi::COMMAND,
                #[cfg(feature = "manage")]
                &prune::COMMAND,
                #[cfg(feature = "manage")]
                &save::COMMAND,
                #[cfg(feature = "manage")]
                &load::COMMAND,
                #[cfg(feature = "manage")]
                &import::COMMAND,
                #[cfg(feature = "manage")]
                &export::COMMAND,
                #[cfg(feature = "manage")]
                &cat::COMMAND,
                #[cfg(feature = "manage")]
                &ls::COMMAND,
                #[cfg(feature = "manage")]
                &diff::COMMAND,
                #[cfg(feature = "manage")]
                &verify::COMMAND,
                #[cfg(feature = "policy")]
                &confirm::COMMAND,
            ],
        },
        Section {
            heading: "Registries",
            commands: &[
                #[cfg(feature = "manage")]
                &tags::COMMAND,
                #[cfg(feature = "manage")]
                &digest::COMMAND,
                #[cfg(feature = "manage")]
                &manifest::COMMAND,
                #[cfg(feature = "manage")]
                &watch::COMMAND,
                #[cfg(feature = "manage")]
                &login::COMMAND,
                #[cfg(feature = "manage")]
                &logout::COMMAND,
                #[cfg(feature = "manage")]
                &config::COMMAND,
            ],
        },
        Section {
            heading: "Program",
            commands: &[
                #[cfg(feature = "manage")]
                &help::COMMAND,
                #[cfg(feature = "manage")]
                &version::COMMAND,
                #[cfg(feature = "manage")]
                &completion::COMMAND,
            ],
        },
    ],
    families: &[
        #[cfg(feature = "manage")]
        IMAGE,
    ],
    elsewhere: &[
        #[cfg(feature = "manage")]
        (&["build", "builder", "buildx", "bake"], "pullet does not build images: use buildah"),
        #[cfg(feature = "manage")]
        (&["push"], "pullet does not push images: use skopeo copy oci:STORE:NAME docker://NAME"),
        #[cfg(feature = "manage")]
        (&["run", "create", "start", "restart", "container"], RUN),
        #[cfg(feature = "manage")]
        (
            &[
                "attach", "commit", "cp", "exec", "kill", "logs", "pause", "port", "ps", "rename", "rm", "stats",
                "stop", "top", "unpause", "update", "wait",
            ],
            "pullet has no containers: use crun or runc, or podman",
        ),
        #[cfg(feature = "manage")]
        (&["compose", "network", "service", "stack", "swarm", "volume"], "pullet has no containers: use podman"),
    ],
    storeless: &[
        "artifact",
        "blob",
        "boot",
        "completion",
        "digest",
        "help",
        "login",
        "logout",
        "manifest",
        "tags",
        "version",
    ],
    features: &[
        Feature { name: "boot", commands: &["boot"] },
        Feature { name: "device", commands: &["blob"] },
        Feature { name: "policy", commands: &["confirm"] },
        Feature {
            name: "manage",
            commands: &[
                "artifact",
                "cat",
                "completion",
                "config",
                "diff",
                "digest",
                "export",
                "help",
                "history",
                "image",
                "images",
                "import",
                "inspect",
                "load",
                "login",
                "logout",
                "ls",
                "manifest",
                "prune",
                "releases",
                "rmi",
                "rollback",
                "save",
                "tag",
                "tags",
                "verify",
                "version",
                "watch",
            ],
        },
    ],
};

/// Docker's words after `image`. Those without a command of this name are answered as the word alone.
#[cfg(feature = "manage")]
const IMAGE: Family = Family {
    name: "image",
    summary: "the commands for images under Docker's names",
    words: &[
        ("build", "build"),
        ("history", "history"),
        ("import", "import"),
        ("inspect", "inspect"),
        ("list", "images"),
        ("load", "load"),
        ("ls", "images"),
        ("prune", "prune"),
        ("pull", "pull"),
        ("push", "push"),
        ("remove", "rmi"),
        ("rm", "rmi"),
        ("save", "save"),
        ("tag", "tag"),
    ],
};

#[cfg(feature = "manage")]
const RUN: &str = "pullet does not run containers: use crun or runc with a bundle from pullet unpack --bundle";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::common::COMMON;
    use crate::cli::options::specs;

    #[test]
    fn no_command_has_two_options_of_one_name() {
        for command in TABLE.sections.iter().flat_map(|section| section.commands) {
            let mut names = BTreeSet::new();
            for spec in command.groups.iter().copied().flat_map(specs).chain(specs(&COMMON)) {
                for name in spec.names() {
                    assert!(name.starts_with('-') && names.insert(name), "{}: {name}", command.name);
                }
            }
        }
    }

    #[test]
    #[cfg(all(feature = "boot", feature = "device", feature = "policy"))]
    fn every_command_of_a_feature_exists() {
        let all: BTreeSet<&str> =
            TABLE.sections.iter().flat_map(|section| section.commands).map(|command| command.name).collect();
        let all = all.into_iter().chain(TABLE.families.iter().map(|family| family.name)).collect::<BTreeSet<_>>();
        let optional = TABLE.features.iter().flat_map(|feature| feature.commands).copied();
        let expected: BTreeSet<&str> = optional.chain(["pull", "unpack"]).collect();
        assert_eq!(all, expected);
    }
}
