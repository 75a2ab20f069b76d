//! What this machine knows about the time when its clock is not set. Many small machines have no clock with a battery, and
//! begin at 1970 or at the date of their firmware.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
#[cfg(target_pointer_width = "64")]
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(not(target_pointer_width = "64"))]
use rustix::time::{ClockId, clock_gettime};

use super::build::build_date;
use super::environment::Environment;

/// Files whose times systemd takes as a floor for the clock: one of the distribution, one that systemd-timesyncd renews.
const FILES: [&str; 2] = ["usr/lib/clock-epoch", "var/lib/systemd/timesync/clock"];

/// Returns the time in seconds since 1970. It comes from the C library, so that tests can set it with faketime.
#[cfg(target_pointer_width = "64")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the time in seconds since 1970. `std::time::SystemTime` panics on 32-bit musl after 2038, because musl's old
/// system call cannot return such a time.
#[cfg(not(target_pointer_width = "64"))]
pub(crate) fn now() -> u64 {
    u64::try_from(clock_gettime(ClockId::Realtime).tv_sec).unwrap_or_default()
}

/// Returns the latest moment that has certainly passed, in seconds since 1970, and its source.
pub(crate) fn passed() -> (u64, String) {
    passed_in(Environment::of_process())
}

fn passed_in(environment: Environment<'_>) -> (u64, String) {
    let mut latest = build_date();
    for file in FILES {
        let path = environment.in_root(file);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let seconds = u64::try_from(metadata.mtime()).unwrap_or_default();
        if seconds > latest.0 {
            latest = (seconds, format!("the time of {}", path.display()));
        }
    }
    latest
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::test_root::TestRoot;
    use super::*;

    #[test]
    fn the_latest_of_the_build_and_two_files_has_passed() {
        let build = build_date();
        let machine = TestRoot::new("clock", &[(FILES[0], ""), (FILES[1], "")]);
        let set = |file: &str, seconds| {
            let file = File::options().write(true).open(machine.root.join(file)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        let found = || {
            let (seconds, from) = machine.enter(passed_in);
            (seconds, machine.without_root(&from))
        };
        for (epoch, timesync, expected) in [
            (0, build.0, build.clone()),
            (build.0 + 1, 0, (build.0 + 1, "the time of /usr/lib/clock-epoch".to_owned())),
            (build.0 + 1, build.0 + 2, (build.0 + 2, "the time of /var/lib/systemd/timesync/clock".to_owned())),
        ] {
            set(FILES[0], epoch);
            set(FILES[1], timesync);
            assert_eq!(found(), expected);
        }
        assert_eq!(TestRoot::new("clock-none", &[]).enter(passed_in), build);
    }
}
