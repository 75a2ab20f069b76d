//! What a caller demands of the signatures of an image.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::identity::IdentityDemand;
use super::key::PublicKey;
use super::signature::ProvenSignature;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::version::{VERSION_ANNOTATION, Version};

/// The keys of which some must have signed an image. Without a key, nothing is demanded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verification {
    keys: Vec<PublicKey>,
    /// How many different keys must have signed; 1 if it is not given.
    count: Option<usize>,
    annotations: Vec<Annotation>,
    /// The identity that a policy demands.
    identity: Option<IdentityDemand>,
    /// Versions than which the signed one must not be older.
    floors: Vec<VersionFloor>,
}

/// A version than which an image must not be older.
#[derive(Clone, Debug)]
pub(crate) struct VersionFloor {
    pub(crate) version: Version,
    /// True if an image of this version was accepted before, false if the caller demands it.
    pub(crate) is_accepted: bool,
}

impl VersionFloor {
    /// Says why an image of this version is refused; `None` if it is not.
    pub(crate) fn objection(&self, version: &Version) -> Option<String> {
        let Self { version: floor, .. } = self;
        match version.compare(floor) {
            Some(Ordering::Less) => Some(format!("its version {version} is older than {floor}, {}", self.reason())),
            Some(_) => None,
            None => Some(format!("its version {version} cannot be compared with {floor}, {}", self.reason())),
        }
    }

    fn reason(&self) -> &'static str {
        if self.is_accepted { "which was accepted before" } else { "which is the minimum" }
    }
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

    pub(crate) fn set_identity(&mut self, identity: IdentityDemand) {
        self.identity = Some(identity);
    }

    pub(crate) fn add_floor(&mut self, floor: VersionFloor) {
        self.floors.push(floor);
    }

    /// Says why a signature does not count; `None` if it does.
    pub(crate) fn objection(&self, proven: &ProvenSignature) -> Option<String> {
        let identity = || self.identity.as_ref()?.objection(proven.identity());
        self.missing_annotation(proven).or_else(identity).or_else(|| self.version_objection(proven))
    }

    /// Returns true if a signature would count if no newer version had been accepted before.
    pub(crate) fn is_downgrade(&self, proven: &ProvenSignature) -> bool {
        let mut without = self.clone();
        without.floors.retain(|floor| !floor.is_accepted);
        self.objection(proven).is_some() && without.objection(proven).is_none()
    }

    fn version_objection(&self, proven: &ProvenSignature) -> Option<String> {
        let first = self.floors.first()?;
        let Some(text) = proven.annotations().get(VERSION_ANNOTATION) else {
            let reason = first.reason();
            return Some(format!(
                "its signature has no version, and is not known to follow {}, {reason}",
                first.version
            ));
        };
        match text.parse::<Version>() {
            Ok(version) => self.floors.iter().find_map(|floor| floor.objection(&version)),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Says which annotation a signature lacks; `None` if it counts.
    fn missing_annotation(&self, proven: &ProvenSignature) -> Option<String> {
        let missing = self.annotations.iter().find(|one| proven.annotations().get(&one.key) != Some(&one.value))?;
        Some(match proven.annotations().get(&missing.key) {
            Some(other) => format!("the annotation {} is \"{other}\" and not \"{}\"", missing.key, missing.value),
            None => format!("it has no annotation {}", missing.key),
        })
    }

    /// The number of different keys of which a signature counts.
    pub(crate) fn signers(&self, proven: &[ProvenSignature]) -> usize {
        let own = |one: &&ProvenSignature| self.keys.iter().any(|key| key.fingerprint() == one.key());
        let counted = proven.iter().filter(own).filter(|one| self.objection(one).is_none());
        counted.map(ProvenSignature::key).collect::<BTreeSet<_>>().len()
    }

    /// Returns true if enough keys have signed.
    pub(crate) fn is_met(&self, proven: &[ProvenSignature]) -> bool {
        self.signers(proven) >= self.count()
    }
}
