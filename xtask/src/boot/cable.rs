//! The cable between a guest and the registry: a proxy on loopback that can be cut in the middle of a layer.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crate::Result;

/// The connection ends after so many bytes to the guest, and so many others end before their first.
#[derive(Clone, Copy)]
pub struct Cut {
    pub after: u64,
    pub refusals: usize,
}

/// What the threads of a cable share.
struct State {
    left: AtomicU64,
    refusals: AtomicUsize,
}

pub struct Cable {
    address: SocketAddr,
    state: Arc<State>,
}

impl Cable {
    /// Lays one for as long as this process lives.
    pub fn new(registry: SocketAddr, cut: Cut) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| format!("listen on loopback: {e}"))?;
        let address = listener.local_addr().map_err(|e| format!("listen on loopback: {e}"))?;
        let state = Arc::new(State { left: AtomicU64::new(cut.after), refusals: AtomicUsize::new(cut.refusals) });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for guest in listener.incoming().flatten() {
                if !shared.refuses() {
                    // A connection that cannot be passed on is closed, and the guest tells.
                    let _ = pass_on(guest, registry, &shared);
                }
            }
        });
        Ok(Self { address, state })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it was cut, refused what it had to, and is whole again.
    pub fn is_mended(&self) -> bool {
        self.state.is_cut() && self.state.refusals.load(Ordering::SeqCst) == 0
    }
}

impl State {
    fn is_cut(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    fn refuses(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.is_cut() && self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
    }

    /// Takes bytes from what may pass until the cut. True if this is where it happens.
    fn ends_within(&self, count: u64) -> bool {
        let before =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(count)));
        before.is_ok_and(|before| before > 0 && before <= count)
    }
}

fn pass_on(guest: TcpStream, registry: SocketAddr, state: &Arc<State>) -> io::Result<()> {
    let registry = TcpStream::connect(registry)?;
    let (mut up, mut down) = ((guest.try_clone()?, registry.try_clone()?), (registry, guest));
    thread::spawn(move || {
        // Whatever the end of it is, the other side hears of it.
        let _ = io::copy(&mut up.0, &mut up.1);
        let _ = up.1.shutdown(Shutdown::Write);
    });
    let state = Arc::clone(state);
    thread::spawn(move || {
        let _ = pour(&mut down.0, &mut down.1, &state);
        let _ = down.0.shutdown(Shutdown::Both);
        let _ = down.1.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn pour(from: &mut TcpStream, to: &mut TcpStream, state: &State) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 || state.ends_within(count as u64) {
            return Ok(());
        }
        to.write_all(&buffer[..count])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads through the cable what a server sends, as far as it comes.
    fn read(cable: &Cable) -> usize {
        let mut bytes = Vec::new();
        let mut connection = TcpStream::connect(cable.address()).unwrap();
        // A cut may be a reset.
        let _ = connection.read_to_end(&mut bytes);
        bytes.len()
    }

    #[test]
    fn it_is_cut_once_refuses_and_is_mended() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        thread::spawn(move || {
            for mut client in server.incoming().flatten() {
                let _ = client.write_all(&[7; 100_000]);
            }
        });
        let cable = Cable::new(address, Cut { after: 50_000, refusals: 2 }).unwrap();
        assert!((1..50_000).contains(&read(&cable)));
        assert!(!cable.is_mended());
        assert_eq!([read(&cable), read(&cable)], [0, 0]);
        assert!(cable.is_mended());
        assert_eq!(read(&cable), 100_000);
    }
}
