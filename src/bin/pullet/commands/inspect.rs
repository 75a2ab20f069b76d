//! `pullet inspect`: prints what is known about images in the store, in Docker's JSON.

use pullet::{Image, Reference, Sandbox, Store};
use serde_json::{Value, json};

use super::rmi::Failures;
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{NAME_NOTE, RegistryOptions, STORED_PLATFORM};
use crate::cli::value::selector;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::template::Template;
use crate::{json, sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "inspect",
    arguments: "NAME…",
    summary: "print what is known about images in the store",
    about: "Print what is known about images in the store, as a list in Docker's JSON. NAME may be the beginning of an image \
            ID. Size is that of config and layers in the store, \
            which are compressed. An image that the store lacks is reported after the others.",
    definitions: &[],
    groups: &[&OPTIONS, &STORED_PLATFORM],
    notes: &[
        "FORMAT is `json` or a template, in Go's syntax as with Docker: `{{.Architecture}}`, `{{json .Config.Env}}`, \
         `{{index .Config.Labels \"key\"}}`. An unknown field is an error that lists the known ones.",
        NAME_NOTE,
    ],
    run,
};

#[derive(Default)]
struct Options {
    format: Option<String>,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[Opt::value("-f, --format FORMAT", "print each image in this form", |options, value| {
        options.format = Some(value.text()?.to_owned());
        Ok(())
    })],
};

/// Members of an image that a template may use although its config does not have them.
const MEMBERS: [&str; 12] = [
    "ArgsEscaped",
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "Volumes",
    "WorkingDir",
];

/// Members that are texts.
const TEXTS: [&str; 3] = ["StopSignal", "User", "WorkingDir"];

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Options { format } = line.options()?;
    let registry: RegistryOptions = line.options()?;
    let selectors = line.all_operands().iter().map(selector).collect::<Result<Vec<_>, _>>()?;
    if selectors.is_empty() {
        return Err(line.missing(COMMAND.arguments));
    }
    let template = match format.as_deref() {
        None | Some("json") => None,
        Some(template) => Some(Template::parse(template)?),
    };
    let store = common.store()?;
    sandbox::enter(&Sandbox::new().stored(&store).offline(), reporter);
    let (mut described, mut failures) = (Vec::new(), Failures::default());
    for selector in &selectors {
        match registry.select(&store, selector).map_err(Failure::from).and_then(|image| describe(&store, &image)) {
            Ok(value) => described.push(value),
            Err(failure) => failures.add(failure),
        }
    }
    let text = match (template, format) {
        (Some(template), _) => by_template(&template, described)?,
        (None, Some(_)) => format!("{}\n", json::compact(&described.into())),
        (None, None) => format!("{}\n", json::indented(&described.into())),
    };
    text::print(text)?;
    failures.outcome()
}

/// A line for each image.
fn by_template(template: &Template, described: Vec<Value>) -> Result<String, Failure> {
    let mut text = String::new();
    for mut value in described {
        fill(&mut value);
        text.push_str(&template.text(&value)?);
        text.push('\n');
    }
    Ok(text)
}

/// Adds the members that Go's types always have.
fn fill(value: &mut Value) {
    let Some(image) = value.as_object_mut() else { return };
    image.entry("Variant").or_insert_with(|| "".into());
    image.entry("OsVersion").or_insert_with(|| "".into());
    let Some(config) = image.get_mut("Config").and_then(Value::as_object_mut) else { return };
    for name in MEMBERS.iter().chain(&TEXTS) {
        let empty = if TEXTS.contains(name) { Value::from("") } else { Value::Null };
        config.entry(*name).or_insert(empty);
    }
}

fn describe(store: &Store, image: &Image) -> Result<Value, Failure> {
    let config: Value = serde_json::from_slice(&image.config_json()?).unwrap_or_default();
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let names = Names::of(store, image)?;
    let descriptor = image.manifest_descriptor();
    let mut value = json!({
        "Id": image.id().to_string(),
        "RepoTags": names.tags,
        "RepoDigests": names.digests,
        "Comment": text("comment"),
        "Created": text("created"),
        "Author": text("author"),
        "Config": config.get("config").filter(|config| config.is_object()).cloned().unwrap_or_else(|| json!({})),
        "Architecture": text("architecture"),
        "Os": text("os"),
        "Size": image.size(),
        "RootFS": {
            "Type": "layers",
            "Layers": image.diff_ids().iter().map(|digest| digest.to_string()).collect::<Vec<_>>(),
        },
        "Descriptor": {
            "mediaType": descriptor.media_type,
            "digest": descriptor.digest.to_string(),
            "size": descriptor.size,
        },
    });
    for (member, name) in [("Variant", "variant"), ("OsVersion", "os.version")] {
        if let Some(object) = value.as_object_mut()
            && !text(name).is_empty()
        {
            object.insert(member.to_owned(), text(name).into());
        }
    }
    Ok(value)
}

/// All names of an image.
struct Names {
    tags: Vec<String>,
    digests: Vec<String>,
}

impl Names {
    fn of(store: &Store, image: &Image) -> Result<Self, Failure> {
        let (mut tags, mut digests) = (Vec::new(), Vec::new());
        for other in store.images()?.iter().filter(|other| other.id() == image.id()) {
            let Ok(name) = other.name().parse::<Reference>() else { continue };
            let repository = name.familiar_repository();
            let pinned = format!("{repository}@{}", other.digest());
            if let Some(tag) = name.tag() {
                tags.push(format!("{repository}:{tag}"));
            }
            if !digests.contains(&pinned) {
                digests.push(pinned);
            }
        }
        Ok(Self { tags, digests })
    }
}
