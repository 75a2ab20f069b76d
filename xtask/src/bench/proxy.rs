//! A proxy on loopback that counts connections: the registry's log tells of requests only. It is used in runs that are
//! not measured.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::Result;

pub struct Proxy {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one for as long as this process lives.
    pub fn start(registry: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| format!("listen on loopback: {e}"))?;
        let address = listener.local_addr().map_err(|e| format!("listen on loopback: {e}"))?;
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                // A connection that cannot be passed on is closed, and the client tells.
                let _ = pass_on(client, registry);
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

fn pass_on(client: TcpStream, registry: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(registry)?;
    let back = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || pour(client, server));
    thread::spawn(move || pour(back.0, back.1));
    Ok(())
}

fn pour(mut from: TcpStream, mut to: TcpStream) {
    // Whatever the end of it is, the other side hears of it.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
