//! Runs a machine and reads its console line by line, until the expected texts have appeared or the time is over.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Result, shell};

/// The output of a console.
#[derive(Debug)]
pub struct Console {
    pub lines: Vec<String>,
    /// The reason, if an expected text did not appear.
    pub missing: Option<String>,
    pub time: Duration,
}

/// Runs the machine until its console has shown all texts in this order, on separate lines. Then stops the machine.
pub fn watch(command: &mut Command, expected: &[String], bound: Duration) -> Result<Console> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().map_err(|e| format!("start {}: {e}", shell::words(command)))?;
    let (sender, lines) = mpsc::channel();
    if let Some(console) = process.stdout.take() {
        read(console, sender.clone());
    }
    if let Some(errors) = process.stderr.take() {
        read(errors, sender);
    }
    let machine = Machine(process);
    let console = listen(&lines, expected, bound);
    drop(machine);
    Ok(console)
}

/// A machine that is stopped on drop.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(e) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("xtask: stop QEMU: {e}");
        }
    }
}

fn listen(lines: &Receiver<String>, expected: &[String], bound: Duration) -> Console {
    let start = Instant::now();
    let mut shown = Vec::new();
    let mut next = expected.iter().peekable();
    let missing = loop {
        let Some(wanted) = next.peek() else { break None };
        let reason = match lines.recv_timeout(bound.saturating_sub(start.elapsed())) {
            Ok(line) => {
                next.next_if(|wanted| line.contains(wanted.as_str()));
                shown.push(line);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => format!("within {} s", bound.as_secs()),
            Err(RecvTimeoutError::Disconnected) => "before the machine ended".into(),
        };
        break Some(format!("the console did not show {wanted:?} {reason}"));
    };
    Console { lines: shown, missing, time: start.elapsed() }
}

/// Sends the output line by line. A carriage return ends a line too.
fn read(mut from: impl Read + Send + 'static, into: Sender<String>) {
    thread::spawn(move || {
        let (mut line, mut bytes) = (Vec::new(), [0; 1024]);
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            for byte in &bytes[..count] {
                match byte {
                    b'\r' | b'\n' if line.is_empty() => {}
                    b'\r' | b'\n' => {
                        let text = String::from_utf8_lossy(&line).into_owned();
                        line.clear();
                        // The receiver is gone once all texts have appeared.
                        if into.send(text).is_err() {
                            return;
                        }
                    }
                    byte => line.push(*byte),
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str, expected: &[&str], lines: &[&str], missing: Option<&str>) {
        let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
        let console = watch(Command::new("sh").args(["-c", script]), &expected, Duration::from_secs(20)).unwrap();
        assert_eq!(console.lines, lines, "{script}");
        assert_eq!(console.missing.as_deref(), missing, "{script}");
    }

    #[test]
    fn waits_for_every_text_in_order() {
        check("printf 'a 1\\r\\n\\nb\\ra 2\\n'; exec sleep 60", &["a", "a 2"], &["a 1", "b", "a 2"], None);
        check(
            "echo b; echo a",
            &["a", "b"],
            &["b", "a"],
            Some("the console did not show \"b\" before the machine ended"),
        );
        check("echo ab >&2; exec sleep 60", &["b"], &["ab"], None);
    }

    #[test]
    fn stops_at_the_time_limit() {
        let console = watch(Command::new("sleep").arg("60"), &["a".into()], Duration::ZERO).unwrap();
        assert_eq!(console.missing.as_deref(), Some("the console did not show \"a\" within 0 s"));
    }
}
