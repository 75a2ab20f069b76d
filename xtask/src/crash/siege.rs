//! Two hundred kills in a row, without a clean run between them: a pull keeps what it has and ends complete, having
//! fetched hardly more than the image; an unpacking leaves nothing behind however often it dies.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::noise::Noise;
use super::server::{Content, Server, Victim};
use super::worker::Worker;
use super::{archive, check, trace, world};
use crate::image::Image;
use crate::{Result, disk, shell, show};

const KILLS: u64 = 200;
const LAYERS: usize = 6;
const LAYER: usize = 6 << 20;
const REPOSITORY: &str = "siege";
/// What may be fetched in sum, for each byte of the image.
const BUDGET: f64 = 1.2;
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(binary: &Path, folder: &Path, seed: u64) -> Result {
    pull(binary, &folder.join("pull"), &mut Noise::new(seed))?;
    unpack(&Worker::new(binary, &folder.join("unpack"))?, &mut Noise::new(seed))
}

struct Siege<'a> {
    binary: &'a Path,
    server: Server,
    store: PathBuf,
    /// Bytes of layers.
    size: u64,
}

fn pull(binary: &Path, folder: &Path, noise: &mut Noise) -> Result {
    let image = image(&folder.join("image"))?;
    let mut content = Content::default();
    world::add_image(&mut content, REPOSITORY, &image)?;
    let size = image.layers.iter().map(|layer| layer.blob.size).sum();
    let siege = Siege { binary, server: Server::start(content)?, store: folder.join("store"), size };
    let mut fetched = 0;
    for kill in 0..KILLS {
        let left = size - siege.kept()?;
        // So that about as much is left for each of the others.
        let bytes = noise.below((2 * left / (KILLS - kill + 1)).max(1));
        fetched += siege.kill_after(bytes).map_err(|reason| format!("kill {} of {KILLS}: {reason}", kill + 1))?;
    }
    shell::run(&mut siege.pullet("pull"))?;
    fetched += siege.server.take().1;
    shell::run(&mut siege.pullet("verify"))?;
    let ratio = fetched as f64 / size as f64;
    let (size, fetched) = (show::bytes(size), show::bytes(fetched));
    println!("a pull of {size} was killed {KILLS} times and fetched {fetched} in sum: {ratio:.3} of the image");
    if ratio < BUDGET { Ok(()) } else { Err(format!("more than {BUDGET} of the image was fetched")) }
}

/// Kills the unpacking from the store at random calls, one time after the other in the same place.
fn unpack(worker: &Worker, noise: &mut Noise) -> Result {
    let (index, prepared) = worker.find("unpack from the store")?;
    let place = worker.place(prepared)?;
    let points: Vec<_> = worker.points(None).into_iter().filter(|point| point.scenario == index).collect();
    for _ in 0..KILLS {
        let call = &points[noise.below(points.len() as u64) as usize].call;
        let pullet = worker.pullet(prepared.scenario, &place);
        trace::inject(&pullet, call, trace::Fault::Kill, &worker.log())?;
        let state = place.state()?;
        check::is_sound(&prepared.before, &prepared.after, &state, &worker.server)?;
        disk::clear(&place.target())?;
    }
    match worker.again(prepared, &place, &place.state()?) {
        Ok(()) => println!("an unpacking was killed {KILLS} times and then went well"),
        Err(reason) => return Err(format!("after {KILLS} kills: {reason}")),
    }
    Ok(())
}

impl Siege<'_> {
    /// Runs a pull that dies after so many bytes of layers, and tells the bytes that it was sent.
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
            match self.server.buried()? {
                Some(status) if status.code().is_none() => return Ok(self.server.take().1),
                Some(status) => return Err(format!("it ended by itself: {status}")),
                None if start.elapsed() > PATIENCE => return Err("it hangs".into()),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Bytes of layers that are in the store.
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

/// Layers of noise, which gzip makes no shorter.
fn image(folder: &Path) -> Result<Image> {
    disk::create_folder(folder)?;
    let layer = |index: usize| {
        let noise = Noise::new(index as u64).bytes(LAYER);
        let tar = archive::Archive::default().put("noise", 0o644, archive::Kind::File(&noise)).end();
        world::layer(folder, &index.to_string(), &tar)
    };
    Image::new(folder, (0..LAYERS).map(layer).collect::<Result<_>>()?)
}

/// Bytes of a blob that a kill does not take away.
fn kept_of(store: &Path, digest: &str) -> u64 {
    let partial = store.join("ingest").join(format!("{}.partial", digest.replace(':', "-")));
    let size = |path: &Path| path.metadata().map(|metadata| metadata.len());
    // What is there is whole.
    size(&partial).or_else(|_| size(&store.join("blobs").join(digest.replace(':', "/"))).map(|_| u64::MAX)).unwrap_or(0)
}
