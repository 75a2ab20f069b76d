//! The layers of an image, into the store: one after the other, or with more than one job side by side, while the calling
//! thread already unpacks those that are there.

use std::path::Path;

use super::blob::BlobFetcher;
use super::client::Client;
use super::resolve::Resolved;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::images::{Need, check_space, least_tree};
use crate::oci::manifest::{self, Manifest};
use crate::progress::{Event, Layer, LayerState};
use crate::registry::Connections;
use crate::store::Store;
use crate::workers;

/// What is done with each layer as soon as the store has it: in the image's order, in the calling thread.
pub(crate) type Ready<'a> = dyn FnMut(Layer, &manifest::LayerDescriptor) -> Result<()> + 'a;

/// One layer, and whether it must be fetched.
struct Step<'m> {
    layer: Layer,
    described: &'m manifest::LayerDescriptor,
    is_missing: bool,
}

impl Client {
    /// Fetches the layers that the store lacks, and tells how many those were. Fails before the first if there is no room
    /// for them, and for the tree beside them if there is a target.
    pub(crate) fn fetch_layers(
        &self,
        resolved: &mut Resolved<'_>,
        manifest: &Manifest,
        store: &Store,
        (target, ready): (Option<&Path>, &mut Ready<'_>),
    ) -> Result<usize> {
        let mut steps: Vec<Step<'_>> = Vec::new();
        for (layer, described) in manifest.placed() {
            let is_repeated = steps.iter().any(|step| step.is_missing && step.layer.digest == layer.digest);
            let is_missing = !is_repeated && !store.contains(&described.blob)?;
            let state = if is_missing { LayerState::Waiting } else { LayerState::Exists };
            resolved.progress.report(Event::Layer { layer, state });
            steps.push(Step { layer, described, is_missing });
        }
        check_fetch_space(&steps, (store, manifest), target)?;
        // One layer alone needs no further connection.
        match self.options.jobs.0.min(steps.len()) {
            0 | 1 => self.one_by_one(resolved, store, &steps, ready)?,
            jobs => self.side_by_side(resolved, store, &steps, (jobs, ready))?,
        }
        // Who removes a blob without asking for the lock may have done so after the first look.
        let mut lost = Vec::new();
        for (layer, described) in manifest.placed() {
            if !store.contains(&described.blob)? {
                lost.push(Step { layer, described, is_missing: true });
            }
        }
        self.one_by_one(resolved, store, &lost, &mut |_, _| Ok(()))?;
        Ok(lost.len() + steps.iter().filter(|step| step.is_missing).count())
    }

    /// The plain loop.
    fn one_by_one(
        &self,
        resolved: &mut Resolved<'_>,
        store: &Store,
        steps: &[Step<'_>],
        ready: &mut Ready<'_>,
    ) -> Result<()> {
        let mut fetcher = BlobFetcher::new(self, (&mut resolved.repository, resolved.progress), store);
        for Step { layer, described, is_missing } in steps {
            if *is_missing {
                fetcher.fetch(*layer, described).map_err(|e| e.context(layer.label()))?;
            }
            ready(*layer, described)?;
        }
        Ok(())
    }

    /// Each job on a thread, and over connections, of its own: cancelling one must reach it where it waits for bytes, and
    /// nobody else.
    fn side_by_side(
        &self,
        resolved: &mut Resolved<'_>,
        store: &Store,
        steps: &[Step<'_>],
        (jobs, ready): (usize, &mut Ready<'_>),
    ) -> Result<()> {
        let missing = steps.iter().filter(|step| step.is_missing).count();
        let flags: Vec<Cancel> = (0..jobs.min(missing).max(1)).map(|_| self.options.cancel.child()).collect();
        let connections: Vec<Connections> = flags.iter().map(|flag| self.connections.with_cancel(flag)).collect();
        let progress = resolved.progress;
        let mut workers = Vec::new();
        for (cancel, connections) in flags.iter().zip(&connections) {
            let mut repository = resolved.repository.with_connections(connections);
            let work = move |Step { layer, described, is_missing }: &Step<'_>| {
                let mut fetcher = BlobFetcher { client: self, repository: &mut repository, store, cancel, progress };
                let fetched = if *is_missing { fetcher.fetch(*layer, described) } else { Ok(()) };
                fetched.map_err(|e| e.context(layer.label()))
            };
            workers.push((cancel.clone(), work));
        }
        workers::in_order(workers, steps, |step, ()| ready(step.layer, step.described))
    }
}

/// Whether the missing layers fit, and the tree beside them if one is to be made.
fn check_fetch_space(steps: &[Step<'_>], (store, manifest): (&Store, &Manifest), target: Option<&Path>) -> Result<()> {
    let (mut bytes, mut files) = (0_u64, 0);
    for step in steps.iter().filter(|step| step.is_missing) {
        bytes = bytes.saturating_add(store.lacks(&step.described.blob)?);
        files += 1;
    }
    let tree = target.map(|path| Need { path, bytes: least_tree(manifest), files: 0 });
    let blobs = Need { path: store.folder(), bytes, files };
    check_space(&[Some(blobs), tree].into_iter().flatten().collect::<Vec<_>>())
}
