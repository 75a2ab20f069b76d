//! Something at a port that is no registry: it says the same to everybody, whatever was asked and in whatever protocol,
//! and hangs up.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// How a conversation ends.
#[derive(Clone, Copy, Debug)]
pub enum HangUp {
    /// With a FIN, when the other side has said all.
    Politely,
    /// With a RST: what the other side said was never read.
    Rudely,
}

/// The listener. It ends with the test that made it.
pub struct Blunt {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Blunt {
    pub fn new(saying: impl Into<Vec<u8>>, hang_up: HangUp) -> Blunt {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback address to listen on");
        let address = listener.local_addr().unwrap();
        let (saying, closing) = (saying.into(), Arc::new(AtomicBool::new(false)));
        let ours = Arc::clone(&closing);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ours.load(Ordering::SeqCst) {
                    break;
                }
                // That the other side goes away in the middle is its right.
                let _ = converse(stream, &saying, hang_up);
            }
        });
        Blunt { address, closing, acceptor: Some(acceptor) }
    }

    /// The full name of an image that is not there.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }
}

impl Drop for Blunt {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn converse(mut stream: TcpStream, saying: &[u8], hang_up: HangUp) -> io::Result<()> {
    // With one byte the rest is there too, and a socket that is closed with something unread is reset.
    stream.read_exact(&mut [0])?;
    stream.write_all(saying)?;
    match hang_up {
        HangUp::Rudely => Ok(()),
        HangUp::Politely => {
            stream.shutdown(Shutdown::Write)?;
            io::copy(&mut stream, &mut io::sink()).map(drop)
        }
    }
}
