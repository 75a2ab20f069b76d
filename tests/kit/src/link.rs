//! A TCP link: passes connections on to another address, counts them, and can be slow or fail on the way.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// The size of a delayed piece, and the number of pieces on their way at once. Together they are more than any link holds.
const PIECE: usize = 64 << 10;
const PIECES: usize = 2048;

/// Loses a connection once, and refuses some that follow.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The bytes from the server, over all connections, after which the connection that carries them is closed.
    pub after: u64,
    /// The number of connections that are closed at once after that.
    pub refusals: usize,
}

/// What a link does to the connections that it carries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    /// The time that a request and its response take longer.
    pub round_trip: Duration,
    /// A loss, if there is one.
    pub cut: Option<Cut>,
}

/// A link from an address of loopback to another address. It lasts as long as the process.
pub struct Link {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    connections: AtomicUsize,
    /// Bytes until the cut.
    left: AtomicU64,
    refusals: AtomicUsize,
    has_cut: bool,
}

impl Link {
    /// Starts a link to this address.
    pub fn start(to: SocketAddr, conditions: Conditions) -> io::Result<Link> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            connections: AtomicUsize::new(0),
            left: AtomicU64::new(conditions.cut.map_or(0, |cut| cut.after)),
            refusals: AtomicUsize::new(conditions.cut.map_or(0, |cut| cut.refusals)),
            has_cut: conditions.cut.is_some(),
        });
        let ours = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                ours.connections.fetch_add(1, Ordering::SeqCst);
                if !ours.refuses() {
                    // If the server cannot be reached the client's connection is closed, which is what the client sees.
                    let _ = carry(client, to, conditions.round_trip, &ours);
                }
            }
        });
        Ok(Link { address, state })
    }

    /// Returns the address to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Returns true if the cut has happened, with all its refusals.
    pub fn is_restored(&self) -> bool {
        self.state.is_cut() && self.state.refusals.load(Ordering::SeqCst) == 0
    }
}

impl State {
    fn is_cut(&self) -> bool {
        self.has_cut && self.left.load(Ordering::SeqCst) == 0
    }

    fn refuses(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.is_cut() && self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }

    /// Counts bytes from the server. Returns true if the cut is among them.
    fn is_cut_within(&self, count: u64) -> bool {
        let less = |left: u64| Some(left.saturating_sub(count));
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        before.is_ok_and(|before| before > 0 && before <= count)
    }
}

fn carry(client: TcpStream, to: SocketAddr, round_trip: Duration, state: &Arc<State>) -> io::Result<()> {
    let server = TcpStream::connect(to)?;
    let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
    if round_trip.is_zero() {
        thread::spawn(move || copy(client, server));
        let state = Arc::clone(state);
        thread::spawn(move || {
            if state.has_cut {
                copy_until_cut(from_server, to_client, &state);
            } else {
                copy(from_server, to_client);
            }
        });
        return Ok(());
    }
    for stream in [&server, &client] {
        stream.set_nodelay(true)?;
    }
    // The kernel has done the TCP handshake before the connection is accepted, so the first bytes wait for it as well.
    delay(client, server, round_trip, round_trip / 2);
    delay(from_server, to_client, Duration::ZERO, round_trip / 2);
    Ok(())
}

/// Copies both ways between two connections until both have ended. Each end is passed on.
pub fn relay(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
    let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
    let upward = thread::spawn(move || copy(from_client, to_server));
    copy(from_server, to_client);
    let _ = upward.join();
    Ok(())
}

/// Copies to the end of one stream and closes the other, whatever the end was.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Copies from the server to the client until the end or the cut, and closes both.
fn copy_until_cut(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if state.is_cut_within(count as u64) {
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Passes bytes on with a delay. The first ones, and all behind them, wait longer.
fn delay(from: TcpStream, to: TcpStream, first: Duration, each: Duration) {
    let (sender, receiver) = sync_channel(PIECES);
    thread::spawn(move || receive(from, &sender, each, Instant::now() + first));
    thread::spawn(move || forward(&receiver, to));
}

fn receive(mut from: TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>, each: Duration, earliest: Instant) {
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let due = Instant::now().max(earliest) + each;
        if pieces.send((due, piece[..count].to_vec())).is_err() {
            return;
        }
    }
}

fn forward(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, piece) in pieces {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 100_000;

    /// A server that sends 100,000 bytes on each connection.
    fn server() -> SocketAddr {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        thread::spawn(move || {
            for mut client in server.incoming().flatten() {
                let _ = client.write_all(&[7; SIZE]);
            }
        });
        address
    }

    /// Returns the number of bytes that arrive over a new connection.
    fn read(link: &Link) -> usize {
        let mut bytes = Vec::new();
        let mut connection = TcpStream::connect(link.address()).unwrap();
        // A cut may arrive as a reset.
        let _ = connection.read_to_end(&mut bytes);
        bytes.len()
    }

    #[test]
    fn is_cut_once_refuses_and_is_restored() {
        let cut = Some(Cut { after: 50_000, refusals: 2 });
        let link = Link::start(server(), Conditions { cut, ..Conditions::default() }).unwrap();
        assert!((1..50_000).contains(&read(&link)));
        assert!(!link.is_restored());
        assert_eq!([read(&link), read(&link)], [0, 0]);
        assert!(link.is_restored());
        assert_eq!(read(&link), SIZE);
        assert_eq!(link.connections(), 4);
    }

    #[test]
    fn carries_everything_with_and_without_a_delay() {
        for round_trip in [Duration::ZERO, Duration::from_millis(2)] {
            let link = Link::start(server(), Conditions { round_trip, cut: None }).unwrap();
            assert_eq!(read(&link), SIZE);
        }
    }
}
