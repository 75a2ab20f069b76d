//! A proxy on loopback that counts connections, for the registry's log tells of requests only, and that can make the way
//! to the registry long.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// Bytes that are held back at once, and how many such pieces may be on their way: more than the link's rate needs.
const PIECE: usize = 64 << 10;
const PIECES: usize = 2048;

pub struct Proxy {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one for as long as this process lives. A request and its answer take this round trip longer.
    pub fn start(registry: SocketAddr, round_trip: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| format!("listen on loopback: {e}"))?;
        let address = listener.local_addr().map_err(|e| format!("listen on loopback: {e}"))?;
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                // A connection that cannot be passed on is closed, and the client tells.
                let _ = pass_on(client, registry, round_trip);
            }
        });
        Ok(Self { address, connections })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections there were so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn pass_on(client: TcpStream, registry: SocketAddr, round_trip: Duration) -> io::Result<()> {
    let server = TcpStream::connect(registry)?;
    let back = (server.try_clone()?, client.try_clone()?);
    if round_trip.is_zero() {
        thread::spawn(move || pour(client, server));
        thread::spawn(move || pour(back.0, back.1));
        return Ok(());
    }
    for stream in [&server, &client] {
        stream.set_nodelay(true)?;
    }
    // The kernel has shaken hands before we hear of it, so the first bytes pay for that.
    hold_back(client, server, round_trip, round_trip / 2);
    hold_back(back.0, back.1, Duration::ZERO, round_trip / 2);
    Ok(())
}

fn pour(mut from: TcpStream, mut to: TcpStream) {
    // Whatever the end of it is, the other side hears of it.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Passes all bytes on so much later, and all of them later still by what the first ones wait.
fn hold_back(from: TcpStream, to: TcpStream, first: Duration, each: Duration) {
    let (sender, receiver) = sync_channel(PIECES);
    thread::spawn(move || take(from, &sender, each, Instant::now() + first));
    thread::spawn(move || give(&receiver, to));
}

fn take(mut from: TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>, each: Duration, earliest: Instant) {
    let mut piece = vec![0; PIECE];
    while let Ok(n @ 1..) = from.read(&mut piece) {
        let due = Instant::now().max(earliest) + each;
        if pieces.send((due, piece[..n].to_vec())).is_err() {
            return;
        }
    }
}

fn give(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, piece) in pieces {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
