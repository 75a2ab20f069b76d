//! One fault: the run with the fault, the state that it leaves, and the next run.

use std::os::unix::process::ExitStatusExt;

use super::check;
use super::place::{INDEX, LOGIN, Place, State};
use super::scenario::DISK;
use super::trace::{self, Fault, Point, Traced};
use super::worker::{Prepared, Worker};
use crate::{Result, shell};

/// The state of the disk after the run with the fault.
pub enum Ending {
    Before,
    Complete,
}

/// The number of runs to try until the fault occurs. Runs differ, because data from a socket arrives in varying pieces.
const TRIES: usize = 20;

impl Worker {
    pub fn attempt(&self, point: &Point) -> Result<Ending> {
        let prepared = &self.prepared[point.scenario];
        for _ in 0..TRIES {
            let place = self.place(prepared)?;
            self.server.take();
            let pullet = self.pullet(prepared.scenario, &place);
            let traced = trace::inject(&pullet, place.folder(), &point.call, point.fault, &self.log())?;
            if traced.has_fired {
                let errors = traced.stderr.trim_end();
                return self.judge(prepared, point, &place, &traced).map_err(|reason| format!("{reason}\n{errors}"));
            }
        }
        Err(format!("the fault did not occur in {TRIES} runs"))
    }

    fn judge(&self, prepared: &Prepared, point: &Point, place: &Place, traced: &Traced) -> Result<Ending> {
        let Prepared { before, after, .. } = prepared;
        let state = place.state()?;
        check::is_sound(before, after, &state, prepared.scenario.is_in_place())?;
        if prepared.scenario.removes() {
            let verify = shell::run(&mut self.pullet_with(&["verify"], prepared.scenario, place));
            verify.map_err(|reason| format!("an image has lost a blob: {reason}"))?;
        }
        let is_done = is_done(after, &state);
        match (point.fault, traced.status.code()) {
            (Fault::Kill, None) if traced.status.signal() == Some(9) => {}
            (Fault::Error(_), Some(0)) if is_done => {}
            // A real kernel interrupts writes too, so they must be retried.
            (Fault::Error("EINTR"), _) if point.call.name == "write" => return Err("the write was not retried".into()),
            (Fault::Error(_), Some(0)) => return Err("exit code 0, but the work was not done".into()),
            (Fault::Error(_), Some(DISK)) => {}
            (_, code) => return Err(format!("unexpected exit code {code:?}")),
        }
        self.run_again(prepared, place, &state).map_err(|reason| format!("the next run: {reason}"))?;
        Ok(if is_done { Ending::Complete } else { Ending::Before })
    }

    /// The run after the fault must have the result of a run without one. If the target exists, it must be refused and
    /// left as it is, unless the command replaces it.
    pub fn run_again(&self, prepared: &Prepared, place: &Place, state: &State) -> Result {
        let committed = check::committed(state);
        self.server.take();
        let output = shell::try_output(&mut self.pullet(prepared.scenario, place))?;
        let is_done = is_done(&prepared.after, state);
        let expected = prepared.scenario.next_code(state.target.is_some(), is_done);
        if output.status.code() != Some(expected) {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("expected exit code {expected}, got {}: {}", output.status, errors.trim_end()));
        }
        if !prepared.scenario.finish.is_empty() {
            shell::run(&mut self.pullet_with(prepared.scenario.finish, prepared.scenario, place))?;
        }
        check::asks_for_what_is_missing(&self.server.take().0, &committed)?;
        check::is_complete(&prepared.after, &place.state()?)
    }
}

/// True if the work of the run is done.
fn is_done(after: &State, now: &State) -> bool {
    let index = |state: &State| state.store.document(INDEX).map(<[u8]>::to_vec);
    let home = |state: &State| state.home.document(LOGIN).map(<[u8]>::to_vec);
    let has_target = match (&after.target, &now.target) {
        (Some(expected), Some(target)) => expected.difference(target).is_none(),
        (None, None) => true,
        _ => false,
    };
    index(after) == index(now) && home(after) == home(now) && has_target
}
