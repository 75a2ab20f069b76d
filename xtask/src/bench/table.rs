//! The output: tables, or one JSON object per line.

use super::floor::Part;
use super::measure::Sample;
use super::tools::Task;
use crate::show;

/// One tool at one task with one image.
pub struct Row {
    pub task: Task,
    pub image: String,
    pub tool: String,
    pub sample: Sample,
    pub requests: Option<usize>,
    pub connections: Option<usize>,
    /// Its CPU seconds relative to pullet's.
    pub ratio: f64,
}

pub const HEAD: &str =
    "task   image        tool                             CPU s  wall s  RSS MiB  requests  conns  written MB  ratio";

/// The parts of the floor as rows, and their sums for both tasks. `pullet` has pullet's CPU seconds for each task.
pub fn floor(image: &str, parts: &[Part], pullet: &[(Task, f64)]) -> Vec<Row> {
    let row = |task: Task, tool: String, sample: Sample| {
        let pullet_cpu = pullet.iter().find(|(of, _)| *of == task).map_or(f64::NAN, |(_, cpu)| *cpu);
        let ratio = sample.cpu / pullet_cpu;
        Row { task, image: image.to_owned(), tool, sample, requests: None, connections: None, ratio }
    };
    let sum = |is_in: &dyn Fn(&Part) -> bool| {
        let add = |sum: Sample, part: &Part| Sample {
            cpu: sum.cpu + part.sample.cpu,
            wall: sum.wall + part.sample.wall,
            ..Sample::default()
        };
        parts.iter().filter(|part| is_in(part)).fold(Sample::default(), add)
    };
    let mut rows: Vec<Row> =
        parts.iter().map(|part| row(Task::Tree, format!("  {}", part.name), part.sample)).collect();
    rows.push(row(Task::Store, "floor".into(), sum(&|part| part.is_of_store)));
    rows.push(row(Task::Tree, "floor".into(), sum(&|part| !part.name.contains("fast"))));
    if parts.iter().any(|part| part.name.contains("fast")) {
        rows.push(row(Task::Tree, "floor (fast-inflate)".into(), sum(&|part| part.name != "decompress")));
    }
    rows
}

impl Row {
    /// The row as a line of the table.
    pub fn line(&self) -> String {
        let Self { task, image, tool, sample, ratio, .. } = self;
        let count = |count: Option<usize>| count.map_or("-".into(), |count| count.to_string());
        let rss = if sample.rss == 0 { "-".into() } else { format!("{:.1}", show::mebibytes(sample.rss)) };
        format!(
            "{:<6} {image:<12} {tool:<30} {:>7.3} {:>7.2} {rss:>8} {:>9} {:>6} {:>11.1} {ratio:>6.2}",
            task.name(),
            sample.cpu,
            sample.wall,
            count(self.requests),
            count(self.connections),
            sample.written as f64 / 1e6,
        )
    }

    /// The row as a JSON object. Its texts contain no quotes.
    pub fn json(&self) -> String {
        let Self { task, image, tool, sample, ratio, .. } = self;
        let count = |count: Option<usize>| count.map_or("null".into(), |count| count.to_string());
        let ratio = if ratio.is_finite() { format!("{ratio:.4}") } else { "null".into() };
        format!(
            r#"{{"task":"{}","image":"{image}","tool":"{}","cpu":{:.4},"wall":{:.4},"rss":{},"requests":{},"connections":{},"written":{},"ratio":{ratio}}}"#,
            task.name(),
            tool.trim(),
            sample.cpu,
            sample.wall,
            sample.rss,
            count(self.requests),
            count(self.connections),
            sample.written,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &'static str, is_of_store: bool, cpu: f64) -> Part {
        Part { name, is_of_store, sample: Sample { cpu, ..Sample::default() } }
    }

    #[test]
    fn the_floor_is_the_sum_of_its_parts() {
        let parts =
            [part("curl", true, 1.0), part("decompress", false, 4.0), part("decompress (fast-inflate)", false, 2.0)];
        let rows = floor("debian", &parts, &[(Task::Store, 2.0), (Task::Tree, 10.0)]);
        let sums: Vec<(&str, f64, f64)> =
            rows[3..].iter().map(|row| (row.tool.as_str(), row.sample.cpu, row.ratio)).collect();
        assert_eq!(sums, [("floor", 1.0, 0.5), ("floor", 5.0, 0.5), ("floor (fast-inflate)", 3.0, 0.3)]);
        assert!(rows[3].json().contains(r#""cpu":1.0000,"wall":0.0000,"rss":0,"requests":null"#));
        assert_eq!(rows[3].line().len(), HEAD.len());
    }
}
