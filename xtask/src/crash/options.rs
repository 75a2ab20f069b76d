//! The options of `cargo xtask crash`.

use crate::Result;

pub struct Options {
    /// The points to try; `None` means all.
    pub sample: Option<Sample>,
    /// The only system call to try.
    pub call: Option<String>,
    /// The only scenario to run.
    pub scenario: Option<String>,
    /// Only check the traces of runs without a fault.
    pub only_traces: bool,
    pub jobs: usize,
}

/// A random choice of points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub seed: u64,
    pub count: usize,
}

const USAGE: &str =
    "cargo xtask crash [--sample SEED[:COUNT]] [--call NAME] [--scenario NAME] [--traces] [--jobs COUNT]";
const COUNT: usize = 300;

impl Options {
    pub fn parse(words: &[&str]) -> Result<Self> {
        let jobs = std::thread::available_parallelism().map_or(1, |count| count.get());
        let mut options = Self { sample: None, call: None, scenario: None, only_traces: false, jobs };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if *word == "--traces" {
                options.only_traces = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("{word}: no value, or no such option\nusage: {USAGE}"))?;
            match *word {
                "--sample" => options.sample = Some(parse_sample(value)?),
                "--call" => options.call = Some((*value).to_owned()),
                "--scenario" => options.scenario = Some((*value).to_owned()),
                "--jobs" => options.jobs = number(value)?.max(1),
                _ => return Err(format!("unknown option {word:?}\nusage: {USAGE}")),
            }
        }
        Ok(options)
    }
}

fn parse_sample(value: &str) -> Result<Sample> {
    let (seed, count) = value.split_once(':').unwrap_or((value, ""));
    let count = if count.is_empty() { COUNT } else { number(count)? };
    Ok(Sample { seed: number(seed)? as u64, count })
}

fn number(text: &str) -> Result<usize> {
    text.parse().map_err(|_| format!("{text:?} is not a number\nusage: {USAGE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_sample_with_and_without_a_count() {
        let check = |words: &[&str], expected| assert_eq!(Options::parse(words).unwrap().sample, expected);
        check(&[], None);
        check(&["--sample", "7"], Some(Sample { seed: 7, count: COUNT }));
        check(&["--jobs", "1", "--sample", "7:3"], Some(Sample { seed: 7, count: 3 }));
        check(&["--traces", "--sample", "7"], Some(Sample { seed: 7, count: COUNT }));
        assert!(Options::parse(&["--sample"]).is_err());
        assert!(Options::parse(&["--sample", "x"]).is_err());
        assert!(Options::parse(&["--all", "1"]).is_err());
    }
}
