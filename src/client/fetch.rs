//! Fetches the layers of an image into the store: one after the other, or with more than one job in parallel, while the
//! calling thread unpacks those that have arrived.

use std::path::Path;

use super::blob::BlobFetcher;
use super::body::BlobSource;
use super::client::Client;
use super::resolved::Resolved;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::images::{ImageLayer, Need, check_space, least_tree};
use crate::progress::{Event, LayerState, Progress};
use crate::registry::Connections;
use crate::store::Store;
use crate::workers::{self, Worker};

/// Called for each layer as soon as the store has it, in the order of the image, in the calling thread.
pub(crate) type Apply<'a> = dyn FnMut(&ImageLayer<'_>) -> Result<()> + 'a;

/// One layer, and whether it must be fetched.
struct Step<'m> {
    layer: &'m ImageLayer<'m>,
    is_missing: bool,
    /// Whether it will be unpacked, so that it need not be fetched if it cannot be.
    is_unpacked: bool,
}

impl Client {
    /// Fetches the layers that the store does not have, and returns how many those were. Fails before the first one if
    /// there is no room for them, and for the tree if there is a target.
    pub(crate) fn fetch_layers(
        &self,
        resolved: &mut Resolved<'_>,
        layers: &[ImageLayer<'_>],
        store: &Store,
        target: Option<&Path>,
        apply: &mut Apply<'_>,
    ) -> Result<usize> {
        let is_unpacked = target.is_some() || self.options.unpacks;
        let steps = plan(layers, store, is_unpacked)?;
        report_plan(&steps, store, resolved.progress)?;
        for step in &steps {
            let state = if step.is_missing { LayerState::Waiting } else { LayerState::Exists };
            resolved.progress.report(Event::Layer { layer: step.layer.layer, state });
        }
        check_fetch_space(&steps, layers, store, target)?;
        // A single layer needs no second connection.
        let jobs = self.options.jobs.min(steps.len());
        if jobs > 1 {
            self.fetch_in_parallel(resolved, store, &steps, jobs, apply)?;
        } else {
            self.fetch_in_order(resolved, store, &steps, apply)?;
        }
        let lost = lost_layers(layers, store, is_unpacked)?;
        self.fetch_in_order(resolved, store, &lost, &mut |_| Ok(()))?;
        Ok(lost.len() + steps.iter().filter(|step| step.is_missing).count())
    }

    /// Fetches without a thread.
    fn fetch_in_order(
        &self,
        resolved: &mut Resolved<'_>,
        store: &Store,
        steps: &[Step<'_>],
        apply: &mut Apply<'_>,
    ) -> Result<()> {
        let mut fetcher = BlobFetcher {
            client: self,
            repository: &mut resolved.repository,
            store,
            cancel: &self.options.cancel,
            progress: resolved.progress,
        };
        for step in steps {
            step.fetch(&mut fetcher)?;
            apply(step.layer)?;
        }
        Ok(())
    }

    /// Fetches with one thread, and separate connections, for each job: cancelling a job must interrupt its own blocked
    /// read and nobody else's.
    fn fetch_in_parallel(
        &self,
        resolved: &mut Resolved<'_>,
        store: &Store,
        steps: &[Step<'_>],
        jobs: usize,
        apply: &mut Apply<'_>,
    ) -> Result<()> {
        let missing = steps.iter().filter(|step| step.is_missing).count();
        let flags: Vec<Cancel> = (0..jobs.min(missing).max(1)).map(|_| self.options.cancel.child()).collect();
        let connections: Vec<Connections> = flags.iter().map(|flag| self.connections.with_cancel(flag)).collect();
        let progress = resolved.progress;
        let mut workers = Vec::new();
        for (cancel, connections) in flags.iter().zip(&connections) {
            let mut repository = resolved.repository.with_connections(connections);
            let work = move |step: &Step<'_>| {
                let mut fetcher = BlobFetcher { client: self, repository: &mut repository, store, cancel, progress };
                step.fetch(&mut fetcher)
            };
            workers.push(Worker { cancel: cancel.clone(), work });
        }
        workers::in_order(workers, steps, |step, ()| apply(step.layer))
    }
}

impl Step<'_> {
    fn fetch(&self, fetcher: &mut BlobFetcher<'_, '_>) -> Result<()> {
        if !self.is_missing {
            return Ok(());
        }
        let (layer, descriptor) = (self.layer.layer, self.layer.descriptor);
        let source =
            if self.is_unpacked { BlobSource::unpacked_layer(descriptor) } else { BlobSource::layer(descriptor) };
        fetcher.fetch(layer, source).map_err(|e| e.context(layer.label()))
    }
}

/// Decides which layers must be fetched. A layer that an image has twice is fetched once.
fn plan<'m>(layers: &'m [ImageLayer<'m>], store: &Store, is_unpacked: bool) -> Result<Vec<Step<'m>>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for layer in layers {
        let digest = layer.descriptor.blob.digest;
        let is_repeated = steps.iter().any(|step| step.is_missing && step.layer.descriptor.blob.digest == digest);
        let is_missing = !is_repeated && !store.contains(&layer.descriptor.blob)?;
        steps.push(Step { layer, is_missing, is_unpacked });
    }
    Ok(steps)
}

/// Reports what will be fetched.
fn report_plan(steps: &[Step<'_>], store: &Store, progress: &dyn Progress) -> Result<()> {
    let (mut size, mut missing, mut bytes, mut lacking) = (0_u64, 0, 0_u64, 0_u64);
    for step in steps {
        let blob = &step.layer.descriptor.blob;
        size = size.saturating_add(blob.size);
        if step.is_missing {
            missing += 1;
            bytes = bytes.saturating_add(blob.size);
            lacking = lacking.saturating_add(store.lacks(blob)?);
        }
    }
    let kept = bytes.saturating_sub(lacking);
    progress.report(Event::Plan { layers: steps.len(), size, missing, bytes, kept, is_resumable: true });
    Ok(())
}

/// The layers that the store has lost since they were planned: a tool that removes blobs without taking the lock may have
/// removed them.
fn lost_layers<'m>(layers: &'m [ImageLayer<'m>], store: &Store, is_unpacked: bool) -> Result<Vec<Step<'m>>> {
    let mut lost = Vec::new();
    for layer in layers {
        if !store.contains(&layer.descriptor.blob)? {
            lost.push(Step { layer, is_missing: true, is_unpacked });
        }
    }
    Ok(lost)
}

/// Checks that the missing layers fit, and the tree if one is to be made.
fn check_fetch_space(
    steps: &[Step<'_>],
    layers: &[ImageLayer<'_>],
    store: &Store,
    target: Option<&Path>,
) -> Result<()> {
    let mut blobs = Need { path: store.folder(), bytes: 0, files: 0 };
    for step in steps.iter().filter(|step| step.is_missing) {
        blobs.bytes = blobs.bytes.saturating_add(store.lacks(&step.layer.descriptor.blob)?);
        blobs.files += 1;
    }
    let mut needs = vec![blobs];
    if let Some(path) = target {
        needs.push(Need { path, bytes: least_tree(layers), files: 0 });
    }
    check_space(&needs)
}
