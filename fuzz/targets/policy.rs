//! Policies, and versions of images. The first line is a name, two versions follow, the rest is a policy.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pullet::Version;
use pullet_fuzz::line;

fuzz_target!(|bytes: &[u8]| {
    let (name, rest) = line(bytes);
    let (one, rest) = line(rest);
    let (other, policy) = line(rest);
    pullet_fuzz::within((256 << 10) + 1024 * bytes.len(), || {
        if let Ok(name) = String::from_utf8_lossy(name).parse() {
            let _ = pullet::fuzzing::policy(policy, &name);
        }
        let parse = |text: &[u8]| String::from_utf8_lossy(text).parse::<Version>().ok();
        let (Some(one), Some(other)) = (parse(one), parse(other)) else { return };
        assert_eq!(one.compare(&one).map(|order| order.is_eq()), Some(true), "{one}");
        assert_eq!(one.compare(&other), other.compare(&one).map(|order| order.reverse()), "{one} {other}");
        let again = one.to_string().parse::<Version>().ok();
        assert_eq!(again.and_then(|again| again.compare(&one)).map(|order| order.is_eq()), Some(true), "{one}");
    });
});
