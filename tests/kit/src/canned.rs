//! A server that is no registry: it sends the same bytes to every client, in any protocol, and closes the connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// How the server closes a connection.
#[derive(Clone, Copy, Debug)]
pub enum Close {
    /// With a FIN, after it has read all that the client sends.
    Gracefully,
    /// With a RST, because the rest of what the client sent is not read.
    Abruptly,
}

/// The server. It stops when the value is dropped.
pub struct CannedServer {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl CannedServer {
    /// Starts a server that sends these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>, close: Close) -> CannedServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback address to listen on");
        let address = listener.local_addr().unwrap();
        let (bytes, closing) = (bytes.into(), Arc::new(AtomicBool::new(false)));
        let ours = Arc::clone(&closing);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ours.load(Ordering::SeqCst) {
                    break;
                }
                // An error means that the client has gone away, which it may do at any time.
                let _ = serve(stream, &bytes, close);
            }
        });
        CannedServer { address, closing, acceptor: Some(acceptor) }
    }

    /// Returns a full image name at this server.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }
}

impl Drop for CannedServer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(mut stream: TcpStream, bytes: &[u8], close: Close) -> io::Result<()> {
    // Once one byte is here the rest is too. Closing a socket that has unread bytes resets the connection.
    stream.read_exact(&mut [0])?;
    stream.write_all(bytes)?;
    match close {
        Close::Abruptly => Ok(()),
        Close::Gracefully => {
            stream.shutdown(Shutdown::Write)?;
            io::copy(&mut stream, &mut io::sink()).map(drop)
        }
    }
}
