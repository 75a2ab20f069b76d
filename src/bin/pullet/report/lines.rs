//! Progress as lines like Docker's.

use std::time::Duration;

use pullet::{Event, Layer, LayerState};

use super::block::total_line;
use super::transfer::Transfer;

/// Time between two lines of the total, where no terminal shows it.
const TOTAL_INTERVAL: Duration = Duration::from_secs(10);

/// The line for an event, with what it begins with, if it has one. `has_block` leaves out what the block of a terminal
/// shows.
pub(super) fn line(event: Event<'_>, has_block: bool) -> Option<String> {
    let of_layer = |layer: Layer, what: &str| Some(format!("{}: {what}", layer.digest.short()));
    match event {
        Event::Answered { method, url, status, .. } => Some(format!("{method} {url}: {status}")),
        Event::Configured { what, from, .. } => Some(format!("{what}: from {from}")),
        Event::Pulling { label, path, .. } => Some(format!("{label}: Pulling from {path}")),
        Event::Layer { layer, state, .. } => match state {
            LayerState::Waiting if !has_block => of_layer(layer, "Pulling fs layer"),
            LayerState::Complete => of_layer(layer, "Pull complete"),
            LayerState::Exists => of_layer(layer, "Already exists"),
            _ => None,
        },
        Event::Unpacking { layer, read, .. } if read >= layer.size => of_layer(layer, "Unpacked"),
        Event::Note(text) | Event::Warning(text) => Some(text.to_owned()),
        #[cfg(feature = "manage")]
        Event::Watch { digest, state, .. } => Some(format!("{digest}: {}", super::watch::text(state))),
        Event::Retry { reason, wait, attempt, retries, .. } => {
            Some(format!("{reason}; retrying in {:.1} s ({attempt} of {retries})", wait.as_secs_f64()))
        }
        _ => None,
    }
}

/// When the total is printed again.
#[derive(Default)]
pub(super) struct Totals {
    next: Duration,
}

impl Totals {
    /// The line of the total, if it is time for it.
    pub(super) fn line(&mut self, event: Event<'_>, transfer: &Transfer, now: Duration) -> Option<String> {
        if matches!(event, Event::Pulling { .. } | Event::Plan { .. }) {
            self.next = now + TOTAL_INTERVAL;
        }
        if now < self.next || transfer.is_idle() {
            return None;
        }
        self.next = now + TOTAL_INTERVAL;
        Some(total_line(&transfer.total(), usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::transfer::tests::{fetch, planned};
    use super::*;

    #[test]
    fn the_total_is_printed_every_ten_seconds() {
        let (mut totals, mut transfer) = (Totals { next: TOTAL_INTERVAL }, planned(3, 2));
        let mut printed = Vec::new();
        for second in 0..31 {
            fetch(&mut transfer, 1, second * 100_000, second * 1000);
            printed.extend(
                totals.line(Event::Note(""), &transfer, Duration::from_secs(second)).map(|line| (second, line)),
            );
        }
        let line = |bytes: &str, left: &str| format!("Total: 1/3 layers  {bytes}/20MB  100kB/s  {left} left");
        let expected = [(10, line("6MB", "2m20s")), (20, line("7MB", "2m10s")), (30, line("8MB", "2m00s"))];
        assert_eq!(printed, expected);
    }
}
