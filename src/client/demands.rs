//! What an image must prove: the keys that the caller gave, the policy of this machine, and a version that is not older than
//! one that was accepted before.

use super::client::Client;
use super::resolved::{ImageManifest, Resolved, ResolvedContent};
use crate::advice::Advice;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::host::{find_policy, read_named};
use crate::images::Evidence;
use crate::oci::reference::Reference;
use crate::oci::version::{VERSION_ANNOTATION, Version};
use crate::progress::{Event, Progress};
use crate::store::{AcceptedImage, LockWait, SignedVersion, Store};
use crate::trust::{
    IdentityDemand, KeySource, Policy, Requirement, SignedRequirement, Transport, Verification, VersionFloor,
};

/// A requirement of a policy could be met in vain if the lookup for each of many were repeated.
const REQUIREMENTS: usize = 16;

/// Where an image comes from.
pub(super) enum Origin<'a> {
    /// The name that was asked for.
    Registry(&'a Reference),
    /// An archive of this kind, and the name that it has for the image. Nobody asked for that name, so it is no identity.
    #[cfg_attr(not(feature = "manage"), expect(dead_code, reason = "only archives come from there"))]
    Archive { transport: Transport, name: Option<Reference> },
}

impl Origin<'_> {
    fn name(&self) -> Option<&Reference> {
        match self {
            Self::Registry(name) => Some(name),
            Self::Archive { name, .. } => name.as_ref(),
        }
    }
}

impl Client {
    /// Returns what the image of this name must prove; nothing if neither the caller nor a policy demands a signature.
    /// `known` is the store with the versions that were accepted before. Fails with [`ErrorKind::Mismatch`] if the policy
    /// rejects the name, and with [`ErrorKind::Unsupported`] if it has a requirement that pullet cannot check.
    pub(super) fn demands(
        &self,
        origin: &Origin<'_>,
        known: Option<&Store>,
        progress: &dyn Progress,
    ) -> Result<Vec<Verification>> {
        let mut demands = Vec::new();
        if self.options.verification.is_demanded() {
            demands.push(self.options.verification.clone());
        }
        self.add_policy(origin, &mut demands, progress)?;
        if demands.is_empty() && self.options.require_signatures {
            let text =
                "verify signatures: a signature is required, but there is neither a key nor a policy that demands one";
            return Err(Error::new(ErrorKind::Mismatch, text).with_advice(Advice::GiveKey));
        }
        for demand in &mut demands {
            self.add_floors(demand, origin.name(), known)?;
        }
        Ok(demands)
    }

    fn add_policy(&self, origin: &Origin<'_>, demands: &mut Vec<Verification>, progress: &dyn Progress) -> Result<()> {
        let Some((policy, from)) = self.policy()? else { return Ok(()) };
        let (rule, what) = match origin {
            Origin::Registry(name) => (policy.rule_for(name), name.to_string()),
            Origin::Archive { transport, .. } => {
                let path = self.options.archive_path.as_ref().map(|path| path.to_string_lossy());
                (policy.rule_for_archive(*transport, path.as_deref()), transport.word().to_owned())
            }
        };
        let words: Vec<String> = rule.requirements.iter().map(Requirement::word).collect();
        progress.report(Event::Configured { what: &format!("policy for {what}: {}", words.join(", ")), from: &from });
        if rule.requirements.len() > REQUIREMENTS {
            let text = format!("{from}: {}: more than {REQUIREMENTS} requirements", rule.place);
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        for requirement in rule.requirements {
            let refuse = |kind, why: &str| Err(Error::new(kind, format!("{from}: {}: {why}", rule.place)));
            match requirement {
                Requirement::Accept => {}
                Requirement::Reject => return refuse(ErrorKind::Mismatch, "the policy rejects this image"),
                Requirement::Unsupported(what) => {
                    return refuse(ErrorKind::Unsupported, &format!("the requirement {what} is not supported"));
                }
                Requirement::Signed(signed) => {
                    let demand = read_demand(signed, origin).map_err(|e| e.context(&from))?;
                    demands.push(demand);
                }
            }
        }
        Ok(())
    }

    /// Returns the policy of this machine, and its file. `None` if this machine has no policy.
    fn policy(&self) -> Result<Option<(Policy, String)>> {
        // Such a build has refused policies before: `check_features`.
        if !cfg!(feature = "policy") {
            return Ok(None);
        }
        let given = self.options.policy.as_deref();
        if given.is_none() && !self.options.system_configuration {
            return Ok(None);
        }
        let Some(file) = find_policy(given)? else { return Ok(None) };
        let from = file.path.display().to_string();
        match Policy::parse(&file.text) {
            Ok(policy) => Ok(Some((policy, from))),
            Err(why) => Err(Error::new(ErrorKind::Usage, format!("policy {from}: {why}"))),
        }
    }

    /// Returns the lines that say which policy and which of its rules decides on a name.
    pub(super) fn policy_lines(&self, name: &Reference) -> Result<Vec<(&'static str, String)>> {
        let Some((policy, from)) = self.policy()? else { return Ok(vec![("policy", "none".to_owned())]) };
        let rule = policy.rule_for(name);
        let mut lines = vec![("policy", from), ("  rule", rule.place)];
        lines.extend(rule.requirements.iter().map(|requirement| ("  requirement", requirement.word())));
        Ok(lines)
    }

    /// Adds the versions than which the image must not be older.
    fn add_floors(&self, demand: &mut Verification, name: Option<&Reference>, known: Option<&Store>) -> Result<()> {
        if !cfg!(feature = "policy") {
            return Ok(());
        }
        if let Some(version) = &self.options.min_version {
            demand.add_floor(VersionFloor { version: version.clone(), is_accepted: false });
        }
        let (Some(store), Some(name)) = (self.options.version_store.as_ref().or(known), name) else { return Ok(()) };
        if self.options.allow_downgrade {
            return Ok(());
        }
        let keys: Vec<&Digest> = demand.keys().iter().map(|key| key.fingerprint()).collect();
        for version in store.accepted_versions(&name.repository(), &keys)? {
            demand.add_floor(VersionFloor { version, is_accepted: true });
        }
        Ok(())
    }

    /// Checks the version of an image that needs no signature, if the caller has set a minimum: the annotation of its manifest
    /// then says it, which whoever can change the image can change too.
    pub(super) fn check_unsigned_version(&self, resolved: &Resolved<'_>) -> Result<()> {
        let annotations = match &resolved.content {
            ResolvedContent::Image(ImageManifest::Schema2(manifest)) => Some(&manifest.annotations),
            ResolvedContent::Image(ImageManifest::Schema1(_)) => None,
            ResolvedContent::Artifact(artifact) => Some(&artifact.annotations),
        };
        let text = annotations.and_then(|annotations| annotations.get(VERSION_ANNOTATION));
        self.check_annotated_version(text.map(String::as_str), resolved.progress)
    }

    pub(super) fn check_annotated_version(&self, text: Option<&str>, progress: &dyn Progress) -> Result<()> {
        let Some(minimum) = &self.options.min_version else { return Ok(()) };
        let refuse = |why: String| Err(Error::new(ErrorKind::Mismatch, format!("check version: {why}")));
        let Some(text) = text else {
            return refuse(format!(
                "the manifest has no annotation {VERSION_ANNOTATION}, and {minimum} is the minimum"
            ));
        };
        let version = match text.parse::<Version>() {
            Ok(version) => version,
            Err(error) => return refuse(error.to_string()),
        };
        let floor = VersionFloor { version: minimum.clone(), is_accepted: false };
        if let Some(why) = floor.objection(&version) {
            return refuse(why);
        }
        progress.report(Event::Warning(&format!("version {version} is at least {minimum}, but no key has signed it")));
        Ok(())
    }

    /// Keeps the signed versions of an image that was accepted and is complete, in the store that was named for them, else in
    /// the store of the image.
    pub(super) fn keep_versions(&self, resolved: &Resolved<'_>, known: Option<&Store>) -> Result<()> {
        if !cfg!(feature = "policy") {
            return Ok(());
        }
        let (Some(store), Some(evidence)) = (self.options.version_store.as_ref().or(known), &resolved.evidence) else {
            return Ok(());
        };
        let repository = resolved.name.repository();
        let image = AcceptedImage { repository, digest: &resolved.digest, versions: signed_versions(evidence) };
        let wait = LockWait { cancel: &self.options.cancel, progress: resolved.progress };
        if self.options.unconfirmed {
            return store.propose_versions(&image, wait);
        }
        store.raise_versions(&image, wait)
    }
}

/// Reads the keys of a requirement. A key that cannot be read is an error, although another key might do.
fn read_demand(signed: &SignedRequirement, origin: &Origin<'_>) -> Result<Verification> {
    let mut demand = Verification::default();
    for key in &signed.keys {
        match key {
            KeySource::Pem(pem) => demand.add_key(pem)?,
            KeySource::File(path) => {
                let file = read_named(path)?;
                demand.add_key(&file.text).map_err(|e| e.context(path.display()))?;
            }
        }
    }
    let intended = match origin {
        Origin::Registry(name) => Some((*name).clone()),
        Origin::Archive { .. } => None,
    };
    demand.set_identity(IdentityDemand { kind: signed.identity.clone(), intended });
    Ok(demand)
}

/// The newest version of each key, as far as the signatures have one.
fn signed_versions(evidence: &Evidence) -> Vec<SignedVersion> {
    let mut newest: Vec<SignedVersion> = Vec::new();
    for proven in &evidence.proven {
        let Some(text) = proven.annotations().get(VERSION_ANNOTATION) else { continue };
        let Ok(version) = text.parse::<Version>() else { continue };
        match newest.iter_mut().find(|one| one.key == *proven.key()) {
            None => newest.push(SignedVersion { key: *proven.key(), version }),
            Some(one) if version.compare(&one.version).is_some_and(|order| order.is_gt()) => one.version = version,
            Some(_) => {}
        }
    }
    newest
}
