//! The least that the work costs, measured part by part in the same run: hashing the blobs, downloading them to files,
//! decompressing, hashing the tars, and unpacking with GNU tar.

use std::path::PathBuf;

use super::images::Subject;
use super::measure::{Filesystem, Sample, median, run};
use crate::{Result, cargo, shell};

/// One part of the work.
pub struct Part {
    pub name: &'static str,
    /// True if pulling into a store needs it too.
    pub is_of_store: bool,
    pub sample: Sample,
}

/// The measuring program, examples/floor.rs: the crates that pullet uses, without pullet.
pub struct Programs {
    miniz: PathBuf,
    zlib: PathBuf,
}

struct Step {
    name: &'static str,
    is_of_store: bool,
    /// A script that runs before and is not measured.
    before: &'static str,
    script: &'static str,
}

/// In a script, `$1` is the measuring program, `$2` curl, `$3` the decompressor, `$4` the compressed bytes, `$5` the
/// uncompressed bytes, `$6` `gzip` or `zstd`, and the URLs follow. Each step uses the files of those before it.
const STEPS: &[Step] = &[
    Step { name: "sha256 of the blobs", is_of_store: true, before: "", script: r#"exec "$1" sha256 "$4""# },
    Step {
        name: "curl -o",
        is_of_store: true,
        before: "",
        script: r#"curl=$2; shift 6; exec "$curl" -sS --remote-name-all "$@""#,
    },
    Step { name: "decompress", is_of_store: false, before: "", script: r#"exec "$1" "$6" sha256:*"# },
    Step { name: "sha256 of the tars", is_of_store: false, before: "", script: r#"exec "$1" sha256 "$5""# },
    Step {
        name: "tar x",
        is_of_store: false,
        before: r#"mkdir tars tree; unpack=$3; shift 6; n=1000
            for url; do n=$((n + 1)); $unpack <"${url##*/}" >tars/$n; rm -f "${url##*/}.done"; done"#,
        script: r#"for tar in tars/*; do tar -xpf "$tar" --numeric-owner -C tree; done"#,
    },
];

impl Programs {
    pub fn build() -> Result<Self> {
        let copy = |features: &[&str], name: &str| {
            let built = cargo::build_with("--example=floor", &[&["--profile=release"], features].concat())?;
            let kept = built.with_file_name(name);
            crate::disk::named("copy to", &kept, std::fs::copy(&built, &kept)).map(|_| kept)
        };
        Ok(Self { miniz: copy(&[], "floor-miniz")?, zlib: copy(&["--features=fast-inflate"], "floor-zlib")? })
    }
}

/// Measures all parts `runs` times.
pub fn measure(place: &super::Place, subject: &Subject, programs: &Programs, runs: usize) -> Result<Vec<Part>> {
    let mut samples = vec![Vec::new(); STEPS.len() + 1];
    for _ in 0..runs {
        let folder = Filesystem::fresh(place.filesystem())?;
        let mut words = words(place, subject, programs)?;
        for (at, step) in STEPS.iter().enumerate() {
            if !step.before.is_empty() {
                run(folder.path(), &place.notes(), step.before, &words)?;
            }
            samples[at].push(run(folder.path(), &place.notes(), step.script, &words)?);
            if step.name == "decompress" && !subject.is_zstd {
                words[0] = programs.zlib.display().to_string();
                samples[STEPS.len()].push(run(folder.path(), &place.notes(), step.script, &words)?);
            }
        }
    }
    let names = STEPS.iter().map(|step| (step.name, step.is_of_store)).chain([("decompress (fast-inflate)", false)]);
    let parts = names.zip(&samples).filter(|(_, samples)| !samples.is_empty());
    Ok(parts.map(|((name, is_of_store), samples)| Part { name, is_of_store, sample: median(samples) }).collect())
}

fn words(place: &super::Place, subject: &Subject, programs: &Programs) -> Result<Vec<String>> {
    let curl = shell::find("curl").ok_or("curl is missing")?;
    let sum = |of: fn(&super::images::Known) -> u64| subject.layers.iter().map(of).sum::<u64>().to_string();
    let mut words = vec![programs.miniz.display().to_string(), curl.display().to_string()];
    words.push(subject.decompressor().into());
    words.extend([sum(|layer| layer.size), sum(|layer| layer.unpacked)]);
    words.push(if subject.is_zstd { "zstd" } else { "gzip" }.into());
    words.extend(subject.urls(&place.registry.address().to_string()));
    Ok(words)
}
