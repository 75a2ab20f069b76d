//! How far the transfer of one image is: the state of each layer, the total, and the rate.

use std::time::Duration;

use pullet::{Digest, Event, Layer, LayerState};

/// The state of the image whose events arrive now.
#[derive(Default)]
pub(super) struct Transfer {
    plan: Option<Plan>,
    /// By the index of the layer.
    layers: Vec<Option<LayerProgress>>,
    rate: Rate,
}

/// What was planned, in bytes and layers.
#[derive(Clone, Copy)]
struct Plan {
    size: u64,
    missing: usize,
    bytes: u64,
    kept: u64,
    is_resumable: bool,
}

/// A layer and its place in the image. Not the library's type, because only the library can make one of those, and so tests
/// here could not.
#[derive(Clone, Copy)]
pub(super) struct Place {
    index: usize,
    total: usize,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl From<Layer> for Place {
    fn from(layer: Layer) -> Self {
        let Layer { index, total, digest, size, .. } = layer;
        Self { index, total, digest, size }
    }
}

/// How far one layer is.
#[derive(Clone, Copy)]
pub(super) struct LayerProgress {
    pub(super) layer: Place,
    pub(super) phase: Phase,
    /// True if this run fetches it.
    is_fetched_now: bool,
    /// The bytes of the first report: those that an interrupted run left.
    first: Option<u64>,
}

/// The phase of a layer, with the bytes so far.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Phase {
    Waiting,
    Fetching(u64),
    /// Unpacked while it arrives.
    Streaming(u64),
    Stored,
    Unpacking(u64),
    Unpacked,
}

/// The total of a transfer.
#[derive(Clone, Copy)]
pub(super) struct Total {
    pub(super) layers: usize,
    pub(super) layers_done: usize,
    pub(super) bytes_done: u64,
    /// `None` if the sizes of the layers are unknown.
    pub(super) bytes: Option<u64>,
    /// Bytes a second; `None` in the first second.
    pub(super) rate: Option<u64>,
}

impl Transfer {
    /// Takes an event in. Returns true if a layer enters another phase.
    pub(super) fn update(&mut self, event: Event<'_>, now: Duration) -> bool {
        match event {
            Event::Pulling { .. } => *self = Self::default(),
            // Unpacking from the store follows a pull of the same image.
            Event::Plan { missing: 0, size, .. } if self.plan.is_some_and(|plan| plan.size == size) => {}
            Event::Plan { size, missing, bytes, kept, is_resumable, .. } => {
                *self = Self::planned(Plan { size, missing, bytes, kept, is_resumable });
            }
            Event::Layer { layer, state, .. } => return self.update_layer(layer.into(), state, now),
            Event::Unpacking { layer, read, .. } => return self.update_unpacking(layer.into(), read, now),
            _ => {}
        }
        false
    }

    fn planned(plan: Plan) -> Self {
        Self { plan: Some(plan), ..Self::default() }
    }

    fn update_layer(&mut self, layer: Place, state: LayerState, now: Duration) -> bool {
        let before = self.known(layer);
        let mut after = LayerProgress { layer, is_fetched_now: true, ..before };
        after.phase = match (state, before.phase) {
            (LayerState::Downloading(count), _) => Phase::Fetching(count),
            (LayerState::Complete, Phase::Streaming(_)) => Phase::Unpacked,
            (LayerState::Complete, _) => Phase::Stored,
            (LayerState::Exists, _) => {
                after.is_fetched_now = false;
                Phase::Stored
            }
            _ => Phase::Waiting,
        };
        if let Phase::Fetching(count) = after.phase {
            after.first = before.first.or(Some(count));
        }
        self.store(before.phase, after, now)
    }

    fn update_unpacking(&mut self, layer: Place, read: u64, now: Duration) -> bool {
        let before = self.known(layer);
        let phase = match before.phase {
            Phase::Waiting | Phase::Streaming(_) if before.is_fetched_now => Phase::Streaming(read),
            _ if read < layer.size => Phase::Unpacking(read),
            _ => Phase::Unpacked,
        };
        self.store(before.phase, LayerProgress { phase, ..before }, now)
    }

    /// The layer as it was; waiting if there was no event about it.
    fn known(&self, layer: Place) -> LayerProgress {
        let unknown = LayerProgress { layer, phase: Phase::Waiting, is_fetched_now: false, first: None };
        self.layers.get(layer.index).copied().flatten().unwrap_or(unknown)
    }

    fn store(&mut self, before: Phase, after: LayerProgress, now: Duration) -> bool {
        let index = after.layer.index;
        if self.layers.len() <= index {
            self.layers.resize(index + 1, None);
        }
        if let Some(layer) = self.layers.get_mut(index) {
            *layer = Some(after);
        }
        self.rate.update(now, self.total().bytes_done);
        std::mem::discriminant(&before) != std::mem::discriminant(&after.phase)
    }

    fn known_layers(&self) -> impl Iterator<Item = &LayerProgress> {
        self.layers.iter().flatten()
    }

    /// The layers that are fetched or unpacked now.
    pub(super) fn active(&self) -> impl Iterator<Item = &LayerProgress> {
        self.known_layers().filter(|layer| layer.bytes().is_some())
    }

    /// True if nothing is left to fetch, and no layer is being unpacked.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_fetching() && self.active().next().is_none()
    }

    fn is_fetching(&self) -> bool {
        let is_fetched = |layer: &&LayerProgress| layer.is_fetched_now && layer.is_stored();
        match self.plan {
            Some(plan) => self.known_layers().filter(is_fetched).count() < plan.missing,
            None => self.known_layers().any(|layer| layer.is_fetched_now && !layer.is_stored()),
        }
    }

    /// The total of what is done now: of the fetching until that is complete, then of the unpacking.
    pub(super) fn total(&self) -> Total {
        let layers = self.known_layers().map(|layer| layer.layer.total).max().unwrap_or(0);
        let rate = self.rate.bytes_per_second;
        if self.is_fetching() {
            let layers_done = self.known_layers().filter(|layer| layer.is_stored()).count();
            let bytes = self.plan.map(|plan| plan.bytes);
            return Total { layers, layers_done, bytes_done: self.fetched(), bytes, rate };
        }
        let layers_done = self.known_layers().filter(|layer| layer.phase == Phase::Unpacked).count();
        let bytes_done = self.known_layers().fold(0, |sum: u64, layer| sum.saturating_add(layer.unpacked()));
        Total { layers, layers_done, bytes_done, bytes: self.plan.map(|plan| plan.size), rate }
    }

    /// The bytes of the layers to fetch that have arrived, in this run or an earlier one.
    fn fetched(&self) -> u64 {
        let arrived = self.known_layers().filter(|layer| layer.is_fetched_now).map(LayerProgress::arrived);
        let kept = self.plan.map_or(0, |plan| plan.kept);
        let most = self.plan.map_or(u64::MAX, |plan| plan.bytes);
        // A layer that starts over has fewer bytes than an interrupted run left.
        u64::try_from(i128::from(kept) + arrived.sum::<i128>()).unwrap_or(0).min(most)
    }

    /// What the store keeps if the run is interrupted now, and of how many bytes. `None` if it keeps nothing.
    pub(super) fn kept(&self) -> Option<(u64, u64)> {
        let plan = self.plan.filter(|plan| plan.is_resumable)?;
        Some((self.fetched(), plan.bytes)).filter(|(kept, _)| *kept > 0)
    }
}

impl LayerProgress {
    /// The bytes so far of a layer that is fetched or unpacked now.
    pub(super) fn bytes(&self) -> Option<u64> {
        match self.phase {
            Phase::Fetching(count) | Phase::Streaming(count) | Phase::Unpacking(count) => Some(count),
            Phase::Waiting | Phase::Stored | Phase::Unpacked => None,
        }
    }

    fn is_stored(&self) -> bool {
        matches!(self.phase, Phase::Stored | Phase::Unpacking(_) | Phase::Unpacked)
    }

    /// The bytes that arrived in this run.
    fn arrived(&self) -> i128 {
        let count = match self.phase {
            Phase::Waiting => return 0,
            Phase::Fetching(count) | Phase::Streaming(count) => count,
            Phase::Stored | Phase::Unpacking(_) | Phase::Unpacked => self.layer.size,
        };
        i128::from(count) - i128::from(self.first.unwrap_or(0))
    }

    fn unpacked(&self) -> u64 {
        match self.phase {
            Phase::Unpacking(count) => count,
            Phase::Unpacked => self.layer.size,
            _ => 0,
        }
    }
}

/// The rate of the last seconds, by the bytes at two earlier times.
#[derive(Default)]
struct Rate {
    older: Option<Sample>,
    newer: Option<Sample>,
    bytes_per_second: Option<u64>,
}

#[derive(Clone, Copy)]
struct Sample {
    time: Duration,
    bytes: u64,
}

impl Rate {
    /// Time between two samples.
    const INTERVAL: Duration = Duration::from_secs(3);
    /// The shortest time over which a rate says anything.
    const LEAST: Duration = Duration::from_secs(1);

    fn update(&mut self, time: Duration, bytes: u64) {
        let now = Sample { time, bytes };
        let (Some(older), Some(newer)) = (self.older, self.newer) else {
            (self.older, self.newer) = (Some(now), Some(now));
            return;
        };
        // Another stage counts from 0.
        if bytes < newer.bytes {
            *self = Self { older: Some(now), newer: Some(now), bytes_per_second: None };
            return;
        }
        if time.saturating_sub(newer.time) >= Self::INTERVAL {
            (self.older, self.newer) = (Some(newer), Some(now));
        }
        let elapsed = time.saturating_sub(older.time);
        if elapsed >= Self::LEAST {
            let rate = u128::from(bytes - older.bytes) * 1000 / elapsed.as_millis().max(1);
            self.bytes_per_second = u64::try_from(rate).ok();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// An image of layers of 10 MB each, of which the last `missing` are fetched. An interrupted run has left 5 MB of the first
    /// one of these.
    pub(in super::super) fn planned(layers: usize, missing: usize) -> Transfer {
        let [size, bytes] = [layers, missing].map(|count| count as u64 * 10 * MB);
        let mut transfer = Transfer::planned(Plan { size, missing, bytes, kept: 5 * MB, is_resumable: true });
        for index in 0..layers {
            let state = if index < layers - missing { LayerState::Exists } else { LayerState::Waiting };
            transfer.update_layer(place(index, layers), state, Duration::ZERO);
        }
        transfer
    }

    /// Takes in that `bytes` of a layer have arrived.
    pub(in super::super) fn fetch(transfer: &mut Transfer, index: usize, bytes: u64, milliseconds: u64) -> bool {
        let place = place(index, transfer.layers.len());
        transfer.update_layer(place, LayerState::Downloading(bytes), Duration::from_millis(milliseconds))
    }

    fn place(index: usize, total: usize) -> Place {
        Place { index, total, digest: Digest::sha256(&[b'0' + index as u8]), size: 10 * MB }
    }

    /// Layers that are done, and bytes.
    fn shown(transfer: &Transfer) -> (usize, u64, Option<u64>, Option<u64>) {
        let total = transfer.total();
        (total.layers_done, total.bytes_done / MB, total.bytes.map(|bytes| bytes / MB), total.rate)
    }

    #[test]
    fn counts_what_an_interrupted_run_left() {
        let mut transfer = planned(3, 2);
        assert_eq!((shown(&transfer), transfer.kept()), ((1, 5, Some(20), None), Some((5 * MB, 20 * MB))));
        assert!(fetch(&mut transfer, 1, 5 * MB, 0));
        assert!(!fetch(&mut transfer, 1, 7 * MB, 500));
        assert_eq!(shown(&transfer), (1, 7, Some(20), None));
        // It did not match its digest, and starts over.
        fetch(&mut transfer, 1, 0, 600);
        assert_eq!(shown(&transfer), (1, 0, Some(20), None));
        transfer.update_layer(place(1, 3), LayerState::Complete, Duration::from_secs(1));
        assert_eq!((shown(&transfer), transfer.is_idle()), ((2, 10, Some(20), None), false));
        transfer.update_layer(place(2, 3), LayerState::Complete, Duration::from_secs(2));
        assert_eq!((transfer.kept(), transfer.is_idle()), (Some((20 * MB, 20 * MB)), true));
    }

    #[test]
    fn counts_the_unpacking_after_the_fetching() {
        let mut transfer = planned(2, 1);
        transfer.update_layer(place(1, 2), LayerState::Complete, Duration::ZERO);
        transfer.update_unpacking(place(0, 2), 4 * MB, Duration::ZERO);
        assert_eq!((shown(&transfer), transfer.is_idle()), ((0, 4, Some(20), None), false));
        transfer.update_unpacking(place(0, 2), 10 * MB, Duration::ZERO);
        assert_eq!((shown(&transfer), transfer.is_idle()), ((1, 10, Some(20), None), true));
    }

    #[test]
    fn counts_a_streamed_layer_once() {
        let mut transfer =
            Transfer::planned(Plan { size: 10 * MB, missing: 1, bytes: 10 * MB, kept: 0, is_resumable: false });
        transfer.update_layer(place(0, 1), LayerState::Waiting, Duration::ZERO);
        transfer.update_unpacking(place(0, 1), 4 * MB, Duration::ZERO);
        assert_eq!((shown(&transfer), transfer.kept()), ((0, 4, Some(10), None), None));
        transfer.update_layer(place(0, 1), LayerState::Complete, Duration::ZERO);
        assert_eq!((shown(&transfer), transfer.is_idle()), ((1, 10, Some(10), None), true));
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut transfer = planned(2, 2);
        for (milliseconds, bytes, rate) in [
            (0, 0, None),
            (999, 1, None),
            (1000, 1, Some(1)),
            (3000, 3, Some(1)),
            (6000, 3, Some(0)),
            (9000, 9, Some(1)),
        ] {
            fetch(&mut transfer, 0, bytes * MB, milliseconds);
            assert_eq!(transfer.total().rate.map(|rate| rate / MB), rate, "{milliseconds}");
        }
    }
}
