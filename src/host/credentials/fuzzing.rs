//! Entry points for the fuzz targets: the parsers of credential files and of a credential helper's output.

use super::auth_file::AuthFile;
use super::credential_helper;
use crate::oci::credentials::Credentials;
use crate::oci::reference::Reference;

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
pub fn helper_output(bytes: &[u8]) -> std::result::Result<bool, String> {
    credential_helper::parse(bytes).map(|found| found.is_some())
}
