//! What a caller demands of the signatures of an image.

use std::collections::BTreeSet;

use super::key::PublicKey;
use super::signature::ProvenSignature;
use crate::error::{Error, ErrorKind, Result};

/// The keys of which some must have signed an image. Without a key, nothing is demanded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verification {
    keys: Vec<PublicKey>,
    /// How many different keys must have signed; 1 if it is not given.
    count: Option<usize>,
    annotations: Vec<Annotation>,
}

/// An annotation that each signature must have.
#[derive(Clone, Debug)]
struct Annotation {
    key: String,
    value: String,
}

impl Verification {
    /// Adds a key in PEM. A second copy of one changes nothing, because keys are counted by their fingerprint.
    pub(crate) fn add_key(&mut self, pem: &[u8]) -> Result<()> {
        let key = PublicKey::from_pem(pem)?;
        if !self.keys.contains(&key) {
            self.keys.push(key);
        }
        Ok(())
    }

    pub(crate) fn set_count(&mut self, count: usize) {
        self.count = Some(count);
    }

    pub(crate) fn add_annotation(&mut self, key: String, value: String) {
        self.annotations.push(Annotation { key, value });
    }

    /// Fails if it can never be met, or if it asks for something of no key.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(ErrorKind::Usage, text));
        if self.keys.is_empty() && (self.count.is_some() || !self.annotations.is_empty()) {
            return refuse("demands on signatures need a key to verify them with".to_owned());
        }
        match self.count {
            Some(0) => return refuse("the number of keys that must have signed is 0".to_owned()),
            Some(count) if count > self.keys.len() => {
                return refuse(format!(
                    "{count} keys must have signed, but {} different keys are given",
                    self.keys.len()
                ));
            }
            _ => {}
        }
        for (at, one) in self.annotations.iter().enumerate() {
            if self.annotations.iter().take(at).any(|other| other.key == one.key && other.value != one.value) {
                return refuse(format!("the annotation \"{}\" is to have two values", one.key));
            }
        }
        Ok(())
    }

    /// Returns true if there is a key, so that an image needs a signature.
    pub(crate) fn is_demanded(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(crate) fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// How many different keys must have signed.
    pub(crate) fn count(&self) -> usize {
        self.count.unwrap_or(1)
    }

    /// Says which annotation a signature lacks; `None` if it counts.
    pub(crate) fn missing_annotation(&self, proven: &ProvenSignature) -> Option<String> {
        let missing = self.annotations.iter().find(|one| proven.annotations().get(&one.key) != Some(&one.value))?;
        Some(match proven.annotations().get(&missing.key) {
            Some(other) => format!("the annotation {} is \"{other}\" and not \"{}\"", missing.key, missing.value),
            None => format!("it has no annotation {}", missing.key),
        })
    }

    /// The number of different keys of which a signature counts.
    pub(crate) fn signers(&self, proven: &[ProvenSignature]) -> usize {
        let own = |one: &&ProvenSignature| self.keys.iter().any(|key| key.fingerprint() == one.key());
        let counted = proven.iter().filter(own).filter(|one| self.missing_annotation(one).is_none());
        counted.map(ProvenSignature::key).collect::<BTreeSet<_>>().len()
    }

    /// Returns true if enough keys have signed.
    pub(crate) fn is_met(&self, proven: &[ProvenSignature]) -> bool {
        self.signers(proven) >= self.count()
    }
}
