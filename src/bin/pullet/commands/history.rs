//! `pullet history`: prints how an image in the store was made, as its config says.

use pullet::{Image, Sandbox};
use serde_json::{Value, json};

use super::images::FORMAT_NOTE;
use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{NAME_NOTE, RegistryOptions, STORED_PLATFORM};
use crate::cli::value::selector;
use crate::exit::Failure;
use crate::listing::{Columns, ago, at};
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "history",
    arguments: "NAME",
    summary: "print how an image in the store was made",
    about: "Print the steps that made an image in the store, the last one first, as its config says. NAME may be the beginning \
            of an image ID. SIZE is that of the step's layer in the store, which is compressed. With -q, print only image \
            IDs, of which a config has one.",
    definitions: &[],
    groups: &[&OPTIONS, &STORED_PLATFORM],
    notes: &[FORMAT_NOTE, NAME_NOTE],
    run,
};

struct Options {
    format: Option<String>,
    is_human: bool,
    no_trunc: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { format: None, is_human: true, no_trunc: false }
    }
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[
        Opt::value("--format FORMAT", "print each step in this form", |options, value| {
            options.format = Some(value.text()?.to_owned());
            Ok(())
        }),
        Opt::value("--human true|false", "`false` prints bytes and times instead of words", |options, value| {
            options.is_human = value.choice(&[("true", true), ("false", false)])?;
            Ok(())
        }),
        Opt::flag("--no-trunc", "show whole commands and image IDs", |options| options.no_trunc = true),
    ],
};

static COLUMNS: Columns = Columns {
    headings: &[
        ("Comment", "COMMENT"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("CreatedSince", "CREATED"),
        ("ID", "IMAGE"),
        ("Size", "SIZE"),
    ],
    default: &["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
};

/// The most characters of a command in the table.
const COMMAND_LIMIT: usize = 45;

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let options: Options = line.options()?;
    let registry: RegistryOptions = line.options()?;
    let [word] = line.operands()?;
    let selector = selector(word)?;
    let store = common.store()?;
    sandbox::enter(&Sandbox::new().stored(&store).offline(), reporter);
    let image = registry.select(&store, &selector)?;
    let config: Value = serde_json::from_slice(&image.config_json()?).unwrap_or_default();
    let mut rows: Vec<Value> = Vec::new();
    for (position, step) in steps(&image, &config).iter().rev().enumerate() {
        let id = match (position, options.no_trunc) {
            (0, true) => image.id().to_string(),
            (0, false) => image.id().short(),
            _ => "<missing>".to_owned(),
        };
        rows.push(row(step, &id, &options));
    }
    let format = options.format.as_deref().or(common.is_quiet.then_some("{{.ID}}"));
    text::print(COLUMNS.list(format, &rows)?)
}

/// A step, and the size of its layer in bytes.
struct Step<'a> {
    history: &'a Value,
    size: u64,
}

/// The steps, the first one first. A config need not have them; each layer has one at least.
fn steps<'a>(image: &Image, config: &'a Value) -> Vec<Step<'a>> {
    let mut sizes = image.layers().map(|layer| layer.size);
    let history = config.get("history").and_then(Value::as_array);
    let mut steps = Vec::new();
    for history in history.into_iter().flatten() {
        let is_empty = history.get("empty_layer").and_then(Value::as_bool).unwrap_or_default();
        let size = if is_empty { 0 } else { sizes.next().unwrap_or_default() };
        steps.push(Step { history, size });
    }
    steps.extend(sizes.map(|size| Step { history: &Value::Null, size }));
    steps
}

fn row(step: &Step<'_>, id: &str, options: &Options) -> Value {
    let text = |name: &str| step.history.get(name).and_then(Value::as_str).unwrap_or_default();
    let created = pullet::parse_rfc_3339(text("created")).filter(|time| *time != pullet::GO_ZERO_TIME);
    let mut command = text("created_by").replace('\t', " ");
    if !options.no_trunc && command.chars().count() > COMMAND_LIMIT {
        command = command.chars().take(COMMAND_LIMIT - 1).chain(['…']).collect();
    }
    json!({
        "Comment": text("comment"),
        "CreatedAt": created.map_or_else(|| at(None), pullet::format_rfc_3339),
        "CreatedBy": command,
        "CreatedSince": if options.is_human { ago(created) } else { created.map_or_else(|| at(None), pullet::format_rfc_3339) },
        "ID": id,
        "Size": if options.is_human { text::bytes(step.size) } else { step.size.to_string() },
    })
}
