//! `pullet images`: lists the images in the store as Docker does.

use pullet::{Escaped, Image, Reference, Sandbox};
use serde_json::{Value, json};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::options::{Group, Opt};
use crate::exit::Failure;
use crate::filter::ImageFilter;
use crate::listing::{Columns, ago, at};
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "images",
    arguments: "[REPOSITORY[:TAG]]",
    summary: "list the images in the store",
    about: "List the images in the store, the newest first: all, or those whose name is REPOSITORY or REPOSITORY:TAG, in which \
            * stands for any text. An image is listed once for each name and platform. SIZE is the size of config and layers \
            in the store, which are compressed. Images without a name, and tags of signatures, are not listed. With -q, print only the image IDs.",
    definitions: &[],
    groups: &[&OPTIONS],
    notes: &[FORMAT_NOTE],
    run,
};

/// What `--format` takes, for commands that print lists.
pub(super) const FORMAT_NOTE: &str = "FORMAT is `table`, `table TEMPLATE`, `json` or TEMPLATE, in Go's syntax as with Docker: \
     `{{.ID}}: {{.Repository}}`. An unknown field is an error that lists the known ones.";

#[derive(Default)]
struct Options {
    all: bool,
    digests: bool,
    no_trunc: bool,
    filters: Vec<String>,
    format: Option<String>,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[
        Opt::flag("-a, --all", "list images without a name too", |options| options.all = true),
        Opt::flag("--digests", "show the digests to which the names resolved", |options| options.digests = true),
        Opt::value(
            "-f, --filter KEY=VALUE",
            "list only some images: `dangling=true|false` (without a name), `reference=PATTERN`, `label=KEY[=VALUE]`, \
             `before=IMAGE`, `since=IMAGE`, `until=TIME`; may be given several times",
            |options, value| {
                options.filters.push(value.text()?.to_owned());
                Ok(())
            },
        ),
        Opt::value("--format FORMAT", "print each image in this form", |options, value| {
            options.format = Some(value.text()?.to_owned());
            Ok(())
        }),
        Opt::flag("--no-trunc", "show whole image IDs", |options| options.no_trunc = true),
    ],
};

static COLUMNS: Columns = Columns {
    headings: &[
        ("Containers", "CONTAINERS"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedSince", "CREATED"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("Platform", "PLATFORM"),
        ("Repository", "REPOSITORY"),
        ("SharedSize", "SHARED SIZE"),
        ("Size", "SIZE"),
        ("Tag", "TAG"),
        ("UniqueSize", "UNIQUE SIZE"),
    ],
    default: &["Repository", "Tag", "ID", "CreatedSince", "Size"],
};

static COLUMNS_WITH_DIGESTS: Columns =
    Columns { default: &["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"], ..COLUMNS };

const FILTERS: [&str; 6] = ["dangling", "reference", "label", "before", "since", "until"];

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let options: Options = line.options()?;
    let pattern = line.optional_operand()?;
    if options.digests && (options.format.is_some() || common.is_quiet) {
        return Err(line.misused("--digests adds a column to the table, which --format and -q replace"));
    }
    let store = common.store()?;
    sandbox::enter(&Sandbox::new().stored(&store).offline(), reporter);
    let mut filter = ImageFilter::parse(&options.filters, &FILTERS, &store)?;
    if !options.all {
        filter.hide_dangling();
    }
    if let Some(pattern) = pattern {
        filter.reference(pattern.to_str().unwrap_or_default());
    }
    let mut images = Vec::new();
    for image in store.images()? {
        if filter.accepts(&image)? {
            images.push(image);
        }
    }
    // Stable, so that images of the same time keep the order of the index.
    images.sort_by_key(|image| std::cmp::Reverse(image.created_unix()));
    let rows: Vec<Value> = images.iter().map(|image| row(image, options.no_trunc)).collect();
    let columns = if options.digests { &COLUMNS_WITH_DIGESTS } else { &COLUMNS };
    let format = options.format.as_deref().or(common.is_quiet.then_some("{{.ID}}"));
    text::print(columns.list(format, &rows)?)
}

fn row(image: &Image, is_whole: bool) -> Value {
    let none = || "<none>".to_owned();
    let (repository, tag) = match image.name().parse::<Reference>() {
        Ok(name) => (name.familiar_repository(), name.tag().map_or_else(none, str::to_owned)),
        Err(_) if image.name().is_empty() => (none(), none()),
        Err(_) => (Escaped(image.name()).to_string(), none()),
    };
    let created = image.created_unix();
    json!({
        "Containers": "N/A",
        "CreatedAt": at(created),
        "CreatedSince": ago(created),
        "Digest": image.digest().to_string(),
        "ID": if is_whole { image.id().to_string() } else { image.id().short() },
        "Platform": image.platform().to_string(),
        "Repository": repository,
        "SharedSize": "N/A",
        "Size": text::bytes(image.size()),
        "Tag": tag,
        "UniqueSize": "N/A",
    })
}
