//! Reports progress: as lines like Docker's, with a block that is redrawn on a terminal, or as JSON; at the end, reports the
//! error and the exit code.

mod block;
mod json;
mod lines;
mod stream;
mod transfer;
#[cfg(feature = "manage")]
mod watch;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[cfg(feature = "manage")]
use pullet::WatchState;
use pullet::{Escaped, Event, LayerState, Progress};

pub(crate) use self::json::Outcome;

use self::block::{Block, Size};
use self::lines::Totals;
use self::stream::Stream;
use self::transfer::Transfer;
use crate::cli::common::{Common, ProgressMode};
use crate::exit::Failure;
use crate::text;

/// The shortest time between two reports of how far a layer is.
const INTERVAL: Duration = Duration::from_millis(100);
/// The size of a terminal that does not say one.
const UNKNOWN_SIZE: (u16, u16) = (80, 24);

/// Reports progress in the form that the options choose.
pub(crate) struct Reporter {
    mode: ProgressMode,
    is_verbose: bool,
    /// True if errors are lines on standard error, and not only JSON there.
    has_error_lines: bool,
    /// True if standard error is a terminal that has colours.
    is_coloured: bool,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    stream: Stream,
    transfer: Transfer,
    block: Block,
    totals: Totals,
    /// When the block was last drawn, and the bytes of each layer, by its index, last reported as JSON.
    drawn: Option<Duration>,
    reported: Vec<Option<Duration>>,
    /// JSON objects, separated by commas.
    results: String,
}

impl Reporter {
    /// A reporter for these options and this terminal, and whether the descriptor that the options name can be used.
    /// `command` is for programs.
    pub(crate) fn new(common: &Common, command: Option<&str>) -> (Self, Result<(), Failure>) {
        let has_terminal = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let is_coloured = has_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (stream, opened) = open_stream(common);
        let is_descriptor = !matches!(stream, Stream::Stderr);
        let mode = match (common.progress, common.is_quiet) {
            (ProgressMode::Auto, _) if is_descriptor => ProgressMode::Json,
            (ProgressMode::Auto, true) => ProgressMode::None,
            (ProgressMode::Auto, false) if has_terminal => ProgressMode::Tty,
            (ProgressMode::Auto, false) => ProgressMode::Plain,
            (chosen, _) => chosen,
        };
        let mut state = State {
            stream,
            transfer: Transfer::default(),
            block: Block::default(),
            totals: Totals::default(),
            drawn: None,
            reported: Vec::new(),
            results: String::new(),
        };
        if mode == ProgressMode::Json {
            state.stream.write(&json::start(command));
        }
        let reporter = Self {
            mode,
            is_verbose: common.is_verbose,
            has_error_lines: mode != ProgressMode::Json || is_descriptor,
            is_coloured,
            start: Instant::now(),
            state: Mutex::new(state),
        };
        (reporter, opened)
    }

    /// A line for people. Its text is not part of the public interface.
    pub(crate) fn note(&self, line: &str) {
        self.report(Event::Note(line));
    }

    /// A line about something that is not as it should be.
    #[cfg(feature = "manage")]
    pub(crate) fn warn(&self, line: &str) {
        self.report(Event::Warning(line));
    }

    /// A line that is shown with `-v` only.
    pub(crate) fn note_verbosely(&self, line: &str) {
        if self.is_verbose {
            self.note(line);
        }
    }

    /// Adds to the results for programs.
    pub(crate) fn result(&self, outcome: &Outcome<'_>) {
        if self.mode == ProgressMode::Json {
            let results = &mut self.state().results;
            if !results.is_empty() {
                results.push(',');
            }
            results.push_str(&json::result(outcome));
        }
    }

    /// Reports the outcome of the program and returns its exit code.
    pub(crate) fn end(&self, outcome: Result<(), Failure>) -> ExitCode {
        let failure = outcome.err();
        let failure = failure.as_ref();
        let mut state = self.state();
        let hint = failure.and_then(|failure| state.hint(failure));
        if self.mode == ProgressMode::Json {
            let end = json::end(failure, hint.as_deref(), &state.results);
            state.stream.write(&end);
        }
        state.erase_block();
        if let Some((text, _)) = failure.and_then(Failure::lines).filter(|_| self.has_error_lines) {
            let mut lines = format!("{} {}\n", self.painted("pullet:", "31"), Escaped(text));
            if let Some(hint) = hint {
                lines.push_str(&format!("hint: {}\n", Escaped(&hint)));
            }
            // There is nowhere to report that standard error is closed.
            let _ = io::stderr().lock().write_all(lines.as_bytes());
        }
        ExitCode::from(failure.map_or(0, Failure::code))
    }

    /// A word in a colour, if the terminal has colours.
    fn painted(&self, word: &str, colour: &str) -> String {
        if self.is_coloured { format!("\x1b[{colour}m{word}\x1b[m") } else { word.to_owned() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if lines have an event only with `-v`.
    fn is_detail(event: Event<'_>) -> bool {
        #[cfg(feature = "manage")]
        if let Event::Watch { state, .. } = event {
            return matches!(state, WatchState::Unchanged | WatchState::Skipped);
        }
        let _ = event;
        false
    }

    fn report_lines(&self, event: Event<'_>, state: &mut State, is_new_phase: bool, now: Duration) {
        let has_block = self.mode == ProgressMode::Tty;
        let mut text = String::new();
        if let Some(line) = lines::line(event, has_block).filter(|_| self.is_verbose || !Self::is_detail(event)) {
            if matches!(event, Event::Warning(_)) {
                text.push_str(&self.painted("warning:", "33"));
                text.push(' ');
            }
            text.push_str(&format!("{}\n", Escaped(&line)));
        }
        if has_block {
            return state.draw_block(&text, is_new_phase, now);
        }
        if let Some(total) = state.totals.line(event, &state.transfer, now) {
            text.push_str(&total);
            text.push('\n');
        }
        if !text.is_empty() {
            state.stream.write(&text);
        }
    }
}

/// The stream that the options name; standard error if it cannot be used.
fn open_stream(common: &Common) -> (Stream, Result<(), Failure>) {
    #[cfg(feature = "manage")]
    if let Some(number) = common.progress_fd {
        let opened = match common.progress {
            ProgressMode::None => Err(Failure::usage("--progress-fd has no effect with --progress none")),
            _ => stream::descriptor::open_stream(number, &common.cancel),
        };
        return match opened {
            Ok(stream) => (stream, Ok(())),
            Err(failure) => (Stream::Stderr, Err(failure)),
        };
    }
    let _ = common;
    (Stream::Stderr, Ok(()))
}

impl Progress for Reporter {
    fn report(&self, event: Event<'_>) {
        if !self.is_verbose && matches!(event, Event::Answered { .. } | Event::Configured { .. }) {
            return;
        }
        let now = self.start.elapsed();
        let state = &mut *self.state();
        let is_new_phase = state.transfer.update(event, now);
        match self.mode {
            ProgressMode::None => {}
            ProgressMode::Json => state.report_json(event, now),
            _ => self.report_lines(event, state, is_new_phase, now),
        }
    }
}

impl State {
    fn report_json(&mut self, event: Event<'_>, now: Duration) {
        let is_due = match event {
            Event::Layer { state: LayerState::Downloading(count), layer, .. } if count < layer.size => {
                self.is_due(layer.index, now)
            }
            Event::Unpacking { read, layer, .. } if read < layer.size => self.is_due(layer.index, now),
            _ => true,
        };
        if let Some(line) = json::event(event).filter(|_| is_due) {
            self.stream.write(&line);
        }
    }

    /// Whether the bytes of a layer may be reported again.
    fn is_due(&mut self, index: usize, now: Duration) -> bool {
        if self.reported.len() <= index {
            self.reported.resize(index + 1, None);
        }
        let Some(last) = self.reported.get_mut(index) else { return false };
        let is_due = last.is_none_or(|last| now.saturating_sub(last) >= INTERVAL);
        if is_due {
            *last = Some(now);
        }
        is_due
    }

    /// Writes lines above the block, which is drawn again if it has changed much or was drawn some time ago.
    fn draw_block(&mut self, above: &str, is_new_phase: bool, now: Duration) {
        let is_due = self.drawn.is_none_or(|drawn| now.saturating_sub(drawn) >= INTERVAL);
        if above.is_empty() && !is_new_phase && !is_due {
            return;
        }
        self.drawn = Some(now);
        let size = self.terminal_size();
        // In one write, so that nothing flickers.
        let text = [&self.block.erase(size), above, &self.block.draw(&self.transfer, size)].concat();
        if !text.is_empty() {
            self.stream.write(&text);
        }
    }

    fn erase_block(&mut self) {
        let text = self.block.erase(self.terminal_size());
        if !text.is_empty() {
            self.stream.write(&text);
        }
    }

    fn terminal_size(&self) -> Size {
        let (columns, rows) = self.stream.size().unwrap_or(UNKNOWN_SIZE);
        Size { columns: columns.into(), rows: rows.into() }
    }

    /// The way out of a failure. After an interruption, what the store keeps.
    fn hint(&self, failure: &Failure) -> Option<String> {
        let (_, hint) = failure.lines()?;
        if let Some((kept, bytes)) = self.transfer.kept().filter(|_| failure.is_interruption()) {
            let (kept, bytes) = (text::bytes(kept), text::bytes(bytes));
            return Some(format!("{kept} of {bytes} are kept: the same command continues from there"));
        }
        hint.map(str::to_owned)
    }
}
