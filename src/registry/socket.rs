//! TCP connections on which nothing waits longer than a moment without a look at the flag that stops the work: neither
//! for the connection nor for bytes. ureq's own wait in one piece, and a signal would be heard only afterwards.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
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
                    let piece = self.piece()?;
                    let _ = is_ready(stream, flags, piece)?;
                }
                other => return Ok(other?),
            }
        }
    }
}

/// Whether the socket became ready within `piece`; an interrupted wait is a short one.
fn is_ready(stream: &TcpStream, flags: PollFlags, piece: Duration) -> io::Result<bool> {
    let piece = Timespec { tv_sec: 0, tv_nsec: piece.min(LOOK).subsec_nanos().into() };
    match poll(&mut [PollFd::from_borrowed_fd(stream.as_fd(), flags)], Some(&piece)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn cancelled(error: Error) -> ureq::Error {
    ureq::Error::Other(Box::new(error))
}

/// The first address that answers. Each may take half of the time that is left, and the last one all.
fn connect_to_one(addresses: &[SocketAddr], deadline: &Deadline<'_>) -> std::result::Result<TcpStream, ureq::Error> {
    let mut failure = io::Error::from(io::ErrorKind::ConnectionRefused).into();
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.timeout.after.saturating_sub(deadline.begun.elapsed());
        let share = if index + 1 == addresses.len() { left } else { left / 2 };
        let until = Deadline::new(NextTimeout { after: share.into(), ..deadline.timeout }, deadline.cancel);
        match connect_to(*address, &until) {
            Ok(stream) => return Ok(stream),
            Err(error @ ureq::Error::Other(_)) => return Err(error),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn connect_to(address: SocketAddr, deadline: &Deadline<'_>) -> std::result::Result<TcpStream, ureq::Error> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(io::Error::from)?;
    let stream = TcpStream::from(socket);
    match connect(&stream, &address) {
        Ok(()) => return Ok(stream),
        // It goes on by itself in both cases.
        Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(e) => return Err(io::Error::from(e).into()),
    }
    while !is_ready(&stream, PollFlags::OUT, deadline.piece()?)? {}
    match sockopt::socket_error(&stream).map_err(io::Error::from)? {
        Ok(()) => Ok(stream),
        Err(e) => Err(io::Error::from(e).into()),
    }
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
