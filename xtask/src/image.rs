//! Makes images as the OCI specification writes them: compressed layers, a config, a manifest. The bytes pass through
//! `gzip` or `zstd` and `sha256sum`, so nothing of pullet's own takes part in what pullet is judged by.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::{Result, disk, shell};

pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// As most registries' layers are: what gzip does if nobody tells it otherwise.
pub const GZIP: Codec = Codec::Gzip(6);
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

pub struct Image {
    pub layers: Vec<Layer>,
    pub config: Blob,
    pub manifest: Blob,
}

pub struct Layer {
    pub blob: Blob,
    pub diff_id: String,
    pub unpacked: u64,
    pub codec: Codec,
}

/// How a layer is compressed, with the level that the program is told.
#[derive(Clone, Copy, PartialEq)]
pub enum Codec {
    Gzip(u8),
    Zstd(u8),
}

/// A file and its digest.
pub struct Blob {
    pub file: PathBuf,
    pub digest: String,
    pub size: u64,
}

impl Image {
    /// Writes the config and the manifest for these layers, of this machine, into the folder.
    pub fn new(folder: &Path, layers: Vec<Layer>) -> Result<Self> {
        Self::of(&architecture(), folder, layers)
    }

    /// The same for machines that the members of a config name.
    pub fn of(architecture: &str, folder: &Path, layers: Vec<Layer>) -> Result<Self> {
        let config = Blob::new(folder.join("config.json"), config(architecture, &layers))?;
        let manifest = Blob::new(folder.join("manifest.json"), manifest(&config, &layers))?;
        Ok(Self { layers, config, manifest })
    }
}

impl Layer {
    /// Compresses the tar that `fill` writes, fast.
    pub fn new(file: PathBuf, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<Self> {
        Self::compressed(file, Codec::Gzip(1), fill)
    }

    /// Compresses the tar that `fill` writes. It passes by once: the uncompressed tar is never on the disk.
    pub fn compressed(
        file: PathBuf,
        codec: Codec,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Self> {
        let (name, level) = match codec {
            Codec::Gzip(level) => ("gzip", format!("-{level}n")),
            Codec::Zstd(level) => ("zstd", format!("-{level}q")),
        };
        let mut compressor = spawn(name, &[&level], disk::create(&file)?.into())?;
        let mut sha256sum = spawn("sha256sum", &[], Stdio::piped())?;
        let mut tee = Tee { into: [input(&mut compressor), input(&mut sha256sum)], count: 0 };
        disk::named("compress", &file, fill(&mut tee))?;
        let unpacked = tee.count;
        drop(tee);
        finish(name, compressor)?;
        let diff_id = digest_in(&finish("sha256sum", sha256sum)?)?;
        Ok(Self { blob: Blob::of(file)?, diff_id, unpacked, codec })
    }

    /// Archives all that is in the folder.
    pub fn of_folder(folder: &Path, file: PathBuf) -> Result<Self> {
        let mut tar = tar(folder);
        tar.args(["--sort=name", "."]);
        Self::of_tar(tar, file)
    }

    /// Compresses what this tar writes.
    pub fn of_tar(mut tar: Command, file: PathBuf) -> Result<Self> {
        let mut tar = tar.stdout(Stdio::piped()).spawn().map_err(|e| format!("start tar: {e}"))?;
        let mut archive = tar.stdout.take().expect("spawned with a pipe");
        let layer = Self::compressed(file, GZIP, |into| io::copy(&mut archive, into).map(drop))?;
        match tar.wait() {
            Ok(status) if status.success() => Ok(layer),
            other => Err(format!("tar: {other:?}")),
        }
    }
}

impl Codec {
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Gzip(_) => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd(_) => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

impl Blob {
    /// Writes the file.
    pub fn new(file: PathBuf, bytes: impl AsRef<[u8]>) -> Result<Self> {
        disk::write(&file, bytes)?;
        Self::of(file)
    }

    pub fn of(file: PathBuf) -> Result<Self> {
        let digest = digest_in(&shell::read(shell::program("sha256sum").arg(&file))?)?;
        Ok(Self { size: disk::size(&file)?, digest, file })
    }

    pub fn descriptor(&self, media_type: &str) -> String {
        let Self { digest, size, .. } = self;
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    }
}

/// A tar of the folder, before it is said of what in it. GNU's format has no pax records, as most layers of registries have
/// none.
pub fn tar(folder: &Path) -> Command {
    let mut tar = shell::program("tar");
    tar.args(["--create", "--format=gnu", "--numeric-owner", "--directory"]).arg(folder);
    tar
}

fn config(architecture: &str, layers: &[Layer]) -> String {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("\"{}\"", layer.diff_id)).collect();
    format!(
        r#"{{{architecture},"os":"linux","config":{{"Cmd":["/bin/sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    )
}

fn manifest(config: &Blob, layers: &[Layer]) -> String {
    let layers: Vec<String> = layers.iter().map(|layer| layer.blob.descriptor(layer.codec.media_type())).collect();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{},"layers":[{}]}}"#,
        config.descriptor(CONFIG_TYPE),
        layers.join(",")
    )
}

/// This machine in Go's words, which are the specification's.
fn architecture() -> String {
    let name = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "arm" => return r#""architecture":"arm","variant":"v7""#.into(),
        "powerpc64" => "ppc64le",
        other => other,
    };
    format!(r#""architecture":"{name}""#)
}

/// Writes to several places and counts.
struct Tee {
    into: [ChildStdin; 2],
    count: u64,
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for place in &mut self.into {
            place.write_all(bytes)?;
        }
        self.count += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn spawn(name: &str, arguments: &[&str], output: Stdio) -> Result<Child> {
    let mut command = shell::program(name);
    command.args(arguments).stdin(Stdio::piped()).stdout(output);
    command.spawn().map_err(|e| format!("start {name}: {e}"))
}

fn input(child: &mut Child) -> ChildStdin {
    child.stdin.take().expect("spawned with a pipe")
}

/// Waits for the program and gives what it wrote.
fn finish(name: &str, child: Child) -> Result<String> {
    let output = child.wait_with_output().map_err(|e| format!("wait for {name}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The digest in a line of `sha256sum`, which is `<hex>  <file>`.
fn digest_in(line: &str) -> Result<String> {
    match line.split_whitespace().next() {
        Some(hex) if hex.len() == 64 => Ok(format!("sha256:{hex}")),
        _ => Err(format!("sha256sum: no digest in {line:?}")),
    }
}
