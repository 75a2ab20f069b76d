//! The options of commands that admit an image: which keys must have signed it.

use std::path::PathBuf;

use pullet::Options;

use super::options::{Group, Opt};
use super::pem::read_pem;
use crate::exit::Failure;

/// The signatures that an image must have, as they were given.
#[derive(Default)]
pub(crate) struct SignatureOptions {
    pub(crate) keys: Vec<PathBuf>,
    count: Option<usize>,
    annotations: Vec<Annotation>,
}

/// An annotation that a signature must have.
struct Annotation {
    key: String,
    value: String,
}

/// Signatures that an image must have.
pub(crate) static VERIFY: Group<SignatureOptions> = Group {
    heading: "Trust",
    options: &[
        Opt::value(
            "--verify-key FILE",
            "refuse an image that is not signed by this public key (PEM: ECDSA P-256 or P-384, Ed25519, RSA), before anything \
             but manifests and signatures is fetched; may be given several times, and then one of the keys is enough",
            |demanded, value| {
                demanded.keys.push(value.path()?);
                Ok(())
            },
        ),
        Opt::value(
            "--verify-count N",
            "require signatures by N different keys of --verify-key (default: 1)",
            |demanded, value| {
                demanded.count = Some(value.number()?);
                Ok(())
            },
        ),
        Opt::value(
            "--verify-annotation KEY=VALUE",
            "count only signatures whose signer has signed this annotation too; may be given several times",
            |demanded, value| {
                let (key, text) = value.pair()?;
                demanded.annotations.push(Annotation { key, value: text });
                Ok(())
            },
        ),
    ],
};

impl SignatureOptions {
    /// Adds the demands to the options of a client. A broken key file is an error even if another key would do, because a
    /// broken replacement must be noticed before the old key is retired.
    pub(super) fn apply(&self, mut options: Options) -> Result<Options, Failure> {
        for path in &self.keys {
            let pem = read_pem(path, "--verify-key takes a public key in PEM, such as cosign.pub")?;
            options = options.verify_key(&pem).map_err(|e| {
                let failure = Failure::new(e.kind(), format!("{}: {e}", path.display()));
                match e.hint() {
                    Some(hint) => failure.hint(hint.to_string()),
                    None => failure,
                }
            })?;
        }
        if let Some(count) = self.count {
            options = options.verify_count(count);
        }
        for Annotation { key, value } in &self.annotations {
            options = options.verify_annotation(key, value);
        }
        Ok(options)
    }
}
