//! One fault: the run that meets it, what is left, and the run after it.

use std::os::unix::process::ExitStatusExt;

use super::check;
use super::place::{Place, State};
use super::trace::{self, Fault, Point, Traced};
use super::worker::{Prepared, Worker};
use crate::{Result, shell};

/// How the run with the fault left the disk.
pub enum Ending {
    Before,
    Complete,
}

/// How often a fault may not come about, because the run was another one: what comes over a socket has no fixed pieces.
const TRIES: usize = 20;
/// "disk: space, permission, in the way".
const DISK: i32 = 9;

impl Worker {
    pub fn attempt(&self, point: &Point) -> Result<Ending> {
        let prepared = &self.prepared[point.scenario];
        for _ in 0..TRIES {
            let place = self.place(prepared)?;
            self.server.take();
            let pullet = self.pullet(prepared.scenario, &place);
            let traced = trace::inject(&pullet, &point.call, point.fault, &self.log())?;
            if traced.has_fired {
                let said = traced.said.trim_end().to_owned();
                return self.judge(prepared, point, &place, &traced).map_err(|reason| format!("{reason}\n{said}"));
            }
        }
        Err(format!("the fault did not come about in {TRIES} runs"))
    }

    fn judge(&self, prepared: &Prepared, point: &Point, place: &Place, traced: &Traced) -> Result<Ending> {
        let Prepared { before, after, .. } = prepared;
        let state = place.state()?;
        check::is_sound(before, after, &state, &self.server)?;
        let is_done = is_done(after, &state);
        match (point.fault, traced.status.code()) {
            (Fault::Kill, None) if traced.status.signal() == Some(9) => {}
            (Fault::Error(_), Some(0)) if is_done => {}
            // The kernel itself interrupts a write; then it is written again.
            (Fault::Error("EINTR"), _) if point.call.name == "write" => return Err("it was not tried again".into()),
            (Fault::Error(_), Some(0)) => return Err("it ended with 0 and was not done".into()),
            (Fault::Error(_), Some(DISK)) => {}
            (_, code) => return Err(format!("it ended with {code:?}")),
        }
        self.again(prepared, place, &state).map_err(|reason| format!("the next run: {reason}"))?;
        Ok(if is_done { Ending::Complete } else { Ending::Before })
    }

    /// The run after the fault: as good as one without it. A target that is there is refused, and left as it is.
    pub fn again(&self, prepared: &Prepared, place: &Place, state: &State) -> Result {
        let committed = check::committed(state);
        self.server.take();
        let output = shell::try_output(&mut self.pullet(prepared.scenario, place))?;
        let expected = if state.target.is_some() { DISK } else { 0 };
        if output.status.code() != Some(expected) {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("expected {expected}, got {}: {}", output.status, said.trim_end()));
        }
        check::asks_for_what_is_missing(&self.server.take().0, &committed)?;
        check::is_complete(&prepared.after, &place.state()?)
    }
}

/// Whether what was asked for is there.
fn is_done(after: &State, now: &State) -> bool {
    let index = |state: &State| state.store.content("index.json").map(<[u8]>::to_vec);
    let home = |state: &State| state.home.content(check::LOGIN).map(<[u8]>::to_vec);
    index(after) == index(now) && home(after) == home(now) && after.target.is_some() == now.target.is_some()
}
