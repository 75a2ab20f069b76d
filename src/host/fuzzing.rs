//! Entry points for the fuzz targets: the parser of proxy variables.

use super::proxy::Proxies;
use crate::error::Result;

/// The proxy for a server, as `$ALL_PROXY` and `$NO_PROXY` have it.
pub fn proxy_for(proxy: &str, bypassed: &str, host: &str, port: u16) -> Result<Option<String>> {
    let proxies = Proxies::read(&|name| match name {
        "ALL_PROXY" => Some(proxy.to_owned()),
        "NO_PROXY" => Some(bypassed.to_owned()),
        _ => None,
    });
    Ok(proxies.of(true, host, port)?.map(|proxy| proxy.url()))
}
