//! Options and commands that do not exist: the words of other tools, and what was probably meant.

use crate::exit::Failure;

/// Options of Docker, podman, skopeo and crane that have another name here, or that do not exist for a reason.
struct Habit {
    /// The options. A word that ends with a dash stands for all options that begin with it.
    words: &'static [&'static str],
    /// The habit only counts for commands that have this option; empty for every command.
    needs: &'static str,
    /// Why the option does not exist, if it has no other name.
    reason: &'static str,
    hint: &'static str,
}

const HABITS: &[Habit] = &[
    Habit {
        words: &["-p", "--password"],
        needs: "--password-stdin",
        reason: "a password on the command line is visible to every user of this machine and stays in the shell's history",
        hint: "pullet login -u USER --password-stdin HOST reads it from standard input, and without --password-stdin from the terminal",
    },
    Habit {
        words: &["--tls-verify", "--src-tls-verify", "--insecure", "--skip-tls-verify", "--insecure-skip-tls-verify"],
        needs: "--insecure-registry",
        reason: "",
        hint: "--insecure-registry HOST[:PORT] trusts this registry without a certificate; --ca-file PEM trusts its certificate",
    },
    Habit {
        words: &["--cert-dir", "--src-cert-dir", "--tlscacert", "--cacert"],
        needs: "--ca-file",
        reason: "",
        hint: "use --ca-file, --client-cert and --client-key, or the folder /etc/containers/certs.d/HOST[:PORT]",
    },
    Habit {
        words: &["--src-creds", "--username", "--password", "--registry-token", "--src-registry-token"],
        needs: "--creds",
        reason: "",
        hint: "use --creds-file FILE, --creds - (standard input) or pullet login",
    },
    Habit { words: &["--src-authfile", "--config"], needs: "--authfile", reason: "", hint: "use --authfile FILE" },
    Habit {
        words: &["--arch", "--os", "--variant", "--override-"],
        needs: "--platform",
        reason: "",
        hint: "use --platform OS/ARCH[/VARIANT], such as linux/arm64",
    },
    Habit {
        words: &["--all", "--multi-arch"],
        needs: "--platform",
        reason: "pullet fetches one platform of an image",
        hint: "choose it with --platform OS/ARCH; pull -a fetches all tags of a repository",
    },
    Habit { words: &["-a", "--all"], needs: "--force", reason: "", hint: "pullet prune -a removes all images" },
    Habit {
        words: &["--signature-policy", "--insecure-policy"],
        needs: "--policy",
        reason: "",
        hint: "use --policy FILE",
    },
    Habit { words: &["--retry", "--retry-times"], needs: "--retries", reason: "", hint: "use --retries N" },
    Habit {
        words: &["--allow-nondistributable-artifacts"],
        needs: "--allow-foreign-layers",
        reason: "",
        hint: "use --allow-foreign-layers",
    },
    Habit {
        words: &["--dest-"],
        needs: "",
        reason: "pullet only reads from registries",
        hint: "pullet save writes archives, and skopeo copy oci:STORE:NAME pushes images of the store",
    },
    Habit { words: &["--root"], needs: "--store", reason: "", hint: "use --store DIR" },
    Habit { words: &["-D", "--debug", "--log-level"], needs: "", reason: "", hint: "use -v" },
];

/// The least length of the beginning of a word that is taken for the word.
const PREFIX: usize = 3;

/// The error for an option that other tools have. `has` says whether the command has an option.
pub(super) fn other_word(option: &str, has: &dyn Fn(&str) -> bool) -> Option<Failure> {
    let is_meant = |word: &&str| *word == option || word.ends_with('-') && option.starts_with(*word);
    let mut habits = HABITS.iter().filter(|habit| habit.words.iter().any(&is_meant));
    let habit = habits.find(|habit| habit.needs.is_empty() || has(habit.needs))?;
    let text = if habit.reason.is_empty() {
        format!("unknown option {option}")
    } else {
        format!("refused option {option}: {}", habit.reason)
    };
    Some(Failure::usage(text).hint(habit.hint))
}

/// The word that `typed` begins, or else the one with the fewest edits: one, or two in a word of five letters.
pub(super) fn nearest(typed: &str, words: &mut dyn Iterator<Item = &'static str>) -> Option<&'static str> {
    let most = ((typed.len() + 1) / 3).clamp(1, 2);
    let distance = |word: &str| if typed.len() >= PREFIX && word.starts_with(typed) { 0 } else { edits(typed, word) };
    let near = words.map(|word| (distance(word), word)).filter(|(distance, _)| *distance <= most);
    near.min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// The Levenshtein distance, in bytes.
fn edits(from: &str, to: &str) -> usize {
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, typed) in from.bytes().enumerate() {
        let mut current = vec![row + 1];
        for (meant, corner) in to.bytes().zip(above.windows(2)) {
            let [diagonal, up] = corner else { continue };
            let left = current.last().copied().unwrap_or_default();
            current.push((diagonal + usize::from(typed != meant)).min(up + 1).min(left + 1));
        }
        above = current;
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("abc", "abc", 0),
            ("pul", "pull", 1),
            ("imgaes", "images", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((edits(from, to), edits(to, from)), (expected, expected), "{from} {to}");
        }
    }

    #[test]
    fn finds_the_nearest_word() {
        let words = ["pull", "unpack", "images", "inspect", "rmi", "ls"];
        for (typed, expected) in [
            ("pul", Some("pull")),
            ("unpakc", Some("unpack")),
            ("insp", Some("inspect")),
            ("rm", Some("rmi")),
            ("imgs", None),
            ("frobnicate", None),
            ("", None),
            ("s", Some("ls")),
            ("ulpl", None),
            ("inpsect", Some("inspect")),
        ] {
            assert_eq!(nearest(typed, &mut words.into_iter()), expected, "{typed}");
        }
    }
}
