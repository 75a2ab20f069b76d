//! TCP connections on which nothing waits longer than a moment without a look at the flag that stops the work: neither
//! for the connection nor for bytes. ureq's own wait in one piece, and a signal would be heard only afterwards.

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
use crate::error::Error;

/// The longest wait in one piece.
const LOOK: Duration = Duration::from_millis(200);
/// How long one address has for itself before the next is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects, unless somebody before it in the chain did.
#[derive(Debug)]
pub(super) struct TcpConnector(pub(super) Cancel);

impl<In: Transport> Connector<In> for TcpConnector {
    type Out = Either<In, Tcp>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> std::result::Result<Option<Self::Out>, ureq::Error> {
        if chained.is_some() {
            return Ok(chained.map(Either::A));
        }
        let deadline = Deadline::new(details.timeout, &self.0);
        let stream = connect_to_one(&details.addrs, &deadline)?;
        stream.set_nodelay(true)?;
        let buffers = LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(Tcp { stream, buffers, cancel: self.0.clone() })))
    }
}

/// A connection whose socket never blocks.
pub(super) struct Tcp {
    stream: TcpStream,
    buffers: LazyBuffers,
    cancel: Cancel,
}

impl Transport for Tcp {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> std::result::Result<(), ureq::Error> {
        let deadline = Deadline::new(timeout.for_write(), &self.cancel);
        let mut output = self.buffers.output().get(..amount).unwrap_or_default();
        while !output.is_empty() {
            let written = deadline.patiently(&self.stream, PollFlags::OUT, || (&self.stream).write(output))?;
            output = output.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        let deadline = Deadline::new(timeout.for_read(), &self.cancel);
        let input = self.buffers.input_append_buf();
        let amount = deadline.patiently(&self.stream, PollFlags::IN, || (&self.stream).read(input))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Bytes that nobody asked for are as bad as an end.
    fn is_open(&mut self) -> bool {
        self.stream.peek(&mut [0]).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
    }
}

impl std::fmt::Debug for Tcp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tcp")
    }
}

/// By when something must have happened, and who may stop it before.
struct Deadline<'a> {
    timeout: NextTimeout,
    begun: Instant,
    cancel: &'a Cancel,
}

impl<'a> Deadline<'a> {
    fn new(timeout: NextTimeout, cancel: &'a Cancel) -> Self {
        Self { timeout, begun: Instant::now(), cancel }
    }

    /// The next piece of the wait, and whether it is the last; none is left at the end.
    fn piece(&self) -> std::result::Result<Duration, ureq::Error> {
        self.cancel.check().map_err(cancelled)?;
        match self.timeout.after.saturating_sub(self.begun.elapsed()) {
            Duration::ZERO => Err(ureq::Error::Timeout(self.timeout.reason)),
            left => Ok(left.min(LOOK)),
        }
    }

    /// Does `work` as soon as the socket lets it.
    fn patiently<T>(
        &self,
        stream: &TcpStream,
        flags: PollFlags,
        mut work: impl FnMut() -> io::Result<T>,
    ) -> std::result::Result<T, ureq::Error> {
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

/// Waits until a socket is ready, for `piece` at most; an interrupted wait is a short one.
fn wait(sockets: &mut [PollFd<'_>], piece: Duration) -> io::Result<()> {
    let piece = Timespec { tv_sec: 0, tv_nsec: piece.min(LOOK).subsec_nanos().into() };
    match poll(sockets, Some(&piece)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn cancelled(error: Error) -> ureq::Error {
    ureq::Error::Other(Box::new(error))
}

/// A connection to the first address that answers. The next one is tried as soon as one fails, and beside it when it has
/// kept silent for a moment, the families in turn (RFC 8305): a host whose IPv6 leads nowhere costs no more than that.
fn connect_to_one(addresses: &[SocketAddr], deadline: &Deadline<'_>) -> std::result::Result<TcpStream, ureq::Error> {
    let mut waiting = in_turn(addresses).into_iter().peekable();
    let (mut racing, mut failure) = (Vec::new(), io::Error::from(io::ErrorKind::ConnectionRefused));
    let mut next = Instant::now();
    loop {
        if racing.is_empty() || Instant::now() >= next {
            if let Some(address) = waiting.next() {
                next = Instant::now() + HEAD_START;
                match begin(address) {
                    Ok(stream) => racing.push(stream),
                    Err(e) => (next, failure) = (Instant::now(), e),
                }
            } else if racing.is_empty() {
                return Err(failure.into());
            }
        }
        let until_next = waiting.peek().map(|_| next.saturating_duration_since(Instant::now()));
        match first_ready(&mut racing, deadline.piece()?.min(until_next.unwrap_or(LOOK)))? {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(e)) => (next, failure) = (Instant::now(), e),
            None => {}
        }
    }
}

/// The addresses with their families in turn, the first one's first.
fn in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first = |address: &&SocketAddr| addresses.first().is_some_and(|first| first.is_ipv4() == address.is_ipv4());
    let (first, second): (Vec<&SocketAddr>, Vec<&SocketAddr>) = addresses.iter().partition(is_first);
    let mut turns: Vec<(usize, SocketAddr)> = first.iter().enumerate().map(|(n, address)| (2 * n, **address)).collect();
    turns.extend(second.iter().enumerate().map(|(n, address)| (2 * n + 1, **address)));
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, address)| address).collect()
}

/// Begins to connect, and does not wait.
fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let stream = TcpStream::from(socket_with(family, SocketType::STREAM, flags, None)?);
    match connect(&stream, &address) {
        // It goes on by itself in both cases.
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(stream),
        Err(e) => Err(e.into()),
    }
}

/// Takes out the first connection that was made or has failed, if one is within `piece`.
fn first_ready(racing: &mut Vec<TcpStream>, piece: Duration) -> io::Result<Option<io::Result<TcpStream>>> {
    let mut sockets: Vec<PollFd<'_>> = racing.iter().map(|stream| PollFd::new(stream, PollFlags::OUT)).collect();
    wait(&mut sockets, piece)?;
    let ready = sockets.iter().position(|socket| !socket.revents().is_empty());
    drop(sockets);
    let Some(stream) = ready.map(|ready| racing.remove(ready)) else { return Ok(None) };
    Ok(Some(sockopt::socket_error(&stream)?.map(|()| stream).map_err(io::Error::from)))
}

/// A connection of somebody else's making, whose waits are cut into pieces.
#[cfg(feature = "socks")]
#[derive(Debug)]
pub(super) struct Attentive<T>(T, Cancel);

/// Makes such of what `.0` connects.
#[cfg(feature = "socks")]
#[derive(Debug)]
pub(super) struct AttentiveConnector<C>(pub(super) C, pub(super) Cancel);

#[cfg(feature = "socks")]
impl<In: Transport, C: Connector<In>> Connector<In> for AttentiveConnector<C> {
    type Out = Attentive<C::Out>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> std::result::Result<Option<Self::Out>, ureq::Error> {
        let connected = self.1.unattended(|| self.0.connect(details, chained)).map_err(cancelled)?;
        Ok(connected?.map(|transport| Attentive(transport, self.1.clone())))
    }
}

#[cfg(feature = "socks")]
impl<T: Transport> Transport for Attentive<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    /// Nothing of a request is longer than what a socket takes at once.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> std::result::Result<(), ureq::Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        let whole = timeout.for_read();
        let deadline = Deadline::new(whole, &self.1);
        loop {
            let piece = NextTimeout { after: deadline.piece()?.into(), per_read: None, ..whole };
            match self.0.await_input(piece) {
                Err(ureq::Error::Timeout(_)) => {}
                other => return other,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
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
    fn families_take_turns() {
        for (given, expected) in [
            (&[][..], &[][..]),
            (&["1.1.1.1:1"], &["1.1.1.1:1"]),
            (
                &["[1::]:1", "[2::]:1", "[3::]:1", "1.1.1.1:1", "2.2.2.2:1"],
                &["[1::]:1", "1.1.1.1:1", "[2::]:1", "2.2.2.2:1", "[3::]:1"],
            ),
            (&["1.1.1.1:1", "[1::]:1", "2.2.2.2:1", "[2::]:1"], &["1.1.1.1:1", "[1::]:1", "2.2.2.2:1", "[2::]:1"]),
        ] {
            assert_eq!(in_turn(&addresses(given)), addresses(expected), "{given:?}");
        }
    }

    /// An address that answers nothing: whoever listens there takes nobody more.
    fn silent() -> io::Result<(TcpStream, SocketAddr, Vec<TcpStream>)> {
        let listener = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        rustix::net::listen(&listener, 0)?;
        // Only its address is asked for.
        let listener = TcpStream::from(listener);
        let address = listener.local_addr()?;
        // The backlog has room for one more than it says.
        let waiting = (0..4).map(|_| begin(address)).collect::<io::Result<_>>()?;
        Ok((listener, address, waiting))
    }

    /// Each may take an hour by itself: who waits for one after the other does not come to an end here.
    #[test]
    fn an_address_that_keeps_silent_or_refuses_holds_nobody_up() -> io::Result<()> {
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
            let connected = connect_to_one(addresses, &Deadline::new(hour, &cancel));
            assert!(connected.is_ok_and(|stream| stream.peer_addr().ok() == good.local_addr().ok()), "{addresses:?}");
        }
        let none = connect_to_one(&[refused], &Deadline::new(hour, &cancel));
        assert!(matches!(none, Err(ureq::Error::Io(e)) if e.kind() == io::ErrorKind::ConnectionRefused));
        Ok(())
    }
}
