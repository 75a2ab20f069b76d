//! Entry points for the fuzz targets: the parser of proxy variables.

use super::proxy::Proxies;
use crate::error::Result;

/// Returns the proxy for a server when `proxy` is `$ALL_PROXY` and `no_proxy` is `$NO_PROXY`.
pub fn proxy_for(proxy: &str, no_proxy: &str, host: &str, port: u16) -> Result<Option<String>> {
    let proxies = Proxies::read(&|name| match name {
        "ALL_PROXY" => Some(proxy.to_owned()),
        "NO_PROXY" => Some(no_proxy.to_owned()),
        _ => None,
    });
    Ok(proxies.find(true, host, port)?.map(|proxy| proxy.url()))
}
