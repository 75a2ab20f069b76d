//! `pullet save`: writes images of the store as an archive.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use pullet::{ArchiveFormat, ErrorKind, Sandbox, SaveOptions};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::options::{Group, Opt};
use crate::cli::registry::NAME_NOTE;
use crate::cli::value::selector;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::sandbox;

pub(super) static COMMAND: Command = Command {
    name: "save",
    arguments: "NAME…",
    summary: "write images as an archive",
    about: "Write the images with these names, or whose IDs begin like this, as one archive to standard output or a file. \
            `pullet load`, `docker load`, `podman load` and `skopeo copy` read it. The same images give the same bytes. \
            Layers are verified while they are written.",
    definitions: &[],
    groups: &[&OPTIONS],
    notes: &[NAME_NOTE],
    run,
};

#[derive(Default)]
struct Options {
    output: Option<PathBuf>,
    format: ArchiveFormat,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[
        Opt::value(
            "-o, --output FILE",
            "write to FILE, which appears complete or not at all, and which only its owner can read",
            |options, value| {
                options.output = Some(value.path()?);
                Ok(())
            },
        ),
        Opt::value(
            "--format docker-archive|oci-archive",
            "docker-archive (the default) has uncompressed layers and the names of images; oci-archive is an OCI image \
             layout, which also keeps manifests, indexes and signatures",
            |options, value| {
                options.format = value.choice(&FORMATS)?;
                Ok(())
            },
        ),
    ],
};

const FORMATS: [(&str, ArchiveFormat); 2] =
    [("docker-archive", ArchiveFormat::Docker), ("oci-archive", ArchiveFormat::Oci)];

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Options { output, format } = line.options()?;
    let selectors = line.all_operands().iter().map(selector).collect::<Result<Vec<_>, _>>()?;
    if selectors.is_empty() {
        return Err(line.missing(COMMAND.arguments));
    }
    if output.is_none() && io::stdout().is_terminal() {
        let failure = Failure::usage("the archive is not written to a terminal");
        return Err(failure.hint("use -o FILE, or redirect the output"));
    }
    let store = common.store()?;
    let options = SaveOptions::new().format(format).cancel(common.cancel.clone());
    let sandbox = Sandbox::new().stored(&store).offline();
    let Some(path) = output else {
        sandbox::enter(&sandbox, reporter);
        let failed = |e| Failure::new(ErrorKind::Disk, format!("write to standard output: {}", io::Error::from(e)));
        let mut out = File::from(rustix::io::dup(io::stdout()).map_err(failed)?);
        return Ok(store.save(&selectors, &options, &mut out)?);
    };
    sandbox::enter(&sandbox.output(&path), reporter);
    Ok(store.save_file(&selectors, &options, &path)?)
}
