//! What was typed behind `cargo xtask crash`.

use crate::Result;

pub struct Options {
    /// A seed and how many points are tried; else all are.
    pub sample: Option<(u64, usize)>,
    /// The only system call at which anything happens.
    pub call: Option<String>,
    pub jobs: usize,
}

const USAGE: &str = "cargo xtask crash [--sample SEED[:COUNT]] [--call NAME] [--jobs COUNT]";
const COUNT: usize = 300;

impl Options {
    pub fn parse(words: &[&str]) -> Result<Self> {
        let jobs = std::thread::available_parallelism().map_or(1, |count| count.get());
        let mut options = Self { sample: None, call: None, jobs };
        for pair in words.chunks(2) {
            match *pair {
                ["--sample", value] => options.sample = Some(sample(value)?),
                ["--call", name] => options.call = Some(name.to_owned()),
                ["--jobs", count] => options.jobs = number(count)?.max(1),
                _ => return Err(format!("{:?}\nusage: {USAGE}", pair.join(" "))),
            }
        }
        Ok(options)
    }
}

fn sample(value: &str) -> Result<(u64, usize)> {
    let (seed, count) = value.split_once(':').unwrap_or((value, ""));
    let count = if count.is_empty() { COUNT } else { number(count)? };
    Ok((number(seed)? as u64, count))
}

fn number(text: &str) -> Result<usize> {
    text.parse().map_err(|_| format!("{text:?} is no number\nusage: {USAGE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_a_seed_and_may_have_a_count() {
        let check = |words: &[&str], expected| assert_eq!(Options::parse(words).unwrap().sample, expected);
        check(&[], None);
        check(&["--sample", "7"], Some((7, COUNT)));
        check(&["--jobs", "1", "--sample", "7:3"], Some((7, 3)));
        assert!(Options::parse(&["--sample"]).is_err());
        assert!(Options::parse(&["--sample", "x"]).is_err());
        assert!(Options::parse(&["--all", "1"]).is_err());
    }
}
