//! Entry points for the fuzz targets: the parsers of credential files and of a credential helper's output.

use super::auth_file::AuthFile;
use super::credential_helper;
use crate::oci::credentials::Credentials;
use crate::oci::reference::Reference;

/// Parses a credential file, looks up a name, inserts credentials, and removes them again. Returns the file as it is
/// between these two changes.
pub fn auth_json(bytes: &[u8], name: &Reference) -> std::result::Result<Vec<u8>, String> {
    let mut file = AuthFile::parse(bytes)?;
    let _ = file.helper(name.domain());
    let _ = file.find(name);
    let credentials = Credentials::new("u", "p").map_err(|e| e.to_string())?;
    file.insert(name.domain(), &credentials);
    let changed = file.to_bytes().map_err(|e| e.to_string())?;
    file.remove(name.domain());
    Ok(changed)
}

/// Returns true if a credential helper's output contains credentials.
pub fn helper_output(bytes: &[u8]) -> std::result::Result<bool, String> {
    credential_helper::parse(bytes).map(|found| found.is_some())
}
