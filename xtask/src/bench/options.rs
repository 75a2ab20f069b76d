//! The options of `cargo xtask bench`.

use super::images;
use super::tools::Task;
use crate::Result;

pub const HELP: &str = "\
cargo xtask bench [--json] [--task TASK]... [--image IMAGE]... [--tool TOOL]... [--runs N]

  --task TASK    T1 (pull into a store), T2 (pull and unpack), repeat (pull again), far (T1 with a round trip of 50 ms:
                 a proxy delays all bytes, and the handshake of each new connection), device (write the layer of big or
                 big-zstd to a loop device and prove what it has; needs root); default: all but device
  --image IMAGE  debian, app, many, wide, big, or one of them with -zstd; default: the five with gzip
  --tool TOOL    one of the installed tools; default: all
  --runs N       number of runs, each on a fresh file system; the figures are medians (default: 5)
  --json         print one JSON object per line instead of tables
  --plot         measure nothing: make the table and the pictures of docs/figures.md from docs/figures.json
";

#[derive(Debug, PartialEq)]
pub struct Options {
    pub tasks: Vec<Task>,
    pub images: Vec<String>,
    /// Empty means all.
    pub tools: Vec<String>,
    pub runs: usize,
    pub is_json: bool,
}

impl Options {
    pub fn parse(words: &[&str]) -> Result<Self> {
        let mut options = Self { tasks: Vec::new(), images: Vec::new(), tools: Vec::new(), runs: 5, is_json: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if *word == "--json" {
                options.is_json = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("bench: {word:?} needs a value\n\n{HELP}"))?;
            match *word {
                "--task" => options.tasks.push(Task::parse(value)?),
                "--image" => options.images.push(image(value)?),
                "--tool" => options.tools.push((*value).to_owned()),
                "--runs" => options.runs = runs(value)?,
                _ => return Err(format!("bench: unknown option {word:?}\n\n{HELP}")),
            }
        }
        if options.tasks.is_empty() {
            options.tasks = Task::USUAL.to_vec();
        }
        if options.images.is_empty() {
            options.images = images::usual();
        }
        Ok(options)
    }
}

fn image(name: &str) -> Result<String> {
    let names = images::names();
    let known = || format!("bench: no image {name:?}: expected one of {}", names.join(", "));
    names.iter().find(|known| *known == name).cloned().ok_or_else(known)
}

fn runs(value: &str) -> Result<usize> {
    let runs = value.parse().ok().filter(|runs| *runs > 0);
    runs.ok_or_else(|| format!("bench: --runs {value:?}: expected a positive number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selects_everything_by_default() {
        let options = Options::parse(&[]).unwrap();
        assert_eq!((options.tasks.len(), options.images.len(), options.runs), (4, 5, 5));
        let options = Options::parse(&["--task", "T1", "--image", "big-zstd", "--runs", "3", "--json"]).unwrap();
        assert_eq!((options.tasks, options.images), (vec![Task::Store], vec!["big-zstd".to_owned()]));
        assert!(options.runs == 3 && options.is_json);
        for bad in [&["--runs", "0"][..], &["--image", "x"], &["--task", "T9"], &["--runs"], &["x"]] {
            assert!(Options::parse(bad).is_err(), "{bad:?}");
        }
    }
}
