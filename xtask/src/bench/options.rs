//! What was typed behind `cargo xtask bench`.

use super::images;
use super::tools::Task;
use crate::Result;

pub const HELP: &str = "\
cargo xtask bench [--json] [--task TASK]... [--image IMAGE]... [--tool TOOL]... [--runs N]

  --task TASK    T1 (into a store), T2 (pull and unpack), repeat (pull what is there), far (T1 with 50 ms of round
                 trip, by a proxy that holds back all bytes, and a new connection's for its handshake); default: all
  --image IMAGE  debian, app, many, wide, big, or one of them with -zstd; default: the five with gzip
  --tool TOOL    one of the tools that are here; default: all
  --runs N       the median of so many runs, each on a fresh file system (default: 5)
  --json         an object a line instead of the tables
";

/// The choices.
#[derive(Debug, PartialEq)]
pub struct Options {
    pub tasks: Vec<Task>,
    pub images: Vec<String>,
    /// Empty for all.
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
            let value = words.next().ok_or_else(|| format!("bench: what is {word:?}?\n\n{HELP}"))?;
            match *word {
                "--task" => options.tasks.push(Task::parse(value)?),
                "--image" => options.images.push(image(value)?),
                "--tool" => options.tools.push((*value).to_owned()),
                "--runs" => options.runs = runs(value)?,
                _ => return Err(format!("bench: what is {word:?}?\n\n{HELP}")),
            }
        }
        if options.tasks.is_empty() {
            options.tasks = Task::ALL.to_vec();
        }
        if options.images.is_empty() {
            options.images = images::usual();
        }
        Ok(options)
    }
}

fn image(name: &str) -> Result<String> {
    let names = images::names();
    let known = || format!("bench: no image {name:?}; there are {}", names.join(", "));
    names.iter().find(|known| *known == name).cloned().ok_or_else(known)
}

fn runs(value: &str) -> Result<usize> {
    let runs = value.parse().ok().filter(|runs| *runs > 0);
    runs.ok_or_else(|| format!("bench: --runs {value:?}: not a number above nought"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_all_of_it() {
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
