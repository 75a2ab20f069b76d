//! A proxy on loopback: CONNECT with or without a login, or SOCKS5. Whatever host is asked for, it leads to loopback, as if
//! it alone could resolve names, and it writes down what it was asked.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A running proxy.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    is_socks: bool,
    /// The value of `Proxy-Authorization`, or the login of SOCKS as `USER:PASSWORD`, that is wanted.
    login: Option<String>,
    /// What CONNECT is answered instead of being obeyed.
    answer: Option<&'static str>,
    closing: AtomicBool,
    log: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Obeys CONNECT.
    pub fn connect() -> Proxy {
        Proxy::start(false, None, None)
    }

    /// Obeys CONNECT from who comes with this `Proxy-Authorization`.
    pub fn with_login(login: &str) -> Proxy {
        Proxy::start(false, Some(login.to_string()), None)
    }

    /// Answers CONNECT with this, and does nothing.
    pub fn answering(answer: &'static str) -> Proxy {
        Proxy::start(false, None, Some(answer))
    }

    /// Speaks SOCKS5, with a login if one is given.
    pub fn socks(login: Option<&str>) -> Proxy {
        Proxy::start(true, login.map(str::to_string), None)
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Where it was asked to lead, in order: `HOST:PORT`.
    pub fn log(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }

    fn start(is_socks: bool, login: Option<String>, answer: Option<&'static str>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback address to listen on");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            is_socks,
            login,
            answer,
            closing: AtomicBool::new(false),
            log: Mutex::default(),
            open: Mutex::default(),
        });
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
        threads.push(std::thread::spawn(move || converse(stream, &ours)));
    }
    shared.open.lock().unwrap().iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

/// A client that goes away at any moment has the right to.
fn converse(client: TcpStream, shared: &Shared) {
    let greeted = if shared.is_socks { greet_socks(&client, shared) } else { greet_connect(&client, shared) };
    if let Ok(Some(port)) = greeted {
        let _ = tunnel(&client, port, shared);
    }
    let _ = client.shutdown(Shutdown::Both);
}

/// Reads one CONNECT and answers it; the port to lead to if it is obeyed.
fn greet_connect(mut client: &TcpStream, shared: &Shared) -> io::Result<Option<u16>> {
    let mut lines = Vec::new();
    // A client waits for the answer before it sends more, so nothing is lost in the reader.
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
    let refusal = match (&shared.login, shared.answer) {
        (_, Some(answer)) => Some(answer),
        (Some(wanted), _) if login != Some(wanted) => Some("407 Proxy Authentication Required"),
        _ => None,
    };
    if let Some(refusal) = refusal {
        client.write_all(format!("HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
        return Ok(None);
    }
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    Ok(target.rsplit_once(':').and_then(|(_, port)| port.parse().ok()))
}

/// RFC 1928 and 1929, with a host name for the target.
fn greet_socks(mut client: &TcpStream, shared: &Shared) -> io::Result<Option<u16>> {
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
    assert_eq!(take(client, 4)?, [5, 1, 0, 3], "a connection to a host by its name");
    let host = take_text(client)?;
    let port = u16::from_be_bytes(take(client, 2)?.try_into().unwrap());
    shared.log.lock().unwrap().push(format!("{host}:{port}"));
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok(Some(port))
}

/// Copies both ways until both are at their end.
fn tunnel(client: &TcpStream, port: u16, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port))?;
    shared.open.lock().unwrap().push(server.try_clone()?);
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let upward = std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client.try_clone()?);
    let _ = io::copy(&mut from_server, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Write);
    let _ = upward.join();
    Ok(())
}
