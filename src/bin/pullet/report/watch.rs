//! The states of a watch in words.

use pullet::WatchState;

/// For programs.
pub(super) fn word(state: WatchState) -> &'static str {
    match state {
        WatchState::Unchanged => "unchanged",
        WatchState::Skipped => "skipped",
        WatchState::Changed => "changed",
        WatchState::Handled => "handled",
        WatchState::Failed => "failed",
        WatchState::Postponed => "postponed",
        _ => "other",
    }
}

/// For people.
pub(super) fn text(state: WatchState) -> &'static str {
    match state {
        WatchState::Unchanged => "unchanged",
        WatchState::Skipped => "has failed before",
        WatchState::Changed => "new: running the command",
        WatchState::Handled => "the command succeeded",
        WatchState::Failed => "the command failed, and is not run for this digest again",
        WatchState::Postponed => "the command did not succeed yet, and is run again later",
        _ => "",
    }
}
