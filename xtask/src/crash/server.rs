//! The registry of a worker. It counts what it sends, and it can kill the process that it serves.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kit::digest::base64;
use kit::fault::on;
use kit::http::Request;
use kit::image::Image;
use kit::registry::Registry;
use kit::signature::{Signer, sign_simply};

use crate::Result;

/// The login that the guarded registry requires.
pub const LOGIN: &str = "me:password";

/// The repository whose image is signed.
pub const SIGNED: &str = "signed";

/// The bytes in transit at a time, which a kill loses. A fast network has more of them than a slow one.
const PIECE: usize = 16 << 10;

pub struct Server {
    registry: Registry,
    /// A registry without content, which requires a login.
    guarded: Registry,
    images: BTreeMap<&'static str, Image>,
    signer: Signer,
    line: Arc<Line>,
}

/// The process to kill.
pub struct Victim {
    pub process: Child,
    /// The bytes of blobs that it gets before.
    pub bytes: u64,
    /// Returns how many bytes of a blob it has stored.
    pub kept: Box<dyn Fn(&str) -> u64 + Send>,
}

/// The way of blobs to the client.
#[derive(Default)]
struct Line(Mutex<State>);

#[derive(Default)]
struct State {
    /// The bytes of blobs that were sent.
    bytes: u64,
    victim: Option<Victim>,
}

impl Server {
    /// Serves images, each with the tag `latest` in the repository with its name.
    pub fn start(images: BTreeMap<&'static str, Image>) -> Self {
        let (registry, guarded, line) = (Registry::plain(), Registry::plain(), Arc::new(Line::default()));
        images.iter().for_each(|(repository, image)| drop(image.push(&registry, repository, "latest")));
        let sender = Arc::clone(&line);
        registry.fault(on("/blobs/").sent_by(move |out, request, body| sender.send(out, request, body)));
        guarded.require(&format!("Basic {}", base64(LOGIN.as_bytes())), &["Basic realm=\"crash\""]);
        let signer = Signer::new("p256");
        if let Some(image) = images.get(SIGNED) {
            sign_simply(&registry, SIGNED, &image.digest(), &[&signer]);
        }
        Self { registry, guarded, images, signer, line }
    }

    pub fn address(&self) -> SocketAddr {
        self.registry.address()
    }

    /// The address of the registry that requires a login.
    pub fn guarded(&self) -> SocketAddr {
        self.guarded.address()
    }

    /// The path of the public key that has signed the image in [`SIGNED`].
    pub fn key(&self) -> String {
        self.signer.key()
    }

    /// Tags the image of another repository in this one. The other repository may be this one.
    pub fn tag(&self, repository: &str, other: &str) {
        self.images[other].push(&self.registry, repository, "latest");
    }

    /// The paths of the requests, and the bytes of blobs, since the last call. No client may run.
    pub fn take(&self) -> (Vec<String>, u64) {
        self.registry.wait_until_idle();
        let targets = self.registry.calls().into_iter().map(|call| call.request.target).collect();
        self.registry.clear_log();
        (targets, std::mem::take(&mut self.line.state().bytes))
    }

    /// Starts a process that is killed when it has got its bytes. No blob is sent before the process is known here.
    pub fn kill_later(&self, start: impl FnOnce() -> Result<Victim>) -> Result {
        let mut state = self.line.state();
        state.victim = Some(start()?);
        Ok(())
    }

    /// The exit status of the victim, if it has ended.
    pub fn victim_status(&self) -> Result<Option<ExitStatus>> {
        let mut state = self.line.state();
        let Some(victim) = &mut state.victim else { return Ok(None) };
        let status = victim.process.try_wait().map_err(|e| format!("wait for pullet: {e}"))?;
        if status.is_some() {
            state.victim = None;
        }
        Ok(status)
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a blob, or the rest of one. A victim gets it in pieces, each after it has stored the last one.
    fn send(&self, out: &mut dyn Write, request: &Request, body: &[u8]) -> io::Result<()> {
        let digest = request.path().rsplit('/').next().unwrap_or_default();
        if self.state().victim.is_none() {
            self.state().bytes += body.len() as u64;
            return out.write_all(body);
        }
        let mut sent = first_byte(request);
        for piece in body.chunks(PIECE) {
            let allowed = self.spend(piece.len());
            out.write_all(&piece[..allowed])?;
            if allowed < piece.len() {
                self.kill();
                return Ok(());
            }
            sent += piece.len() as u64;
            self.wait_until_kept(digest, sent);
        }
        Ok(())
    }

    /// Returns how many of these bytes the victim may still get, and counts them.
    fn spend(&self, count: usize) -> usize {
        let mut state = self.state();
        let allowed = state.victim.as_ref().map_or(count, |victim| count.min(victim.bytes as usize));
        state.bytes += allowed as u64;
        if let Some(victim) = &mut state.victim {
            victim.bytes -= allowed as u64;
        }
        allowed
    }

    fn kill(&self) {
        if let Some(victim) = &mut self.state().victim {
            // This fails if the process has ended by itself, which its exit status shows.
            let _ = victim.process.kill();
        }
    }

    /// Waits until the victim has stored this much of a blob, but not long, because some bytes may be in its buffers.
    fn wait_until_kept(&self, digest: &str, count: u64) {
        for _ in 0..2000 {
            match &self.state().victim {
                Some(victim) if (victim.kept)(digest) < count => {}
                _ => return,
            }
            std::thread::yield_now();
        }
    }
}

/// The first byte of the requested range.
fn first_byte(request: &Request) -> u64 {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
    range.and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0)
}
