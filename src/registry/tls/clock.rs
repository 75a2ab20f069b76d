//! The time at which certificates are verified. It is the system's clock, unless the caller allows a floor: then it is the
//! latest of the system's clock, of the times that have certainly passed, and of the times at which the certificates of
//! the server begin. The chain and the host name are verified in either case.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, Error as RustlsError};

use super::super::system::{Moment, Notice, Notices, System};
use crate::date;

/// The most certificates of one chain whose beginnings raise the time. webpki follows at most six intermediates.
const CHAIN: usize = 8;

/// The clock of one client.
pub(crate) struct Clock {
    system: Arc<dyn System>,
    notices: Arc<Notices>,
    /// False if only the system's clock counts.
    has_floor: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The latest moment that has certainly passed. Read when it is first needed.
    floor: Option<Moment>,
    /// The latest time at which a certificate was accepted, in seconds since 1970.
    verified: Option<u64>,
    /// True if a certificate was accepted at a later time than that of the system's clock.
    is_raised: bool,
    /// The source of the time that was reported last.
    reported: String,
}

impl Clock {
    pub(crate) fn new(system: Arc<dyn System>, notices: Arc<Notices>, has_floor: bool) -> Self {
        Self { system, notices, has_floor, state: Mutex::default() }
    }

    /// Adds a moment that has certainly passed.
    pub(crate) fn add_floor(&self, moment: Moment) {
        let state = &mut *self.state();
        let floor = self.floor(state);
        if moment.seconds > floor.seconds {
            *floor = moment;
        }
    }

    /// Calls `verify` with a time. If it fails because a certificate of the chain is not valid yet, and there is a floor,
    /// calls it again with the time at which that certificate begins: an authority does not issue certificates for the
    /// future, so this time has passed. Certificates of the server that are not part of the verified chain raise nothing.
    pub(crate) fn verify(
        &self,
        now: UnixTime,
        verify: &dyn Fn(UnixTime) -> Result<(), RustlsError>,
    ) -> Result<(), RustlsError> {
        let mut now = now;
        for _ in 0..CHAIN {
            match verify(now) {
                Err(RustlsError::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. }))
                    if self.has_floor && not_before > now =>
                {
                    now = not_before;
                }
                other => return other.map(|()| self.accept(now.as_secs())),
            }
        }
        verify(now).map(|()| self.accept(now.as_secs()))
    }

    /// Returns true if a certificate was accepted that the system's clock does not allow.
    pub(crate) fn is_raised(&self) -> bool {
        self.state().is_raised
    }

    /// Returns the latest time at which a certificate was accepted, in seconds since 1970, if there is a floor.
    pub(crate) fn verified(&self) -> Option<u64> {
        self.state().verified.filter(|_| self.has_floor)
    }

    fn accept(&self, time: u64) {
        if !self.has_floor {
            return;
        }
        let system = self.system.now();
        let state = &mut *self.state();
        state.verified = state.verified.max(Some(time));
        state.is_raised |= time > system;
        let floor = self.floor(state);
        let from = if time <= system {
            "this machine's clock".to_owned()
        } else if time == floor.seconds {
            floor.from.clone()
        } else {
            "the beginning of the server's certificate, because this machine's clock is behind".to_owned()
        };
        if state.reported != from {
            state.reported.clone_from(&from);
            self.notices.add(Notice::Configured { what: format!("time for certificates {}", format_time(time)), from });
        }
    }

    fn floor<'s>(&self, state: &'s mut State) -> &'s mut Moment {
        state.floor.get_or_insert_with(|| self.system.passed())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It replaces std's clock, which fails after 2038 on 32-bit musl.
impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let mut seconds = self.system.now();
        if self.has_floor {
            seconds = seconds.max(self.floor(&mut self.state()).seconds);
        }
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Formats a time as RFC 3339 does, in UTC.
pub(super) fn format_time(seconds: u64) -> String {
    date::format_rfc_3339(i64::try_from(seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::cancel::Cancel;
    use crate::error::Result as OurResult;
    use crate::oci::proxy::Proxy;
    use crate::oci::reference::Reference;
    use crate::oci::route::{Route, TlsFiles};
    use crate::registry::Certificates;

    /// A machine with this clock, built in 2026.
    struct Machine {
        clock: u64,
    }

    const BUILT: u64 = 2026;

    /// Times are years here, because only their order counts.
    impl System for Machine {
        fn roots(&self, _: &mut dyn FnMut(&mut dyn Read) -> usize) -> Vec<Notice> {
            Vec::new()
        }

        fn certificates(&self, _: &[&str], _: &TlsFiles) -> OurResult<(Certificates, Vec<Notice>)> {
            Ok(Default::default())
        }

        fn randomness(&self, _: &dyn Fn(&str), _: &Cancel) -> OurResult<()> {
            Ok(())
        }

        fn now(&self) -> u64 {
            self.clock
        }

        fn passed(&self) -> Moment {
            Moment { seconds: BUILT, from: "the build".to_owned() }
        }

        fn route(&self, _: &Reference) -> OurResult<Option<Route>> {
            Ok(None)
        }

        fn insecure(&self, _: bool, _: &str, _: u16) -> OurResult<Option<String>> {
            Ok(None)
        }

        fn proxy(&self, _: bool, _: &str, _: u16) -> OurResult<Option<Proxy>> {
            Ok(None)
        }
    }

    fn clock(year: u64, has_floor: bool) -> Clock {
        Clock::new(Arc::new(Machine { clock: year }), Arc::default(), has_floor)
    }

    /// The years in which a certificate is valid.
    type Years = (u64, u64);

    /// Verifies a chain as webpki does: it reports the first certificate that is not valid.
    fn verify(clock: &Clock, chain: &[Years]) -> Result<(), RustlsError> {
        let now = clock.current_time().unwrap();
        let year = |year| UnixTime::since_unix_epoch(Duration::from_secs(year));
        clock.verify(now, &|time| {
            for (begin, end) in chain {
                if time < year(*begin) {
                    let context = CertificateError::NotValidYetContext { time, not_before: year(*begin) };
                    return Err(context.into());
                }
                if time > year(*end) {
                    return Err(CertificateError::ExpiredContext { time, not_after: year(*end) }.into());
                }
            }
            Ok(())
        })
    }

    #[test]
    fn a_floor_accepts_certificates_that_a_clock_behind_refuses_and_no_expired_one() {
        let (old, lasting, new) = ((2020, 2025), (2020, 2040), (2027, 2028));
        // The clock, the chain, whether the clock alone and the floor accept it, and whether the time is raised.
        for (year, chain, strict, floor, raised) in [
            (1970, &[lasting][..], false, true, true),
            (2000, &[lasting], false, true, true),
            (2026, &[lasting], true, true, false),
            (2100, &[lasting], false, false, false),
            (1970, &[new], false, true, true),
            (2000, &[new], false, true, true),
            (2026, &[new], false, true, true),
            (2027, &[new], true, true, false),
            (2100, &[new], false, false, false),
            (1970, &[old], false, false, false),
            // The clock is behind the build: strict mode believes it, the floor does not.
            (2024, &[old], true, false, false),
            (1970, &[lasting, new], false, true, true),
            (1970, &[new, (2028, 2030)], false, true, true),
            // An intermediate that begins after the end of the server's certificate.
            (1970, &[new, (2029, 2030)], false, false, false),
        ] {
            let case = format!("{year} {chain:?}");
            let clocks = [clock(year, false), clock(year, true)];
            assert_eq!(clocks.each_ref().map(|clock| verify(clock, chain).is_ok()), [strict, floor], "{case}");
            assert_eq!(clocks.each_ref().map(Clock::is_raised), [false, raised], "{case}");
            assert_eq!(clocks[0].verified(), None, "{case}");
            let latest = chain.iter().map(|(begin, _)| *begin).max().max(Some(year.max(BUILT)));
            assert_eq!(clocks[1].verified(), latest.filter(|_| floor), "{case}");
        }
    }

    #[test]
    fn endless_new_beginnings_are_an_error() {
        let clock = clock(1970, true);
        let outcome = clock.verify(clock.current_time().unwrap(), &|time| {
            let not_before = UnixTime::since_unix_epoch(Duration::from_secs(time.as_secs() + 1));
            Err(CertificateError::NotValidYetContext { time, not_before }.into())
        });
        assert!(outcome.is_err() && !clock.is_raised());
    }

    #[test]
    fn a_kept_time_raises_the_floor_and_never_lowers_it() {
        let clock = clock(1970, true);
        let time = || clock.current_time().map(|time| time.as_secs());
        for (seconds, expected) in [(2020, 2026), (2030, 2030), (2029, 2030)] {
            clock.add_floor(Moment { seconds, from: String::new() });
            assert_eq!(time(), Some(expected));
        }
    }

    #[test]
    fn reports_the_source_of_the_time_once() {
        let clock = clock(1970, true);
        let what = |seconds| format!("time for certificates {}", format_time(seconds));
        for chain in [(2020, 2040), (2020, 2041), (2027, 2040)] {
            verify(&clock, &[chain]).unwrap();
        }
        let notices = clock.notices.take();
        let beginning = "the beginning of the server's certificate, because this machine's clock is behind";
        let expected = [(BUILT, "the build"), (2027, beginning)];
        let expected =
            expected.map(|(seconds, from)| Notice::Configured { what: what(seconds), from: from.to_owned() });
        assert!(notices == expected);
    }
}
