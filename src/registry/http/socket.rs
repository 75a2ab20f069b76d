//! TCP connections whose waits end soon after the command is cancelled. ureq's own sockets block for the whole timeout,
//! and a signal handler cannot wake them.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};

use crate::cancel::Cancel;

type Result<T> = std::result::Result<T, ureq::Error>;

/// Longest wait between two checks of the cancel flag.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// How long a connection attempt runs alone before the next address is tried in parallel (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Opens TCP connections, unless an earlier connector in the chain already connected.
#[derive(Debug)]
pub(crate) struct TcpConnector(pub(crate) Cancel);

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, Tcp>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>> {
        if chained.is_some() {
            return Ok(chained.map(Either::A));
        }
        let deadline = Deadline::new(details.timeout, &self.0);
        let stream = connect_to_any(&details.addrs, &deadline)?;
        stream.set_nodelay(true)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Tcp { stream, buffers, cancel: self.0.clone() })))
    }
}

/// A connection on a non-blocking socket.
pub(crate) struct Tcp {
    stream: TcpStream,
    buffers: LazyBuffers,
    cancel: Cancel,
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<()> {
        let deadline = Deadline::new(timeout.for_write(), &self.cancel);
        let (mut output, _) = self.buffers.output().split_at_checked(amount).ok_or_else(invalid_amount)?;
        while !output.is_empty() {
            let written = deadline.retry_until_ready(&self.stream, PollFlags::OUT, || (&self.stream).write(output))?;
            output = output.get(written..).ok_or_else(invalid_amount)?;
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool> {
        let deadline = Deadline::new(timeout.for_read(), &self.cancel);
        let input = self.buffers.input_append_buf();
        let amount = deadline.retry_until_ready(&self.stream, PollFlags::IN, || (&self.stream).read(input))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Returns true only if nothing can be read: bytes that no request asked for make the connection unusable too.
    fn is_open(&mut self) -> bool {
        self.stream.peek(&mut [0]).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
    }
}

impl std::fmt::Debug for Tcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tcp")
    }
}

/// The error for a number of bytes that does not fit the buffer.
fn invalid_amount() -> ureq::Error {
    io::Error::from(io::ErrorKind::InvalidInput).into()
}

/// The end of a wait: the timeout, or the cancel flag.
pub(crate) struct Deadline<'a> {
    timeout: NextTimeout,
    start: Instant,
    cancel: &'a Cancel,
}

impl<'a> Deadline<'a> {
    pub(crate) fn new(timeout: NextTimeout, cancel: &'a Cancel) -> Self {
        Self { timeout, start: Instant::now(), cancel }
    }

    /// Returns how long to wait until the next check. Fails if the time is over or the command is cancelled.
    pub(crate) fn piece(&self) -> Result<Duration> {
        self.cancel.check().map_err(|e| ureq::Error::Other(Box::new(e)))?;
        match self.timeout.after.saturating_sub(self.start.elapsed()) {
            Duration::ZERO => Err(ureq::Error::Timeout(self.timeout.reason)),
            left => Ok(left.min(CHECK_INTERVAL)),
        }
    }

    /// Runs `work`, and again whenever the socket is ready, until it does not return `WouldBlock`.
    fn retry_until_ready<T>(
        &self,
        stream: &TcpStream,
        flags: PollFlags,
        mut work: impl FnMut() -> io::Result<T>,
    ) -> Result<T> {
        loop {
            match work() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    wait(&mut [PollFd::new(stream, flags)], self.piece()?)?;
                }
                other => return Ok(other?),
            }
        }
    }
}

/// Waits until one of the sockets is ready, a signal arrives, or `piece` is over.
fn wait(sockets: &mut [PollFd<'_>], piece: Duration) -> io::Result<()> {
    let piece = Timespec { tv_sec: 0, tv_nsec: piece.min(CHECK_INTERVAL).subsec_nanos().into() };
    match poll(sockets, Some(&piece)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Connects to the first address that responds. The next address is tried as soon as an attempt fails, or in parallel
/// after [`ATTEMPT_DELAY`], with alternating address families (RFC 8305), so that a host with broken IPv6 costs only
/// that delay.
fn connect_to_any(addresses: &[SocketAddr], deadline: &Deadline<'_>) -> Result<TcpStream> {
    let mut waiting = alternate_families(addresses).into_iter().peekable();
    let mut attempts = Vec::new();
    let mut failure = io::Error::from(io::ErrorKind::ConnectionRefused);
    let mut next = Instant::now();
    loop {
        if attempts.is_empty() || Instant::now() >= next {
            if let Some(address) = waiting.next() {
                next = Instant::now() + ATTEMPT_DELAY;
                match start_connecting(address) {
                    Ok(stream) => attempts.push(stream),
                    Err(e) => (next, failure) = (Instant::now(), e),
                }
            } else if attempts.is_empty() {
                return Err(failure.into());
            }
        }
        let until_next = waiting.peek().map(|_| next.saturating_duration_since(Instant::now()));
        let piece = deadline.piece()?.min(until_next.unwrap_or(CHECK_INTERVAL));
        match take_finished(&mut attempts, piece)? {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(e)) => (next, failure) = (Instant::now(), e),
            None => {}
        }
    }
}

/// Sorts addresses so that the families alternate, beginning with the family of the first address.
fn alternate_families(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let (same, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    let mut sorted = Vec::with_capacity(addresses.len());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    while sorted.len() < addresses.len() {
        sorted.extend(same.next());
        sorted.extend(other.next());
    }
    sorted
}

/// Starts to connect without waiting for the result.
fn start_connecting(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = TcpStream::from(socket_with(family, SocketType::STREAM, flags, None)?);
    match connect(&stream, &address) {
        // The kernel continues in both error cases.
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(stream),
        Err(e) => Err(e.into()),
    }
}

/// Removes and returns the first attempt that has succeeded or failed. Returns `None` if none has within `piece`.
fn take_finished(attempts: &mut Vec<TcpStream>, piece: Duration) -> io::Result<Option<io::Result<TcpStream>>> {
    let mut sockets: Vec<PollFd<'_>> = attempts.iter().map(|stream| PollFd::new(stream, PollFlags::OUT)).collect();
    wait(&mut sockets, piece)?;
    let finished = sockets.iter().position(|socket| !socket.revents().is_empty());
    drop(sockets);
    let Some(index) = finished else { return Ok(None) };
    let stream = attempts.remove(index);
    match sockopt::socket_error(&stream)? {
        Ok(()) => Ok(Some(Ok(stream))),
        Err(e) => Ok(Some(Err(e.into()))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    #[test]
    fn address_families_alternate() {
        for (given, expected) in [
            (&[][..], &[][..]),
            (&["1.1.1.1:1"], &["1.1.1.1:1"]),
            (
                &["[1::]:1", "[2::]:1", "[3::]:1", "1.1.1.1:1", "2.2.2.2:1"],
                &["[1::]:1", "1.1.1.1:1", "[2::]:1", "2.2.2.2:1", "[3::]:1"],
            ),
            (&["1.1.1.1:1", "[1::]:1", "2.2.2.2:1", "[2::]:1"], &["1.1.1.1:1", "[1::]:1", "2.2.2.2:1", "[2::]:1"]),
        ] {
            assert_eq!(alternate_families(&addresses(given)), addresses(expected), "{given:?}");
        }
    }

    /// Returns an address where connection attempts stay pending, because the listener's backlog is full.
    fn silent() -> io::Result<(TcpStream, SocketAddr, Vec<TcpStream>)> {
        let listener = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        rustix::net::listen(&listener, 0)?;
        // The type only gives access to the local address.
        let listener = TcpStream::from(listener);
        let address = listener.local_addr()?;
        // The kernel accepts one connection more than the backlog.
        let waiting = (0..4).map(|_| start_connecting(address)).collect::<io::Result<_>>()?;
        Ok((listener, address, waiting))
    }

    /// Each attempt may take an hour, so a test that tried one address after the other would not end.
    #[test]
    fn a_silent_or_refusing_address_does_not_delay_the_others() -> io::Result<()> {
        let (_listener, silent, _waiting) = silent()?;
        let good = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let refused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let cancel = Cancel::default();
        let after = Duration::from_secs(3600).into();
        let hour = NextTimeout { after, reason: ureq::Timeout::Connect, per_read: None, per_write: None };
        for addresses in [
            &[silent, good.local_addr()?][..],
            &[refused, good.local_addr()?],
            &[silent, silent, refused, good.local_addr()?],
            &[good.local_addr()?, silent],
        ] {
            let connected = connect_to_any(addresses, &Deadline::new(hour, &cancel));
            assert!(connected.is_ok_and(|stream| stream.peer_addr().ok() == good.local_addr().ok()), "{addresses:?}");
        }
        let none = connect_to_any(&[refused], &Deadline::new(hour, &cancel));
        assert!(matches!(none, Err(ureq::Error::Io(e)) if e.kind() == io::ErrorKind::ConnectionRefused));
        Ok(())
    }
}
