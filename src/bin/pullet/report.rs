//! What is told while the work goes on, on standard error: lines as Docker's, one live line on a terminal, or JSON
//! objects; and at the end the error and the exit code.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pullet::{Escaped, Event, Layer, LayerState, Progress, Store};
use serde_json::{Value, json};

use crate::args::{Common, ProgressMode};
use crate::exit::Failure;
use crate::text;

/// Time between two reports of the same layer's bytes.
const INTERVAL: Duration = Duration::from_millis(100);

/// Tells on standard error, in the way that was asked for.
pub(crate) struct Reporter {
    mode: ProgressMode,
    is_verbose: bool,
    last: Mutex<Option<Instant>>,
}

/// The store that the options or the environment name.
pub(crate) fn store(common: &Common) -> Result<Store, Failure> {
    let folder = common.store.clone().or_else(pullet::default_store);
    folder.map(Store::open).ok_or_else(|| {
        Failure::Usage("no folder for the store can be told".to_owned(), "name one with --store DIR".to_owned())
    })
}

impl Reporter {
    /// A reporter of the kind that fits options and terminal.
    pub(crate) fn new(common: &Common) -> Self {
        let is_terminal = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let mode = match (common.progress, common.is_quiet) {
            (ProgressMode::Auto, true) => ProgressMode::None,
            (ProgressMode::Auto, false) if is_terminal => ProgressMode::Tty,
            (ProgressMode::Auto, false) => ProgressMode::Plain,
            (chosen, _) => chosen,
        };
        Self { mode, is_verbose: common.is_verbose, last: Mutex::new(None) }
    }

    /// A line for people; none of it is for programs.
    pub(crate) fn tell(&self, line: &str) {
        match self.mode {
            ProgressMode::None => {}
            ProgressMode::Json => write(&format!("{}\n", json!({ "event": "note", "text": line }))),
            ProgressMode::Tty => write(&format!("\r\x1b[K{}\n", Escaped(line))),
            _ => write(&format!("{}\n", Escaped(line))),
        }
    }

    /// The same for who asked for more.
    pub(crate) fn tell_verbosely(&self, line: &str) {
        if self.is_verbose {
            self.tell(line);
        }
    }

    /// Ends the program: tells the failure, if there is one, and gives its code.
    pub(crate) fn end(&self, outcome: Result<(), Failure>) -> ExitCode {
        let failure = outcome.err();
        let code = failure.as_ref().map_or(0, Failure::code);
        let lines = failure.as_ref().and_then(Failure::lines);
        if self.mode == ProgressMode::Json {
            write(&format!("{}\n", end_object(failure.as_ref(), lines.as_ref())));
        } else if let Some((what, hint)) = lines {
            let clear = if self.mode == ProgressMode::Tty { "\r\x1b[K" } else { "" };
            write(&format!("{clear}pullet: {}\n", Escaped(&what)));
            hint.iter().for_each(|hint| write(&format!("hint: {}\n", Escaped(hint))));
        }
        ExitCode::from(code)
    }

    fn is_due(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    fn report_json(&self, event: Event<'_>) {
        let object = match event {
            Event::Answered { .. } | Event::Configured { .. } if !self.is_verbose => return,
            Event::Layer { state: LayerState::Downloading(count), layer } if count < layer.size && !self.is_due() => {
                return;
            }
            Event::Unpacking { read, layer } if read < layer.size && !self.is_due() => return,
            event => object(event),
        };
        write(&format!("{object}\n"));
    }

    fn report_lines(&self, event: Event<'_>) {
        match event {
            Event::Answered { method, url, status } if self.is_verbose => {
                self.tell(&format!("{method} {url}: {status}"))
            }
            Event::Configured { what, from } if self.is_verbose => self.tell(&format!("{what}: from {from}")),
            Event::Pulling { label, path } => self.tell(&format!("{label}: Pulling from {path}")),
            Event::Layer { layer, state } => match state {
                LayerState::Waiting => self.tell_layer(layer, "Pulling fs layer"),
                LayerState::Downloading(count) => self.live(layer, "Downloading", count),
                LayerState::Complete => self.tell_layer(layer, "Pull complete"),
                LayerState::Exists => self.tell_layer(layer, "Already exists"),
                _ => {}
            },
            Event::Unpacking { layer, read } if read < layer.size => self.live(layer, "Extracting", read),
            Event::Unpacking { layer, .. } => self.tell_layer(layer, "Unpacked"),
            Event::Note(text) => self.tell(text),
            Event::Retry { reason, wait, attempt, retries } => {
                self.tell(&format!("{reason}; retrying in {:.1} s ({attempt} of {retries})", wait.as_secs_f64()));
            }
            _ => {}
        }
    }

    fn tell_layer(&self, layer: Layer, what: &str) {
        self.tell(&format!("{}: {what}", layer.digest.short()));
    }

    /// The one line that is written over again and again: terminals have it, files do not.
    fn live(&self, layer: Layer, what: &str, count: u64) {
        const WIDTH: u64 = 30;
        if self.mode != ProgressMode::Tty || !self.is_due() {
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
        Event::Answered { method, url, status } => {
            json!({ "event": "request", "method": method, "url": url, "status": status })
        }
        Event::Pulling { label, path } => json!({ "event": "pulling", "label": label, "path": path }),
        Event::Layer { layer, state } => {
            let (word, current) = match state {
                LayerState::Waiting => ("waiting", 0),
                LayerState::Downloading(count) => ("downloading", count),
                LayerState::Exists => ("exists", layer.size),
                _ => ("complete", layer.size),
            };
            merged(json!({ "event": "layer", "state": word, "current": current }), place(layer))
        }
        Event::Unpacking { layer, read } => merged(json!({ "event": "unpack", "current": read }), place(layer)),
        Event::Configured { what, from } => json!({ "event": "configured", "what": what, "from": from }),
        Event::Note(text) => json!({ "event": "note", "text": text }),
        Event::Retry { reason, wait, attempt, retries } => json!({
            "event": "retry", "reason": reason, "wait": wait.as_secs_f64(), "attempt": attempt, "retries": retries,
        }),
        _ => json!({ "event": "other" }),
    }
}

fn merged(mut first: Value, second: Value) -> Value {
    if let (Some(first), Value::Object(second)) = (first.as_object_mut(), second) {
        first.extend(second);
    }
    first
}

fn end_object(failure: Option<&Failure>, lines: Option<&(String, Option<String>)>) -> Value {
    json!({
        "event": "end",
        "code": failure.map_or(0, Failure::code),
        "word": failure.map_or("ok", Failure::word),
        "retry": failure.is_some_and(Failure::is_transient),
        "error": lines.map(|(what, _)| what),
        "hint": lines.and_then(|(_, hint)| hint.as_ref()),
    })
}

/// Standard error may be closed; then there is nobody to tell and nothing to be done about it.
fn write(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
