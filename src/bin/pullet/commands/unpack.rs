//! `pullet unpack`: unpacks the root filesystem of an image, which is pulled first if the store does not have it.

use std::path::{Path, PathBuf};

use pullet::{AdmittedImage, Digest, Error, ErrorKind, Image, Reference, Sandbox, Store, Tally, UnpackOptions};

#[cfg(feature = "manage")]
use super::replace::{REPLACE, ReplaceOptions};
use crate::cli::admission::{ADMISSION, CONTENT_TRUST, POLICY, VERSIONS};
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::{Common, STORE_OPTION};
#[cfg(feature = "manage")]
use crate::cli::limits::MAX_BYTES;
use crate::cli::limits::{BLOB_LIMITS, TREE_LIMITS, WINDOW_LIMIT};
use crate::cli::options::{AnyGroup, Group, Opt, Spec, specs};
use crate::cli::registry::{
    CLOCK, FOREIGN_LAYERS, JOBS, NAME_NOTE, PLATFORM, REGISTRY, RegistryOptions, SETTINGS_NOTE, TRANSFER, TRUST,
};
use crate::cli::signatures::VERIFY;
use crate::cli::value::name;
use crate::exit::Failure;
use crate::report::{Outcome, Reporter};
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "unpack",
    arguments: "NAME DIR",
    summary: "unpack the root filesystem of an image into a folder",
    about: "Unpack the root filesystem of an image: merge its layers, apply their whiteouts, and verify the diff_id of each. \
            DIR must not exist or be an empty folder, unless it is replaced; it appears complete, by one rename.",
    definitions: &[],
    groups: &[
        &OPTIONS,
        #[cfg(feature = "manage")]
        &REPLACE,
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
        &TREE_LIMITS,
        &WINDOW_LIMIT,
    ],
    notes: &[SETTINGS_NOTE, NAME_NOTE],
    run,
};

#[derive(Default)]
struct Options {
    when: PullWhen,
    is_streamed: bool,
    no_devices: bool,
    #[cfg(feature = "manage")]
    is_bundle: bool,
    #[cfg(feature = "manage")]
    is_layered: bool,
    #[cfg(feature = "manage")]
    is_in_place: bool,
}

#[cfg(feature = "manage")]
impl Options {
    /// Fails if options exclude each other.
    fn check(&self, line: &CommandLine) -> Result<(), Failure> {
        let conflict = match (self.is_bundle, self.is_layered) {
            (true, true) => "--bundle and --layered exclude each other",
            (true, false) if self.is_streamed => "--stream and --bundle exclude each other",
            (false, true) if self.is_streamed => "--stream and --layered exclude each other",
            (_, true) if self.is_in_place => "--in-place and --layered exclude each other",
            (false, true) if self.no_devices => "--layered shares its trees, so it cannot leave out device nodes",
            _ => return Ok(()),
        };
        Err(line.misused(conflict))
    }
}

/// When to ask the registry.
#[derive(Clone, Copy, Default, PartialEq)]
enum PullWhen {
    #[default]
    Missing,
    Always,
    Never,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[
        Opt::value(
            "--pull missing|always|never",
            "ask the registry if the image is `missing` in the store (the default), `always`, or `never`",
            |options, value| {
                options.when = value.choice(&PULL_WHEN)?;
                Ok(())
            },
        ),
        Opt::flag(
            "--stream",
            "unpack the image in one pass while it arrives, and keep nothing in the store; without --pull always, an image \
             that the store has is unpacked from there",
            |options| options.is_streamed = true,
        ),
        Opt::flag("--no-devices", "leave out device nodes (ordinary users cannot create them anyway)", |options| {
            options.no_devices = true;
        }),
        #[cfg(feature = "manage")]
        Opt::flag(
            "--bundle",
            "make DIR an OCI runtime bundle, which `runc run` and `crun run` start: the tree in DIR/rootfs, and DIR/config.json \
             from the image's config",
            |options| options.is_bundle = true,
        ),
        #[cfg(feature = "manage")]
        Opt::flag(
            "--layered",
            "keep one tree for each layer in the store, shared between images; fill DIR with links to them, and print the \
             options with which `mount -t overlay` mounts the image",
            |options| options.is_layered = true,
        ),
        #[cfg(feature = "manage")]
        Opt::flag(
            "--in-place",
            "fill DIR, an empty folder or a mount point that a rename cannot replace; until it is complete, it has an entry \
             .pullet-incomplete, and the next run with this option clears what is left",
            |options| options.is_in_place = true,
        ),
    ],
};

const PULL_WHEN: [(&str, PullWhen); 3] =
    [("missing", PullWhen::Missing), ("always", PullWhen::Always), ("never", PullWhen::Never)];

/// A checked command line.
struct Unpack {
    registry: RegistryOptions,
    options: Options,
    #[cfg(feature = "manage")]
    replace: ReplaceOptions,
    name: Reference,
    target: PathBuf,
    /// Whether versions are kept in the store, also if the image is not.
    keeps_versions: bool,
}

/// A tree that was unpacked.
struct Unpacked {
    tally: Tally,
    /// The digest that the name resolved to.
    digest: Digest,
    /// The image ID, unless the image was streamed.
    image_id: Option<Digest>,
    /// Whether the image was fetched now.
    #[cfg_attr(not(feature = "manage"), expect(dead_code, reason = "read where versions are confirmed last"))]
    is_fetched: bool,
}

impl Unpacked {
    fn of_image(image: &Image, tally: Tally, is_fetched: bool) -> Self {
        Self { tally, digest: *image.digest(), image_id: Some(*image.id()), is_fetched }
    }
}

impl Unpack {
    fn parse(line: &CommandLine, common: &Common) -> Result<Self, Failure> {
        let options: Options = line.options()?;
        let registry = RegistryOptions::parse(line, common)?;
        let [word, target] = line.operands()?;
        if options.is_streamed && options.when == PullWhen::Never {
            return Err(line.misused("--stream asks the registry, which --pull never forbids"));
        }
        if options.is_streamed && options.when == PullWhen::Always && line.is_given(STORE_OPTION) {
            return Err(line.misused("--store has no effect: --stream with --pull always uses no store"));
        }
        if options.when == PullWhen::Never
            && let Some(option) = registry_option(line)
        {
            return Err(line.misused(format!("{option} has no effect: --pull never sends no request")));
        }
        #[cfg(feature = "manage")]
        options.check(line)?;
        #[cfg(feature = "manage")]
        if options.is_streamed && line.is_given("--max-bytes") {
            return Err(line.misused("--stream keeps nothing for the next run, so it excludes --max-bytes"));
        }
        #[cfg(feature = "manage")]
        let replace = ReplaceOptions::parse(line)?;
        #[cfg(feature = "manage")]
        if replace.is_replacing() && options.is_layered {
            return Err(line.misused("--replace and --layered exclude each other"));
        }
        #[cfg(feature = "manage")]
        if replace.is_replacing() && options.is_in_place {
            return Err(line.misused("--replace and --in-place exclude each other"));
        }
        Ok(Self {
            registry,
            options,
            #[cfg(feature = "manage")]
            replace,
            name: name(word)?,
            target: target.into(),
            keeps_versions: false,
        })
    }
}

/// The first option that was given and is for requests only. `--timeout` is for the whole command.
fn registry_option(line: &CommandLine) -> Option<&'static str> {
    let groups: &[&dyn AnyGroup] = &[
        &REGISTRY,
        &TRUST,
        &FOREIGN_LAYERS,
        &CLOCK,
        &TRANSFER,
        #[cfg(feature = "manage")]
        &MAX_BYTES,
    ];
    groups.iter().copied().flat_map(specs).map(Spec::long).find(|name| *name != "--timeout" && line.is_given(name))
}

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let mut unpack = Unpack::parse(line, common)?;
    #[cfg(feature = "manage")]
    {
        unpack.registry.unpacks = true;
    }
    let store = common.store()?;
    unpack.keeps_versions = unpack.registry.keep_versions_in(&store);
    #[cfg(feature = "manage")]
    if unpack.is_confirmed_last() {
        // A run that ends before the new tree is in place must not refuse the old one later.
        let is_confirmed = unpack.registry.leave_unconfirmed();
        let unpacked = unpack.place(&store, common, reporter)?;
        if is_confirmed && unpacked.is_fetched {
            confirm(&store, &unpack.name, &unpacked.digest, common, reporter)?;
        }
        return Ok(());
    }
    let unpacked = unpack.make(&store, &unpack.target, reporter)?;
    unpack.report(&unpacked, reporter);
    Ok(())
}

/// Keeps the versions of an image that is in place, if it has some.
#[cfg(feature = "manage")]
fn confirm(
    store: &Store,
    name: &Reference,
    digest: &Digest,
    common: &Common,
    reporter: &Reporter,
) -> Result<(), Failure> {
    let name: Reference = format!("{}@{digest}", name.repository()).parse()?;
    match store.confirm(&name, &common.cancel, reporter) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

impl Unpack {
    /// Whether the image is in place some time after it was pulled, so that only this command knows when its version counts.
    #[cfg(feature = "manage")]
    fn is_confirmed_last(&self) -> bool {
        self.options.is_layered || self.options.is_bundle || self.replace.is_replacing()
    }

    /// Makes the layers, the bundle, or the tree that replaces another one.
    #[cfg(feature = "manage")]
    fn place(&self, store: &Store, common: &Common, reporter: &Reporter) -> Result<Unpacked, Failure> {
        if self.options.is_layered {
            return self.unpack_layered(store, reporter);
        }
        let unpacked = if let Some(replacement) = self.replace.begin(&self.target, &common.cancel)? {
            let unpacked = self.make(store, &replacement.tree, reporter)?;
            replacement.publish(&self.name, unpacked.digest)?;
            unpacked
        } else {
            self.make(store, &self.target, reporter)?
        };
        self.report(&unpacked, reporter);
        Ok(unpacked)
    }

    /// Unpacks the image to `tree`, which is the target unless that is replaced.
    fn make(&self, store: &Store, tree: &Path, reporter: &Reporter) -> Result<Unpacked, Failure> {
        let options = self.unpack_options();
        let stored = self.stored_image(store, reporter)?;
        #[cfg(feature = "manage")]
        if self.options.is_bundle {
            let is_fetched = stored.is_none();
            let image = self.fetch_unless_stored(stored, store, reporter)?;
            let tally = image.unpack_bundle(tree, &options, reporter)?;
            return Ok(Unpacked::of_image(&image, tally, is_fetched));
        }
        let Some(image) = stored else { return self.fetch_and_unpack(store, tree, &options, reporter) };
        sandbox::enter(&self.sandbox().stored(store).offline(), reporter);
        let tally = image.unpack(tree, &options, reporter)?;
        Ok(Unpacked::of_image(&image, tally, false))
    }

    fn unpack_options(&self) -> UnpackOptions {
        let options = self.registry.unpack_options().devices(!self.options.no_devices);
        #[cfg(feature = "manage")]
        let options = options.in_place(self.options.is_in_place);
        options
    }

    fn report(&self, unpacked: &Unpacked, reporter: &Reporter) {
        let tally = &unpacked.tally;
        reporter.result(&Outcome {
            name: Some(&self.name.to_string()),
            digest: Some(&unpacked.digest),
            image_id: unpacked.image_id.as_ref(),
            path: Some(&self.target),
            bytes: Some(tally.bytes),
            ..Outcome::default()
        });
        let (bytes, target) = (text::bytes(tally.bytes), self.target.display());
        reporter.note(&format!("Unpacked {} into {target}: {} entries, {bytes}", self.name, tally.entries));
    }

    #[cfg(feature = "manage")]
    fn unpack_layered(&self, store: &Store, reporter: &Reporter) -> Result<Unpacked, Failure> {
        let stored = self.stored_image(store, reporter)?;
        let is_fetched = stored.is_none();
        let image = self.fetch_unless_stored(stored, store, reporter)?;
        let layered = image.unpack_layered(&self.target, &self.unpack_options(), reporter)?;
        let (entries, bytes) = (layered.tally.entries, text::bytes(layered.tally.bytes));
        let (name, trees) = (&self.name, layered.unpacked);
        let (path, bytes_unpacked) = (Some(self.target.as_path()), Some(layered.tally.bytes));
        reporter.result(&Outcome { path, bytes: bytes_unpacked, ..Outcome::of_image(&image) });
        reporter.note(&format!("Unpacked {name} in layers: {trees} new trees, {entries} entries, {bytes}"));
        if layered.is_relative {
            reporter.note(
                "The mount options are relative to DIR, because they would be too long otherwise: run mount there",
            );
        }
        let mut line = layered.mount_options;
        line.push("\n");
        text::print(line.as_encoded_bytes())?;
        Ok(Unpacked::of_image(&image, layered.tally, is_fetched))
    }

    /// Enters the sandbox, and pulls the image unless it is in the store.
    #[cfg(feature = "manage")]
    fn fetch_unless_stored(
        &self,
        stored: Option<AdmittedImage>,
        store: &Store,
        reporter: &Reporter,
    ) -> Result<AdmittedImage, Failure> {
        let mut sandbox = self.sandbox();
        if self.options.is_layered {
            // A whiteout is a device node, which ordinary users may create.
            sandbox = sandbox.store(store).layers(store).devices(true);
        }
        if let Some(image) = stored {
            sandbox::enter(&sandbox.stored(store).offline(), reporter);
            return Ok(image);
        }
        let client = self.registry.client()?;
        client.find_credentials(&self.name, reporter);
        sandbox::enter(&sandbox.store(store), reporter);
        Ok(client.pull(&self.name, store, reporter)?.image)
    }

    /// The image, if the registry need not be asked for it: the store has it, and the signatures that are demanded. Reads the
    /// documents of the image before the sandbox is entered. That is safe, because they were verified when they were fetched.
    fn stored_image(&self, store: &Store, reporter: &Reporter) -> Result<Option<AdmittedImage>, Failure> {
        if self.options.when == PullWhen::Always {
            return Ok(None);
        }
        let client = self.registry.local_client()?;
        let error = match self.usable_image(store).and_then(|image| client.admit(&self.name, image, reporter)) {
            Ok(image) => {
                #[cfg(feature = "manage")]
                self.report_platform(&image, reporter);
                return Ok(Some(image));
            }
            Err(error) => error,
        };
        // A machine that streams may have room for the tree only, and no store that can be read.
        let asks_registry = self.options.is_streamed || is_mended_by_a_pull(&error);
        if self.options.when == PullWhen::Missing && asks_registry { Ok(None) } else { Err(error.into()) }
    }

    /// Reports an image for another architecture. Only other tools put one under a name that was not asked for: a pull
    /// chooses an image for this machine.
    #[cfg(feature = "manage")]
    fn report_platform(&self, image: &Image, reporter: &Reporter) {
        if self.registry.platform().is_none() && !image.runs_here() {
            reporter.warn(&format!("{} is for {}, which this machine does not run", self.name, image.platform()));
        }
    }

    /// The image of this name in the store, if it is complete and for the right platform.
    fn usable_image(&self, store: &Store) -> Result<Image, Error> {
        let image = match self.registry.platform() {
            Some(platform) => store.image_for(&self.name, platform)?,
            None => store.image(&self.name)?,
        };
        let is_suitable = self.registry.platform().is_none_or(|platform| image.runs_on(platform));
        if is_suitable && image.is_complete()? {
            return Ok(image);
        }
        Err(store.absent(&self.name))
    }

    /// Ordinary users cannot create device nodes.
    fn sandbox(&self) -> Sandbox {
        let has_devices = !self.options.no_devices && rustix::process::geteuid().is_root();
        #[cfg(feature = "manage")]
        if self.options.is_in_place {
            return Sandbox::new().target_in_place(&self.target).devices(has_devices);
        }
        Sandbox::new().target(&self.target).devices(has_devices)
    }

    fn fetch_and_unpack(
        &self,
        store: &Store,
        tree: &Path,
        options: &UnpackOptions,
        reporter: &Reporter,
    ) -> Result<Unpacked, Failure> {
        let client = self.registry.client()?;
        client.find_credentials(&self.name, reporter);
        let sandbox = self.sandbox();
        if self.options.is_streamed {
            let sandbox = if self.keeps_versions { sandbox.store(store) } else { sandbox };
            sandbox::enter(&sandbox, reporter);
            let streamed = client.stream(&self.name, tree, options, reporter)?;
            return Ok(Unpacked { tally: streamed.tally, digest: streamed.digest, image_id: None, is_fetched: true });
        }
        sandbox::enter(&sandbox.store(store), reporter);
        let (pulled, tally) = client.unpack(&self.name, store, tree, options, reporter)?;
        Ok(Unpacked::of_image(&pulled.image, tally, true))
    }
}

fn is_mended_by_a_pull(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Mismatch)
}
