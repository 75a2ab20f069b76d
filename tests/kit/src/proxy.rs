//! A proxy on loopback: HTTP CONNECT or SOCKS5, with or without a login.
//!
//! It connects to the requested port of loopback whatever the requested host is, as if it alone could resolve the name,
//! or to the address that it is given for a host.
//! It logs the requests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::link::relay;

/// A running proxy. It stops when the value is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_socks: bool,
    /// The required value of `Proxy-Authorization`, or for SOCKS `USER:PASSWORD`.
    login: Option<String>,
    /// The status line with which every CONNECT is refused.
    refusal: Option<&'static str>,
    /// Hosts that are not at 127.0.0.1, and their addresses.
    routes: Vec<(String, String)>,
    closing: AtomicBool,
    log: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Starts a proxy for CONNECT.
    pub fn connect() -> Proxy {
        Proxy::start(false, None, None)
    }

    /// Starts a proxy for CONNECT at an address and port. `routes` has hosts and their addresses.
    pub fn connect_on(address: &str, routes: Vec<(String, String)>) -> Proxy {
        let listener = TcpListener::bind(address).expect("a loopback address to listen on");
        Proxy::serve(listener, routes, Shared::default())
    }

    /// Starts a proxy for CONNECT that requires this value of `Proxy-Authorization`.
    pub fn with_login(login: &str) -> Proxy {
        Proxy::start(false, Some(login.to_string()), None)
    }

    /// Starts a proxy that refuses every CONNECT with this status line.
    pub fn refusing(refusal: &'static str) -> Proxy {
        Proxy::start(false, None, Some(refusal))
    }

    /// Starts a proxy for SOCKS5. If there is a login, as `USER:PASSWORD`, it is required.
    pub fn socks(login: Option<&str>) -> Proxy {
        Proxy::start(true, login.map(str::to_string), None)
    }

    /// Returns `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns the requested targets in their order, as `HOST:PORT`.
    pub fn log(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }

    fn start(is_socks: bool, login: Option<String>, refusal: Option<&'static str>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback address to listen on");
        Proxy::serve(listener, Vec::new(), Shared { is_socks, login, refusal, ..Shared::default() })
    }

    fn serve(listener: TcpListener, routes: Vec<(String, String)>, shared: Shared) -> Proxy {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { routes, ..shared });
        let ours = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &ours));
        Proxy { shared, address, acceptor: Some(acceptor) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for stream in listener.incoming().flatten() {
        if shared.closing.load(Ordering::SeqCst) {
            break;
        }
        let ours = Arc::clone(shared);
        ours.open.lock().unwrap().push(stream.try_clone().unwrap());
        threads.push(std::thread::spawn(move || serve(stream, &ours)));
    }
    shared.open.lock().unwrap().iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

/// Serves one connection. Errors are ignored, because a client may go away at any time.
fn serve(client: TcpStream, shared: &Shared) {
    let target = if shared.is_socks { accept_socks(&client, shared) } else { accept_connect(&client, shared) };
    if let Ok(Some(target)) = target {
        let _ = tunnel(&client, &target, shared);
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// Reads one CONNECT and responds to it. Returns the address to connect to unless it was refused.
fn accept_connect(mut client: &TcpStream, shared: &Shared) -> io::Result<Option<String>> {
    let mut lines = Vec::new();
    // The client waits for the response before it sends more, so no byte is lost in the reader.
    for line in BufReader::new(client).lines() {
        match line? {
            end if end.is_empty() => break,
            line => lines.push(line),
        }
    }
    let target = match lines.first().map(|line| line.split(' ').collect::<Vec<_>>()).as_deref() {
        Some(["CONNECT", target, "HTTP/1.1"]) => target.to_string(),
        other => panic!("not CONNECT: {other:?}"),
    };
    shared.log.lock().unwrap().push(target.clone());
    let login = lines.iter().find_map(|line| line.strip_prefix("Proxy-Authorization: "));
    let refusal = match (&shared.login, shared.refusal) {
        (_, Some(refusal)) => Some(refusal),
        (Some(wanted), _) if login != Some(wanted) => Some("407 Proxy Authentication Required"),
        _ => None,
    };
    if let Some(refusal) = refusal {
        client.write_all(format!("HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
        return Ok(None);
    }
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    Ok(target.rsplit_once(':').map(|(host, port)| shared.address(host, port)))
}

/// Does the handshake of SOCKS5 (RFC 1928 and 1929), whose target must be a host name. Returns the address to connect to.
fn accept_socks(mut client: &TcpStream, shared: &Shared) -> io::Result<Option<String>> {
    let take = |mut client: &TcpStream, count: usize| {
        let mut bytes = vec![0; count];
        client.read_exact(&mut bytes).map(|()| bytes)
    };
    let take_text = |client: &TcpStream| {
        let length = take(client, 1)?[0];
        Ok::<String, io::Error>(String::from_utf8(take(client, usize::from(length))?).unwrap())
    };
    let offered = usize::from(take(client, 2)?[1]);
    take(client, offered)?;
    match &shared.login {
        None => client.write_all(&[5, 0])?,
        Some(login) => {
            client.write_all(&[5, 2])?;
            take(client, 1)?;
            let shown = format!("{}:{}", take_text(client)?, take_text(client)?);
            let is_right = shown == *login;
            client.write_all(&[1, u8::from(!is_right)])?;
            if !is_right {
                return Ok(None);
            }
        }
    }
    assert_eq!(take(client, 4)?, [5, 1, 0, 3], "CONNECT to a host name");
    let host = take_text(client)?;
    let port = u16::from_be_bytes(take(client, 2)?.try_into().unwrap());
    shared.log.lock().unwrap().push(format!("{host}:{port}"));
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok(Some(shared.address(&host, &port.to_string())))
}

impl Shared {
    fn address(&self, host: &str, port: &str) -> String {
        let route = self.routes.iter().find(|(name, _)| name == host);
        format!("{}:{port}", route.map_or("127.0.0.1", |(_, address)| address))
    }
}

fn tunnel(client: &TcpStream, address: &str, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(address)?;
    shared.open.lock().unwrap().push(server.try_clone()?);
    relay(client, &server)
}
