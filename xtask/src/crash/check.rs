//! The checks after a fault, and after the next run.

use super::place::{INDEX, LAYOUT, LOGIN, State};
use super::snapshot::Snapshot;
use crate::Result;

/// Part of an index without images, which the first pull writes.
const NO_IMAGES: &[u8] = br#""manifests":[]"#;
/// Checks that every blob has the content of its digest, that every document is the old or the new one, and that the
/// target and the trees of layers are complete or absent, or the target is as before. A target that is written in place may
/// be an image that no program takes for valid.
pub fn is_sound(before: &State, after: &State, now: &State, is_in_place: bool) -> Result {
    for (name, sha256) in now.store.blobs() {
        if name != sha256 {
            return Err(format!("the blob {name} does not have the content of its digest"));
        }
    }
    let (old, new) = (before.store.layer_trees(), after.store.layer_trees());
    for (name, tree) in now.store.layer_trees() {
        let whole = new.get(&name).or(old.get(&name)).ok_or_else(|| format!("there is an unexpected tree {name}"))?;
        if let Some(what) = whole.difference(&tree) {
            return Err(format!("the tree {name}: {what}"));
        }
    }
    document(INDEX, [&before.store, &after.store, &now.store], is_empty_index)?;
    document(LAYOUT, [&before.store, &after.store, &now.store], |_| false)?;
    document(LOGIN, [&before.home, &after.home, &now.home], |_| false)?;
    let is_old = |target: &Snapshot| before.target.as_ref().is_some_and(|old| old.difference(target).is_none());
    match (&after.target, &now.target) {
        (_, Some(target)) if is_old(target) || (is_in_place && now.is_marked) => Ok(()),
        (Some(expected), Some(target)) => {
            expected.difference(target).map_or(Ok(()), |what| Err(format!("target: {what}")))
        }
        (None, Some(_)) => Err("there is an unexpected target".into()),
        (_, None) => Ok(()),
    }
}

/// Checks that everything is as after a run without a fault, with nothing left over.
pub fn is_complete(after: &State, now: &State) -> Result {
    let none = Snapshot::default();
    let target = |state| -> &Snapshot { Option::as_ref(state).unwrap_or(&none) };
    let parts = [
        ("store", &after.store, &now.store),
        ("home", &after.home, &now.home),
        ("target", target(&after.target), target(&now.target)),
    ];
    for (part, expected, now) in parts {
        if let Some(what) = expected.difference(now) {
            return Err(format!("{part}: {what}"));
        }
    }
    if after.beside == now.beside { Ok(()) } else { Err(format!("files next to the target: {:?}", now.beside)) }
}

/// The digests of the blobs in the store.
pub fn committed(state: &State) -> Vec<String> {
    state.store.blobs().map(|(name, _)| format!("sha256:{name}")).collect()
}

/// Checks that no blob was requested twice, and none that was in the store.
pub fn asks_for_what_is_missing(targets: &[String], committed: &[String]) -> Result {
    for (index, target) in targets.iter().enumerate() {
        let Some((_, digest)) = target.split_once("/blobs/") else { continue };
        if committed.iter().any(|committed| committed == digest) {
            return Err(format!("{digest} was in the store and was fetched again"));
        }
        if targets[..index].contains(target) {
            return Err(format!("{digest} was fetched twice"));
        }
    }
    Ok(())
}

fn document(name: &str, [before, after, now]: [&Snapshot; 3], is_between: fn(&[u8]) -> bool) -> Result {
    let now = now.document(name);
    if now == before.document(name) || now == after.document(name) || now.is_some_and(is_between) {
        return Ok(());
    }
    let text = now.map_or("absent".into(), String::from_utf8_lossy);
    Err(format!("{name} is neither the old nor the new one: {text}"))
}

fn is_empty_index(content: &[u8]) -> bool {
    content.starts_with(b"{")
        && content.ends_with(b"}")
        && content.windows(NO_IMAGES.len()).any(|part| part == NO_IMAGES)
}
