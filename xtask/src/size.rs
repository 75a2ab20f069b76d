//! `cargo xtask size`: shows the size of the release binaries and checks the budget.

use crate::{Result, cargo, disk, show};

struct Row {
    profile: &'static str,
    budget: Option<u64>,
}

/// The budgets are for stripped binaries of x86_64-unknown-linux-gnu. Other targets have none here.
const TABLE: &[Row] =
    &[Row { profile: "release", budget: Some(34 * 1024 * 1024 / 10) }, Row { profile: "release-fast", budget: None }];

pub fn run() -> Result {
    let has_budget = cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"));
    println!("{:<16}{:>12}{:>12}{:>12}", "profile", "bytes", "size", "budget");
    let mut above = Vec::new();
    for row in TABLE {
        let size = disk::size(&cargo::build(row.profile)?)?;
        let budget = row.budget.filter(|_| has_budget);
        let limit = budget.map_or("-".into(), show::bytes);
        println!("{:<16}{size:>12}{:>12}{limit:>12}", row.profile, show::bytes(size));
        if budget.is_some_and(|budget| size > budget) {
            above.push(row.profile);
        }
    }
    if above.is_empty() { Ok(()) } else { Err(format!("above the budget: {}", above.join(", "))) }
}
