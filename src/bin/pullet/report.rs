//! Reports progress on standard error, as lines like Docker's, with a live line on a terminal, or as JSON objects; at the
//! end, reports the error and the exit code.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[cfg(feature = "manage")]
use pullet::WatchState;
use pullet::{Escaped, Event, Layer, LayerState, Progress};
use serde_json::{Value, json};

use crate::cli::common::{Common, ProgressMode};
use crate::exit::Failure;
use crate::text;

/// The shortest time between two reports of how far a layer is.
const INTERVAL: Duration = Duration::from_millis(100);

/// Reports on standard error, in the form that the options choose.
pub(crate) struct Reporter {
    mode: ProgressMode,
    is_verbose: bool,
    /// When the bytes of each layer, by its index, were last reported.
    last: Mutex<Vec<Option<Instant>>>,
}

impl Reporter {
    /// A reporter for these options and this terminal.
    pub(crate) fn new(common: &Common) -> Self {
        let is_terminal = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let mode = match (common.progress, common.is_quiet) {
            (ProgressMode::Auto, true) => ProgressMode::None,
            (ProgressMode::Auto, false) if is_terminal => ProgressMode::Tty,
            (ProgressMode::Auto, false) => ProgressMode::Plain,
            (chosen, _) => chosen,
        };
        Self { mode, is_verbose: common.is_verbose, last: Mutex::default() }
    }

    /// A line for people. Its text is not part of the public interface.
    pub(crate) fn note(&self, line: &str) {
        match self.mode {
            ProgressMode::None => {}
            ProgressMode::Json => write(&format!("{}\n", json!({ "event": "note", "text": line }))),
            ProgressMode::Tty => write(&format!("\r\x1b[K{}\n", Escaped(line))),
            _ => write(&format!("{}\n", Escaped(line))),
        }
    }

    /// A line that is shown with `-v` only.
    pub(crate) fn note_verbosely(&self, line: &str) {
        if self.is_verbose {
            self.note(line);
        }
    }

    /// Reports the outcome of the program and returns its exit code.
    pub(crate) fn end(&self, outcome: Result<(), Failure>) -> ExitCode {
        let failure = outcome.err();
        let code = failure.as_ref().map_or(0, Failure::code);
        if self.mode == ProgressMode::Json {
            write(&format!("{}\n", end_object(failure.as_ref())));
        } else if let Some((text, hint)) = failure.as_ref().and_then(Failure::lines) {
            let clear = if self.mode == ProgressMode::Tty { "\r\x1b[K" } else { "" };
            write(&format!("{clear}pullet: {}\n", Escaped(text)));
            if let Some(hint) = hint {
                write(&format!("hint: {}\n", Escaped(hint)));
            }
        }
        ExitCode::from(code)
    }

    /// Whether the bytes of a layer may be reported again.
    fn is_due(&self, layer: Layer) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() <= layer.index {
            last.resize(layer.index + 1, None);
        }
        let Some(last) = last.get_mut(layer.index) else { return false };
        let is_due = last.is_none_or(|last| last.elapsed() >= INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    fn report_json(&self, event: Event<'_>) {
        let object = match event {
            Event::Answered { .. } | Event::Configured { .. } if !self.is_verbose => return,
            Event::Layer { state: LayerState::Downloading(count), layer, .. }
                if count < layer.size && !self.is_due(layer) =>
            {
                return;
            }
            Event::Unpacking { read, layer, .. } if read < layer.size && !self.is_due(layer) => return,
            event => object(event),
        };
        write(&format!("{object}\n"));
    }

    fn report_lines(&self, event: Event<'_>) {
        match event {
            Event::Answered { method, url, status, .. } if self.is_verbose => {
                self.note(&format!("{method} {url}: {status}"))
            }
            Event::Configured { what, from, .. } if self.is_verbose => self.note(&format!("{what}: from {from}")),
            Event::Pulling { label, path, .. } => self.note(&format!("{label}: Pulling from {path}")),
            Event::Layer { layer, state, .. } => match state {
                LayerState::Waiting => self.note_layer(layer, "Pulling fs layer"),
                LayerState::Downloading(count) => self.live(layer, "Downloading", count),
                LayerState::Complete => self.note_layer(layer, "Pull complete"),
                LayerState::Exists => self.note_layer(layer, "Already exists"),
                _ => {}
            },
            Event::Unpacking { layer, read, .. } if read < layer.size => self.live(layer, "Extracting", read),
            Event::Unpacking { layer, .. } => self.note_layer(layer, "Unpacked"),
            Event::Note(text) => self.note(text),
            #[cfg(feature = "manage")]
            Event::Watch { digest, state, .. } => {
                let text = format!("{digest}: {}", watch_text(state));
                if matches!(state, WatchState::Unchanged | WatchState::Skipped) {
                    self.note_verbosely(&text);
                } else {
                    self.note(&text);
                }
            }
            Event::Retry { reason, wait, attempt, retries, .. } => {
                self.note(&format!("{reason}; retrying in {:.1} s ({attempt} of {retries})", wait.as_secs_f64()));
            }
            _ => {}
        }
    }

    fn note_layer(&self, layer: Layer, what: &str) {
        self.note(&format!("{}: {what}", layer.digest.short()));
    }

    /// Overwrites the live line, which only terminals have.
    fn live(&self, layer: Layer, what: &str, count: u64) {
        const WIDTH: u64 = 30;
        if self.mode != ProgressMode::Tty || !self.is_due(layer) {
            return;
        }
        let done =
            (u128::from(count) * u128::from(WIDTH) / u128::from(layer.size.max(1))).min(u128::from(WIDTH)) as usize;
        let bar = format!("{}>{}", "=".repeat(done), " ".repeat(WIDTH as usize - done));
        let (short, count, size) = (layer.digest.short(), text::bytes(count), text::bytes(layer.size));
        write(&format!("\r\x1b[K{short}: {what:11} [{bar}] {count}/{size} ({}/{})", layer.index + 1, layer.total));
    }
}

impl Progress for Reporter {
    fn report(&self, event: Event<'_>) {
        match self.mode {
            ProgressMode::None => {}
            ProgressMode::Json => self.report_json(event),
            _ => self.report_lines(event),
        }
    }
}

fn object(event: Event<'_>) -> Value {
    let place = |layer: Layer| json!({ "layer": layer.index + 1, "layers": layer.total, "digest": layer.digest.to_string(), "size": layer.size });
    match event {
        Event::Answered { method, url, status, .. } => {
            json!({ "event": "request", "method": method, "url": url, "status": status })
        }
        Event::Pulling { label, path, .. } => json!({ "event": "pulling", "label": label, "path": path }),
        Event::Plan { layers, missing, bytes, .. } => {
            json!({ "event": "plan", "layers": layers, "missing": missing, "bytes": bytes })
        }
        Event::Layer { layer, state, .. } => {
            let (word, current) = match state {
                LayerState::Waiting => ("waiting", 0),
                LayerState::Downloading(count) => ("downloading", count),
                LayerState::Exists => ("exists", layer.size),
                _ => ("complete", layer.size),
            };
            merged(json!({ "event": "layer", "state": word, "current": current }), place(layer))
        }
        Event::Unpacking { layer, read, .. } => merged(json!({ "event": "unpack", "current": read }), place(layer)),
        Event::Configured { what, from, .. } => json!({ "event": "configured", "what": what, "from": from }),
        Event::Note(text) => json!({ "event": "note", "text": text }),
        #[cfg(feature = "manage")]
        Event::Watch { digest, state, .. } => {
            json!({ "event": "watch", "digest": digest.to_string(), "state": watch_word(state) })
        }
        Event::Retry { reason, wait, attempt, retries, .. } => json!({
            "event": "retry", "reason": reason, "wait": wait.as_secs_f64(), "attempt": attempt, "retries": retries,
        }),
        _ => json!({ "event": "other" }),
    }
}

#[cfg(feature = "manage")]
fn watch_word(state: WatchState) -> &'static str {
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

#[cfg(feature = "manage")]
fn watch_text(state: WatchState) -> &'static str {
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

fn merged(mut first: Value, second: Value) -> Value {
    if let (Some(first), Value::Object(second)) = (first.as_object_mut(), second) {
        first.extend(second);
    }
    first
}

fn end_object(failure: Option<&Failure>) -> Value {
    let lines = failure.and_then(Failure::lines);
    json!({
        "event": "end",
        "code": failure.map_or(0, Failure::code),
        "word": failure.map_or("ok", Failure::word),
        "retry": failure.is_some_and(Failure::is_transient),
        "error": lines.map(|(text, _)| text),
        "hint": lines.and_then(|(_, hint)| hint),
    })
}

/// Ignores errors, because there is nowhere to report that standard error is closed.
fn write(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
