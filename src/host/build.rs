//! The date of this program, which has certainly passed.

/// The date of this release, 2026-11-28, in seconds since 1970. The release process raises it.
const RELEASE: u64 = 1_795_824_000;
/// `SOURCE_DATE_EPOCH` of the build, which distributions set. Never the time of the build itself, because two builds of one
/// source must be equal.
const SOURCE_DATE_EPOCH: Option<&str> = option_env!("SOURCE_DATE_EPOCH");

/// Returns the date of the build, in seconds since 1970, and its source.
pub(crate) fn build_date() -> (u64, String) {
    let given = SOURCE_DATE_EPOCH.and_then(|text| text.parse().ok());
    (given.map_or(RELEASE, |seconds: u64| seconds.max(RELEASE)), "the date of this build".to_owned())
}
