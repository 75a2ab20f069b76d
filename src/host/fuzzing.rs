//! What of this room a fuzzer is let at: the parsers of configuration.

use super::auth_file::AuthFile;
use super::cmdline::Parameters;
use super::keychain;
use super::proxy::Proxies;
use crate::error::Result;
use crate::image::credentials::Credentials;
use crate::image::reference::Reference;

/// Parses a file of credentials, looks a name up in it, and puts credentials into it and takes them out again. Gives
/// the file between the two.
pub fn auth_json(bytes: &[u8], name: &Reference) -> std::result::Result<Vec<u8>, String> {
    let mut file = AuthFile::parse(bytes)?;
    let _ = file.program(name.domain());
    let _ = file.find(name);
    let credentials = Credentials::new("u", "p").map_err(|e| e.to_string())?;
    file.insert(name.domain(), &credentials);
    let kept = file.to_bytes();
    file.remove(name.domain());
    Ok(kept)
}

/// Whether a credential helper's answer has credentials.
pub fn keychain_answer(bytes: &[u8]) -> std::result::Result<bool, String> {
    keychain::parse(bytes).map(|found| found.is_some())
}

/// The proxy for a server, as `$ALL_PROXY` and `$NO_PROXY` have it.
pub fn proxy_for(proxy: &str, bypassed: &str, host: &str, port: u16) -> Result<Option<String>> {
    let proxies = Proxies::read(&|name| match name {
        "ALL_PROXY" => Some(proxy.to_owned()),
        "NO_PROXY" => Some(bypassed.to_owned()),
        _ => None,
    });
    Ok(proxies.of(true, host, port)?.map(|proxy| proxy.url()))
}

/// What a kernel's command line says of the system to be booted: its image and its init.
pub fn boot_line(bytes: &[u8]) -> Result<(String, Option<String>)> {
    Parameters::parse(bytes).map(|found| (found.image, found.init))
}
