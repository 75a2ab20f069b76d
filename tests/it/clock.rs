//! `--clock`: certificates on a machine whose clock is behind. In most tests the clock is right, so the certificates are from
//! the future, or the files with times are; the others have another clock, by faketime. `cargo xtask boot` sets the clock
//! itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use kit::authority::{Authority, Leaf};
use kit::debian;
use kit::home::Home;
use kit::image::Image;
use kit::process::{Finished, Pullet};
use kit::registry::Registry;
use kit::signature::{Signer, sign_simply};

const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
/// Sets the time that systemd-timesyncd has kept.
const TIMESYNC: &str = "mount -t tmpfs none /var/lib; mkdir -p /var/lib/systemd/timesync; \
                        touch -d 2050-01-01T00:00:00Z /var/lib/systemd/timesync/clock; exec \"$@\"";
/// Hides the times that systemd and the distribution have kept.
const NO_TIMES: &str = "mount -t tmpfs none /var/lib; touch -d @0 /var/lib/old; \
                        if [ -e /usr/lib/clock-epoch ]; then mount --bind /var/lib/old /usr/lib/clock-epoch; fi; exec \"$@\"";

/// An image in a registry with a certificate for these years.
struct Scene {
    registry: Registry,
    home: Home,
    ca: String,
    tagged: String,
    pinned: String,
}

fn scene(from: i32, to: i32) -> Scene {
    scene_with(|authority| authority.issue_for(&NAMES, from, to))
}

fn scene_with(issue: impl FnOnce(&Authority) -> Leaf) -> Scene {
    let (authority, home) = (Authority::new(), Home::new());
    let registry = Registry::tls_with(issue(&authority).server(None));
    let image = Image::small("clock");
    let tagged = image.push(&registry, "app", "latest");
    let pinned = format!("{tagged}@{}", image.digest());
    let ca = home.write("ca.pem", authority.pem());
    Scene { registry, home, ca, tagged, pinned }
}

impl Scene {
    fn command(&self, words: &[&str]) -> Pullet<'_> {
        self.home.pullet(&[words, &["-v", "--ca-file", &self.ca]].concat())
    }

    fn run(&self, words: &[&str]) -> Finished {
        self.command(words).run()
    }

    /// Runs with the clock at the beginning of a year, on a machine without systemd's files with times.
    fn run_at(&self, year: &str, words: &[&str]) -> Finished {
        let _ = fs::remove_dir_all(self.home.store());
        let faketime = debian::program("faketime");
        let start = format!("@{year}-01-01 00:00:00");
        let pullet =
            self.command(words).in_mount_namespace(NO_TIMES).under(&[faketime.to_str().unwrap(), "-f", &start]);
        pullet.envs(&[("TZ", "UTC"), ("DONT_FAKE_MONOTONIC", "1"), ("NO_FAKE_STAT", "1")]).run()
    }

    fn requested_layers(&self) -> bool {
        self.registry.requests_to("/blobs/") > 0
    }
}

#[test]
fn a_certificate_from_the_future_needs_a_floor_and_a_digest() {
    let scene = scene(3001, 3002);
    let target = scene.home.arg("target");
    for words in [&["pull", &scene.pinned][..], &["pull", "--clock", "strict", &scene.pinned]] {
        scene.run(words).exits(7).fails_in_one_line().says("not valid before 3001-01-01").says("--clock floor");
    }
    for words in [&["pull", &scene.tagged][..], &["unpack", "--stream", &scene.tagged, &target]] {
        let outcome = scene.run(&[words, &["--clock", "floor"]].concat()).exits(7).fails_in_one_line();
        outcome.says("clock is behind").says("digest").says("hint: ");
    }
    assert!(!scene.requested_layers(), "{:?}", scene.registry.log());
    let says = "time for certificates 3001-01-01T00:00:00Z: from the beginning of the server's certificate";
    scene.run(&["pull", "--clock", "floor", &scene.pinned]).exits(0).says(says);
    scene
        .run(&["unpack", "--stream", "--pull", "always", "--clock", "floor", &scene.pinned, &target])
        .exits(0)
        .says(says);
}

#[test]
fn a_clock_that_is_right_needs_no_digest() {
    let scene = scene(2000, 4000);
    let outcome = scene.run(&["pull", "--clock", "floor", &scene.tagged]).exits(0);
    outcome.says(": from this machine's clock");
    scene.run(&["pull", &scene.tagged]).exits(0).hides("time for certificates");
}

#[test]
fn expired_certificates_and_other_names_are_refused_with_a_floor() {
    type Issue = fn(&Authority) -> Leaf;
    let cases: [(&str, Issue, &str); 4] = [
        ("expired", |ca| ca.issue_for(&NAMES, 2001, 2002), "expired at 2002-01-01"),
        ("another name", |ca| ca.issue_for(&["a.example"], 3001, 3002), "not for 127.0.0.1"),
        ("another authority", |_| Authority::new().issue_for(&NAMES, 3001, 3002), "not signed by the authority"),
        ("self-signed", |_| Authority::self_signed(&NAMES), "of an authority"),
    ];
    for (case, issue, text) in cases {
        let scene = scene_with(issue);
        let outcome = scene.run(&["pull", "--clock", "floor", &scene.pinned]).exits_in(case, 7).fails_in_one_line();
        outcome.says(text);
        assert!(scene.registry.log().is_empty(), "{case}: a request was sent");
    }
}

#[test]
fn a_trusted_self_signed_certificate_from_the_future_is_accepted_with_a_floor() {
    let key = Authority::self_signed(&NAMES).key;
    let leaf = Authority::self_signed_with(&key, &NAMES, 3001, 3002);
    let certificate = leaf.certificate.clone();
    let scene = scene_with(|_| leaf);
    fs::write(&scene.ca, certificate).unwrap();
    scene.run(&["pull", &scene.pinned]).exits(7);
    scene.run(&["pull", "--clock", "floor", &scene.pinned]).exits(0);
}

#[test]
fn the_time_of_systemd_is_a_floor() {
    let (lasting, expired) = (scene(2000, 4000), scene(2000, 2040));
    let pull = |scene: &Scene, name: &str| {
        scene.command(&["pull", "--clock", "floor", name]).in_mount_namespace(TIMESYNC).run()
    };
    pull(&lasting, &lasting.tagged).exits(7).says("clock is behind");
    let says = "2050-01-01T00:00:00Z: from the time of /var/lib/systemd/timesync/clock";
    pull(&lasting, &lasting.pinned).exits(0).says(says);
    let outcome = pull(&expired, &expired.pinned).exits(7).fails_in_one_line();
    outcome.says("expired at 2040-01-01T00:00:00Z; the time is taken to be 2050-01-01T00:00:00Z");
    expired.command(&["pull", &expired.tagged]).in_mount_namespace(TIMESYNC).run().exits_in("strict", 0);
}

#[test]
fn the_store_keeps_the_time_of_a_success() {
    let scene = scene(3001, 3002);
    let stamp = scene.home.store().join("time");
    let seconds = "32535216000";
    scene.run(&["pull", "--clock", "floor", &scene.tagged]).exits(7);
    assert!(!stamp.exists(), "a refused pull has kept a time");
    scene.run(&["pull", "--clock", "floor", &scene.pinned]).exits(0);
    assert_eq!(fs::read_to_string(&stamp).unwrap(), seconds);
    assert_eq!(fs::metadata(&stamp).unwrap().permissions().mode() & 0o777, 0o600);
    // A certificate that expired before the last success stays refused, although it is valid by the clock.
    let (earlier, store) = (self::scene(2000, 3000), scene.home.arg("store"));
    let pull = |clock: &str| earlier.run(&["pull", "--store", &store, "--clock", clock, &earlier.pinned]);
    pull("floor").exits(7).says("expired at 3000-01-01").says("the time is taken to be 3001-01-01");
    pull("strict").exits(0);
    assert_eq!(fs::read_to_string(&stamp).unwrap(), seconds);
    fs::write(&stamp, "never").unwrap();
    pull("floor").exits_in("an unreadable time is no floor", 0);
}

#[test]
fn a_strict_clock_keeps_no_time() {
    let scene = scene(2000, 4000);
    scene.run(&["pull", &scene.tagged]).exits(0);
    assert!(!scene.home.store().join("time").exists());
}

#[test]
fn commands_that_admit_no_image_have_no_choice_of_clock() {
    let home = Home::new();
    for command in ["tags", "digest", "manifest", "login", "config"] {
        home.run(&[command, "--clock", "floor", "localhost:1/app"]).exits_in(command, 2).fails_in_one_line();
    }
    home.run(&["pull", "--clock", "ntp", "localhost:1/app"]).exits(2).fails_in_one_line().says("strict, floor");
}

/// What a pull of a tag or of a digest does with a clock.
#[derive(Clone, Copy)]
enum Then {
    /// Is accepted, and says where the time for certificates comes from.
    Accepts(&'static str),
    /// Is refused with exit code 7 and this text.
    Refuses(&'static str),
}

const BY_CLOCK: Then = Then::Accepts(": from this machine's clock");
const BY_BUILD: Then = Then::Accepts(": from the date of this build");
const BY_CERTIFICATE: Then = Then::Accepts("2050-01-01T00:00:00Z: from the beginning of the server's certificate");
const STRICT: Then = Then::Accepts("");
const TAG: Then = Then::Refuses("clock is behind, so a tag proves nothing");
const EARLY: Then = Then::Refuses("not valid before 20");
const EXPIRED: Then = Then::Refuses("expired at 20");

/// The certificates: three that last, of 1980, of before the build and of after it, and two that expire in 2020 and in 2090.
const PERIODS: [(i32, i32); 5] = [(1980, 4000), (2020, 4000), (2050, 4000), (2010, 2020), (2020, 2090)];

#[test]
fn certificates_with_the_clock_at_1970_2000_and_2100() {
    let before_1980 = Then::Refuses("not valid before 1980");
    let scenes = PERIODS.map(|(from, to)| scene(from, to));
    for (clock, mode, tag, digest) in [
        ("1970", "strict", [before_1980, EARLY, EARLY, EARLY, EARLY], [before_1980, EARLY, EARLY, EARLY, EARLY]),
        ("2000", "strict", [STRICT, EARLY, EARLY, EARLY, EARLY], [STRICT, EARLY, EARLY, EARLY, EARLY]),
        ("2100", "strict", [STRICT, STRICT, STRICT, EXPIRED, EXPIRED], [STRICT, STRICT, STRICT, EXPIRED, EXPIRED]),
        ("1970", "floor", [TAG, TAG, TAG, EXPIRED, TAG], [BY_BUILD, BY_BUILD, BY_CERTIFICATE, EXPIRED, BY_BUILD]),
        ("2000", "floor", [TAG, TAG, TAG, EXPIRED, TAG], [BY_BUILD, BY_BUILD, BY_CERTIFICATE, EXPIRED, BY_BUILD]),
        (
            "2100",
            "floor",
            [BY_CLOCK, BY_CLOCK, BY_CLOCK, EXPIRED, EXPIRED],
            [BY_CLOCK, BY_CLOCK, BY_CLOCK, EXPIRED, EXPIRED],
        ),
    ] {
        for (scene, (period, (tag, digest))) in scenes.iter().zip(PERIODS.into_iter().zip(tag.into_iter().zip(digest)))
        {
            for (name, then) in [(&scene.tagged, tag), (&scene.pinned, digest)] {
                scene.registry.clear_log();
                let case = format!("clock {clock}, {mode}, certificate {period:?}, {name}");
                let outcome = scene.run_at(clock, &["pull", "--clock", mode, name]);
                match then {
                    Then::Accepts(text) => outcome.exits_in(&case, 0).says(text),
                    Then::Refuses(text) => outcome.exits_in(&case, 7).fails_in_one_line().says(text),
                };
                assert_eq!(scene.requested_layers(), matches!(then, Then::Accepts(_)), "{case}");
            }
        }
    }
}

#[test]
fn a_signature_stands_for_a_digest_where_the_clock_is_behind() {
    let scene = scene(2020, 4000);
    let (signer, other) = (Signer::new("p256"), Signer::new("p256"));
    let digest = scene.pinned.split_once('@').unwrap().1;
    sign_simply(&scene.registry, "app", digest, &[&signer]);
    let pull =
        |clock: &str, key: &Signer| scene.run_at(clock, &["pull", "--clock", "floor", &key.option(), &scene.tagged]);
    for clock in ["1970", "2000"] {
        pull(clock, &signer).exits_in(clock, 0).says("from the date of this build");
        pull(clock, &other).exits_in(clock, 8).says("by no given key");
    }
}
