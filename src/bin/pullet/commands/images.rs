//! `pullet images`: lists the images in the store as Docker does.

use pullet::{Escaped, Image, Reference, Sandbox};
use rustix::time::{ClockId, clock_gettime};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "images",
    arguments: "",
    summary: "list the images in the store",
    about: "List the images in the store. SIZE is the size of config and layers in the store, which are compressed. With -q, print \
            only the image IDs.",
    definitions: &[],
    groups: &[],
    notes: &[],
    run,
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let [] = line.operands()?;
    let store = common.store()?;
    sandbox::enter(&Sandbox::new().stored(&store).offline(), reporter);
    let images = store.images()?;
    if common.is_quiet {
        return text::print(images.iter().map(|image| format!("{}\n", image.id().short())).collect::<String>());
    }
    let header = ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(images.iter().map(row)).collect();
    text::print(table(&rows))
}

fn row(image: &Image) -> [String; 5] {
    let (repository, tag) = match image.name().parse::<Reference>() {
        Ok(name) => (name.familiar_repository(), name.tag().unwrap_or("<none>").to_owned()),
        Err(_) => (Escaped(image.name()).to_string(), "<none>".to_owned()),
    };
    let created = image.created_unix().map_or_else(|| "N/A".to_owned(), ago);
    [repository, tag, image.id().short(), created, text::bytes(image.size())]
}

/// Aligns the columns, three blanks apart as in Docker's table.
fn table(rows: &[[String; 5]]) -> String {
    let mut widths = [0; 5];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 5]| {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}   ")).collect();
        format!("{}\n", cells.trim_end())
    };
    rows.iter().map(line).collect()
}

/// Docker's words for how long ago something was (`go-units`' `HumanDuration`).
fn ago(created: i64) -> String {
    // Not std's clock, because it panics after 2038 on 32-bit musl targets.
    let now = clock_gettime(ClockId::Realtime).tv_sec;
    let seconds = (now - created).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let words = match (seconds, minutes, hours, days) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, ..) => "About a minute".to_owned(),
        (_, ..60, ..) => format!("{minutes} minutes"),
        (_, _, 1, _) => "About an hour".to_owned(),
        (_, _, ..48, _) => format!("{hours} hours"),
        (.., ..14) => format!("{days} days"),
        (.., ..60) => format!("{} weeks", days / 7),
        (.., ..730) => format!("{} months", days / 30),
        _ => format!("{} years", days / 365),
    };
    format!("{words} ago")
}
