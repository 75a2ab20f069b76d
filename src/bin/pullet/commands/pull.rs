//! `pullet pull`: fetches images into the store.

use pullet::{Client, Pulled, Reference, Sandbox};

use crate::cli::admission::{ADMISSION, CONTENT_TRUST, POLICY, VERSIONS};
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::limits::BLOB_LIMITS;
#[cfg(feature = "manage")]
use crate::cli::limits::MAX_BYTES;
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{
    CLOCK, FOREIGN_LAYERS, JOBS, NAME_NOTE, PLATFORM, REGISTRY, RegistryOptions, SETTINGS_NOTE, TRANSFER, TRUST,
};
use crate::cli::signatures::VERIFY;
use crate::cli::value::{name, repository};
use crate::exit::Failure;
use crate::report::{Outcome, Reporter};
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "pull",
    arguments: "NAME…",
    summary: "fetch and verify images into the store",
    about: "Fetch and verify images into the store. Content that the store has is not fetched again. Several names are pulled \
            one after the other; the first failure ends the command. With -q, print only the full name of each image.",
    definitions: &[],
    groups: &[
        &OPTIONS,
        &PLATFORM,
        &REGISTRY,
        &TRUST,
        &CLOCK,
        &VERIFY,
        &POLICY,
        &CONTENT_TRUST,
        &ADMISSION,
        &VERSIONS,
        &FOREIGN_LAYERS,
        &JOBS,
        &TRANSFER,
        #[cfg(feature = "manage")]
        &MAX_BYTES,
        &BLOB_LIMITS,
    ],
    notes: &[SETTINGS_NOTE, NAME_NOTE],
    run,
};

#[derive(Default)]
struct Options {
    all_tags: bool,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[Opt::flag("-a, --all-tags", "pull every tag of the repository NAME", |options| options.all_tags = true)],
};

/// A checked command line.
struct Pull {
    registry: RegistryOptions,
    all_tags: bool,
    names: Vec<Reference>,
}

impl Pull {
    fn parse(line: &CommandLine, common: &Common) -> Result<Self, Failure> {
        let Options { all_tags } = line.options()?;
        let registry = RegistryOptions::parse(line, common)?;
        let parse = if all_tags { repository } else { name };
        let names = line.all_operands().iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = names.first() else { return Err(line.missing(COMMAND.arguments)) };
        if names.iter().any(|name| name.domain() != first.domain()) {
            let client_cert = registry.client_cert.as_ref().map(|_| "--client-cert");
            if let Some(option) = registry.source_of_credentials().or(client_cert) {
                return Err(line.misused(format!("{option} is for one registry, but the names are on several")));
            }
        }
        Ok(Self { registry, all_tags, names })
    }
}

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let pull = Pull::parse(line, common)?;
    let store = common.store()?;
    let client = pull.registry.client()?;
    for name in &pull.names {
        client.find_credentials(name, reporter);
    }
    sandbox::enter(&Sandbox::new().store(&store), reporter);
    for name in &pull.names {
        let names = if pull.all_tags { tagged(&client, name, reporter)? } else { vec![name.clone()] };
        for name in &names {
            let pulled = client.pull(name, &store, reporter)?;
            reporter.result(&Outcome { is_new: Some(pulled.is_new), ..Outcome::of_image(&pulled.image) });
            print_pulled(name, &pulled, common.is_quiet)?;
        }
    }
    Ok(())
}

/// The names of all images of a repository.
fn tagged(client: &Client, repository: &Reference, reporter: &Reporter) -> Result<Vec<Reference>, Failure> {
    let tags = client.tags(repository, reporter)?;
    Ok(tags.iter().map(|tag| repository.with_tag(tag)).collect::<Result<_, _>>()?)
}

/// Prints Docker's lines.
fn print_pulled(name: &Reference, pulled: &Pulled, is_quiet: bool) -> Result<(), Failure> {
    if is_quiet {
        return text::print(format!("{name}\n"));
    }
    let status = if pulled.is_new { "Downloaded newer image for" } else { "Image is up to date for" };
    let (digest, familiar) = (pulled.image.digest(), name.familiar());
    text::print(format!("Digest: {digest}\nStatus: {status} {familiar}\n{name}\n"))
}
