//! Kills pullet 200 times in a row. A pull must keep its data, finish in the end, and fetch little more than the size
//! of the image in total. An unpack must leave nothing behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kit::archive::file;
use kit::image::Image;
use kit::noise::Noise;

use super::server::{Server, Victim};
use super::worker::Worker;
use super::{check, images, trace};
use crate::{Result, disk, shell, show};

const KILLS: u64 = 200;
const LAYERS: usize = 6;
const LAYER: usize = 6 << 20;
const REPOSITORY: &str = "kills";
/// The most bytes to fetch in total, for each byte of the image.
const BUDGET: f64 = 1.2;
const TIMEOUT: Duration = Duration::from_secs(30);

/// The scenario of the killed unpack.
const UNPACK: &str = "unpack from the store";

pub fn run(binary: &Path, folder: &Path, seed: u64) -> Result {
    pull(binary, &folder.join("pull"), &mut Noise::new(seed))?;
    unpack(&Worker::new(binary, &folder.join("unpack"), Some(UNPACK))?, &mut Noise::new(seed))
}

/// A pull to kill again and again.
struct Pull<'a> {
    binary: &'a Path,
    server: Server,
    store: PathBuf,
    /// The total size of the layers.
    size: u64,
}

fn pull(binary: &Path, folder: &Path, noise: &mut Noise) -> Result {
    let image = image();
    let size = image.layers.iter().map(|layer| layer.blob.len() as u64).sum();
    let server = Server::start(BTreeMap::from([(REPOSITORY, image)]));
    let pull = Pull { binary, server, store: folder.join("store"), size };
    let mut fetched = 0;
    for kill in 0..KILLS {
        let left = size - pull.kept()?;
        // The range makes the expected progress of all runs about equal.
        let bytes = noise.below((2 * left / (KILLS - kill + 1)).max(1));
        fetched += pull.kill_after(bytes).map_err(|reason| format!("kill {} of {KILLS}: {reason}", kill + 1))?;
    }
    shell::run(&mut pull.pullet("pull"))?;
    fetched += pull.server.take().1;
    shell::run(&mut pull.pullet("verify"))?;
    let ratio = fetched as f64 / size as f64;
    let (size, fetched) = (show::bytes(size), show::bytes(fetched));
    println!("a pull of {size} was killed {KILLS} times and fetched {fetched} in total: {ratio:.3} of the image");
    if ratio < BUDGET { Ok(()) } else { Err(format!("fetched more than {BUDGET} times the image")) }
}

/// Kills an unpack from the store at random calls, again and again in the same folders.
fn unpack(worker: &Worker, noise: &mut Noise) -> Result {
    let prepared = worker.prepared.first().ok_or("no scenario is prepared")?;
    let place = worker.place(prepared)?;
    let points = worker.points(None);
    for _ in 0..KILLS {
        let call = &points[noise.below(points.len() as u64) as usize].call;
        let pullet = worker.pullet(prepared.scenario, &place);
        trace::inject(&pullet, place.folder(), call, trace::Fault::Kill, &worker.log())?;
        let state = place.state()?;
        check::is_sound(&prepared.before, &prepared.after, &state, prepared.scenario.is_in_place())?;
        disk::clear(&place.target())?;
    }
    let outcome = worker.run_again(prepared, &place, &place.state()?);
    outcome.map_err(|reason| format!("after {KILLS} kills: {reason}"))?;
    println!("an unpack was killed {KILLS} times and then succeeded");
    Ok(())
}

impl Pull<'_> {
    /// Runs a pull, kills it after this many bytes of layers, and returns how many bytes it was sent.
    fn kill_after(&self, bytes: u64) -> Result<u64> {
        let mut pullet = self.pullet("pull");
        pullet.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let store = self.store.clone();
        let kept = Box::new(move |digest: &str| kept_of(&store, digest));
        self.server.kill_later(|| {
            let process = pullet.spawn().map_err(|e| format!("start pullet: {e}"))?;
            Ok(Victim { process, bytes, kept })
        })?;
        let start = Instant::now();
        loop {
            match self.server.victim_status()? {
                Some(status) if status.code().is_none() => return Ok(self.server.take().1),
                Some(status) => return Err(format!("ended before the kill: {status}")),
                None if start.elapsed() > TIMEOUT => return Err("timed out".into()),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// The bytes of layers in the store, including partial ones.
    fn kept(&self) -> Result<u64> {
        let folders = ["blobs/sha256", "ingest"].map(|name| self.store.join(name));
        let mut sum = 0;
        for folder in folders.iter().filter(|folder| folder.exists()) {
            for file in disk::list(folder)? {
                sum += disk::size(&file)?;
            }
        }
        Ok(sum.min(self.size))
    }

    fn pullet(&self, verb: &str) -> Command {
        let mut command = Command::new(self.binary);
        command.env_clear().env("PULLET_STORE", &self.store).env("HOME", &self.store);
        command.arg(verb).arg(format!("{}/{REPOSITORY}", self.server.address()));
        command
    }
}

/// An image of random bytes, which gzip cannot compress.
fn image() -> Image {
    let noise = |index: usize| Noise::new(index as u64).bytes(LAYER);
    Image::new((0..LAYERS).map(|index| images::layer(vec![file("noise", noise(index))])).collect())
}

/// The bytes of a blob that survive a kill; `u64::MAX` if it is complete.
fn kept_of(store: &Path, digest: &str) -> u64 {
    let partial = store.join("ingest").join(format!("{}.partial", digest.replace(':', "-")));
    let size = |path: &Path| path.metadata().map(|metadata| metadata.len());
    size(&partial).or_else(|_| size(&store.join("blobs").join(digest.replace(':', "/"))).map(|_| u64::MAX)).unwrap_or(0)
}
