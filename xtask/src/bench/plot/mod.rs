//! `cargo xtask bench --plot`: the table of docs/figures.md and the pictures next to it, from the figures in
//! docs/figures.json, which has the lines that `--json` prints.

mod svg;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Result, cargo, disk};

/// The recorded figures, one JSON object per line.
const FIGURES: &str = "docs/figures.json";
const PAGE: &str = "docs/figures.md";
/// The beginning of the table that is made from the figures.
const TABLE: &str = "| `cargo xtask bench` |";
/// The images, in the order of the table.
const IMAGES: [&str; 5] = ["debian", "app", "many", "wide", "big"];

const PULLET: &str = "pullet";
const SKOPEO: &str = "skopeo (+ umoci)";
const CURL: &str = "curl (| gunzip | tar)";

/// A figure of a run.
#[derive(Clone, Copy, PartialEq)]
enum Field {
    Cpu,
    /// Peak memory, in bytes.
    Rss,
    Wall,
}

/// A row of the table.
struct Line {
    label: &'static str,
    task: &'static str,
    tool: &'static str,
    field: Field,
    decimals: usize,
}

const fn line(label: &'static str, task: &'static str, tool: &'static str, field: Field, decimals: usize) -> Line {
    Line { label, task, tool, field, decimals }
}

const LINES: &[Line] = &[
    line("pull, CPU s: pullet", "T1", PULLET, Field::Cpu, 2),
    line("skopeo 1.9", "T1", SKOPEO, Field::Cpu, 2),
    line("lower bound: sha256 and `curl -o`", "T1", "floor", Field::Cpu, 2),
    line("pull and unpack, CPU s: pullet", "T2", PULLET, Field::Cpu, 2),
    line("pullet with `fast-inflate`", "T2", "pullet (fast-inflate)", Field::Cpu, 2),
    line("skopeo 1.9, umoci 0.4", "T2", SKOPEO, Field::Cpu, 2),
    line("curl, gunzip, tar: nothing verified", "T2", CURL, Field::Cpu, 2),
    line("lower bound: each step measured alone, added up", "T2", "floor", Field::Cpu, 2),
    line("the same, wall s: pullet", "T2", PULLET, Field::Wall, 2),
    line("pullet `-j 2`", "T2", "pullet -j 2", Field::Wall, 2),
    line("repeat pull, CPU s: pullet", "repeat", PULLET, Field::Cpu, 3),
    line("skopeo", "repeat", SKOPEO, Field::Cpu, 3),
    line("pull over 50 ms of round trip, wall s: pullet", "far", PULLET, Field::Wall, 2),
    line("pullet `-j 6`", "far", "pullet -j 6", Field::Wall, 2),
    line("skopeo (6 layers in parallel)", "far", SKOPEO, Field::Wall, 2),
    line("peak RSS of pull and unpack, MiB: pullet", "T2", PULLET, Field::Rss, 1),
    line("pullet `-j 2`", "T2", "pullet -j 2", Field::Rss, 1),
    line("skopeo, umoci", "T2", SKOPEO, Field::Rss, 1),
];

/// A picture: a group of bars for each image, and a bar for each tool in it.
struct Chart {
    file: &'static str,
    title: &'static str,
    /// What the axis shows, with its unit.
    axis: &'static str,
    task: &'static str,
    field: Field,
    /// The name in the picture, the tool, and the colour.
    bars: &'static [(&'static str, &'static str, &'static str)],
}

const BLUE: &str = "#2f7de1";
const LIGHT_BLUE: &str = "#8bb9f2";
const ORANGE: &str = "#d9822b";
const VIOLET: &str = "#8a6fc4";
const GREY: &str = "#8a939c";

const CHARTS: &[Chart] = &[
    Chart {
        file: "docs/plots/unpack.svg",
        title: "Pull and unpack an image",
        axis: "CPU seconds, less is better",
        task: "T2",
        field: Field::Cpu,
        bars: &[
            ("pullet", PULLET, BLUE),
            ("skopeo 1.9 + umoci 0.4", SKOPEO, ORANGE),
            ("curl | gunzip | tar, unverified", CURL, VIOLET),
            ("lower bound", "floor", GREY),
        ],
    },
    Chart {
        file: "docs/plots/memory.svg",
        title: "Peak memory of pull and unpack",
        axis: "MiB, less is better",
        task: "T2",
        field: Field::Rss,
        bars: &[
            ("pullet", PULLET, BLUE),
            ("pullet -j 2", "pullet -j 2", LIGHT_BLUE),
            ("skopeo 1.9 + umoci 0.4", SKOPEO, ORANGE),
        ],
    },
    Chart {
        file: "docs/plots/pull.svg",
        title: "Pull an image into a store",
        axis: "CPU seconds, less is better",
        task: "T1",
        field: Field::Cpu,
        bars: &[("pullet", PULLET, BLUE), ("skopeo 1.9", SKOPEO, ORANGE), ("lower bound", "floor", GREY)],
    },
    Chart {
        file: "docs/plots/far.svg",
        title: "Pull over a round trip of 50 ms",
        axis: "seconds of wall time, less is better",
        task: "far",
        field: Field::Wall,
        bars: &[
            ("pullet", PULLET, BLUE),
            ("pullet -j 6", "pullet -j 6", LIGHT_BLUE),
            ("skopeo 1.9 (6 in parallel)", SKOPEO, ORANGE),
        ],
    },
];

/// The recorded figures.
struct Figures(Vec<Value>);

/// Writes the pictures and the table.
pub fn run() -> Result {
    for (path, text) in outputs(&cargo::root())? {
        path.parent().map_or(Ok(()), disk::create_folder)?;
        disk::write(&path, text)?;
        println!("{}", cargo::shown(&path));
    }
    Ok(())
}

/// The files that are made from the figures.
fn outputs(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let figures = Figures::parse(&disk::read(&root.join(FIGURES))?)?;
    let mut outputs = Vec::new();
    for chart in CHARTS {
        outputs.push((root.join(chart.file), svg::draw(chart, &figures)?));
    }
    let page = disk::read(&root.join(PAGE))?;
    outputs.push((root.join(PAGE), with_table(&page, &figures.table()?)?));
    Ok(outputs)
}

impl Figures {
    fn parse(text: &str) -> Result<Self> {
        let parse = |line: &str| serde_json::from_str(line).map_err(|e| format!("{FIGURES}: {line:?}: {e}"));
        Ok(Self(text.lines().map(parse).collect::<Result<_>>()?))
    }

    fn find(&self, task: &str, image: &str, tool: &str, field: Field) -> Result<f64> {
        let row = self.0.iter().find(|row| row["task"] == task && row["image"] == image && row["tool"] == tool);
        let figure = row.and_then(|row| match field {
            Field::Cpu => row["cpu"].as_f64(),
            Field::Rss => row["rss"].as_f64().map(|bytes| bytes / (1024.0 * 1024.0)),
            Field::Wall => row["wall"].as_f64(),
        });
        figure.ok_or_else(|| format!("{FIGURES}: no figure for {task}, {image}, {tool}"))
    }

    fn table(&self) -> Result<String> {
        let mut table = format!("{TABLE} {} |\n|---|{}\n", IMAGES.join(" | "), "---|".repeat(IMAGES.len()));
        for Line { label, task, tool, field, decimals } in LINES {
            table += &format!("| {label} |");
            for image in IMAGES {
                table += &format!(" {:.decimals$} |", self.find(task, image, tool, *field)?);
            }
            table += "\n";
        }
        Ok(table)
    }
}

/// The page with its table replaced by this one.
fn with_table(page: &str, table: &str) -> Result<String> {
    let start = page.find(TABLE).ok_or_else(|| format!("{PAGE}: no table {TABLE}"))?;
    let length = page[start..].find("\n\n").ok_or_else(|| format!("{PAGE}: no end of the table"))? + 1;
    Ok(format!("{}{table}{}", &page[..start], &page[start + length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_table_are_those_of_the_recorded_figures() {
        for (path, text) in outputs(&cargo::root()).unwrap() {
            let is_same = disk::read(&path).is_ok_and(|found| found == text);
            assert!(is_same, "{}: run `cargo xtask bench --plot`", cargo::shown(&path));
        }
    }

    #[test]
    fn replaces_the_table_only() {
        let page = format!("a\n\n{TABLE} x |\n| old |\n\nb\n");
        assert_eq!(with_table(&page, "new\n").unwrap(), "a\n\nnew\n\nb\n");
        assert!(with_table("a", "new\n").is_err());
    }
}
