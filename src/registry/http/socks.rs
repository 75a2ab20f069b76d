//! SOCKS5 proxies through ureq's connector, which blocks. Connecting runs on a thread of its own, which is abandoned
//! when the command is cancelled or out of time; later reads wait in short pieces.

use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, NextTimeout, SocksConnector as UreqConnector, Transport,
};

use super::resolver::Resolver;
use super::socket::Deadline;
use crate::cancel::Cancel;
use crate::workers;

type Result<T> = std::result::Result<T, ureq::Error>;
type UreqTransport = <UreqConnector as Connector<()>>::Out;

/// Connects through a SOCKS proxy if one is configured.
#[derive(Debug)]
pub(crate) struct SocksConnector {
    resolver: Resolver,
    cancel: Cancel,
}

impl SocksConnector {
    pub(crate) fn new(resolver: Resolver, cancel: Cancel) -> Self {
        Self { resolver, cancel }
    }
}

impl<In: Transport> Connector<In> for SocksConnector {
    type Out = Either<In, SocksTransport>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>> {
        let is_socks = details.config.proxy().is_some_and(|proxy| proxy.protocol() == ureq::ProxyProtocol::Socks5);
        if chained.is_some() || !is_socks {
            return Ok(chained.map(Either::A));
        }
        let connected = workers::run_within(None, &self.cancel, connect_to_proxy(details, self.resolver.clone()));
        let transport = match connected {
            Ok(Some(connected)) => connected?,
            Ok(None) => None,
            Err(error) => return Err(ureq::Error::Other(Box::new(error))),
        };
        Ok(transport.map(|transport| Either::B(SocksTransport { transport, cancel: self.cancel.clone() })))
    }
}

/// Returns a function that connects and owns everything it needs, so that its thread can be abandoned.
fn connect_to_proxy(
    details: &ConnectionDetails,
    resolver: Resolver,
) -> impl FnOnce() -> Result<Option<UreqTransport>> + Send + 'static {
    let (uri, config, addrs) = (details.uri.clone(), details.config.clone(), details.addrs.clone());
    let (request_level, now, timeout) = (details.request_level, details.now, details.timeout);
    let current_time = details.current_time.clone();
    let (run_connector, register_shutdown) = (details.run_connector.clone(), details.register_shutdown.clone());
    move || {
        let details = ConnectionDetails {
            uri: &uri,
            addrs,
            config: &config,
            request_level,
            resolver: &resolver,
            now,
            timeout,
            current_time,
            run_connector,
            register_shutdown,
        };
        UreqConnector::default().connect(&details, None)
    }
}

/// A connection through a SOCKS proxy.
#[derive(Debug)]
pub(crate) struct SocksTransport {
    transport: UreqTransport,
    cancel: Cancel,
}

impl Transport for SocksTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    /// Does not wait in pieces, because a request is shorter than a socket's send buffer.
    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<()> {
        self.transport.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool> {
        let timeout = timeout.for_read();
        let deadline = Deadline::new(timeout, &self.cancel);
        loop {
            let piece = NextTimeout { after: deadline.piece()?.into(), per_read: None, ..timeout };
            match self.transport.await_input(piece) {
                Err(ureq::Error::Timeout(_)) => {}
                other => return other,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }

    fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }
}
