//! Certificates of this machine: the root certificates that it trusts, and those that its administrator configured for one
//! registry (`certs.d`). Reads files with bounds, but does not parse certificates: the caller does.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::read_capped;
use crate::oci::route::TlsFiles;

/// Maximum number of bytes read of a file with root certificates; Mozilla's bundle has 220 KB.
const BUNDLE_LIMIT: u64 = 8 << 20;
/// Maximum size in bytes of a file in `certs.d`.
const FILE_LIMIT: usize = 1 << 20;
/// Maximum number of files read in a folder.
const FOLDER_LIMIT: usize = 4096;

/// Files with all root certificates: of Debian, Alpine, Buildroot and OpenWrt, then of Fedora, SUSE, RHEL, and Alpine.
const BUNDLES: [&str; 6] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/ca-bundle.pem",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/cert.pem",
    "etc/pki/tls/cacert.pem",
];
/// Folders with one file for each root certificate.
const FOLDERS: [&str; 2] = ["etc/ssl/certs", "etc/pki/tls/certs"];
/// Folders with a subfolder for each registry. The folder in the user's configuration comes before these.
const CERTS_D: [&str; 2] = ["etc/containers/certs.d", "etc/docker/certs.d"];

/// Takes the content of a PEM file with certificates, and returns the number of valid ones.
pub(crate) type AddRoots<'a> = dyn FnMut(&mut dyn Read) -> usize + 'a;

/// Where root certificates were found.
#[derive(Debug, Default)]
pub(crate) struct RootSource {
    /// The file or folder, and the variables that name it; `None` if no certificate was found.
    pub(crate) path: Option<String>,
    /// Messages about files that were skipped.
    pub(crate) notes: Vec<String>,
}

/// The certificates that are configured for one registry.
#[derive(Debug, PartialEq)]
pub(crate) struct RegistryCertificates {
    /// The folder or the files.
    pub(crate) from: String,
    /// Certificates of authorities that are trusted for the registry: `*.crt` of a folder.
    pub(crate) authorities: Vec<PemFile>,
    /// The client certificate: a `*.cert` of a folder, with the `*.key` of the same name.
    pub(crate) client: Option<ClientCertificate>,
    /// Messages about files that were skipped.
    pub(crate) notes: Vec<String>,
}

/// A client certificate and its private key.
#[derive(Debug, PartialEq)]
pub(crate) struct ClientCertificate {
    pub(crate) certificate: PemFile,
    pub(crate) key: PemFile,
}

/// The content of a PEM file, not parsed.
#[derive(Debug, PartialEq)]
pub(crate) struct PemFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// Passes the root certificates of this machine to `add`: those of `$SSL_CERT_FILE` and `$SSL_CERT_DIR`, else those of
/// the first usual file or folder with valid ones.
pub(crate) fn root_certificates(add: &mut AddRoots<'_>) -> RootSource {
    find_roots(Environment::of_process(), add)
}

/// Reads the `certs.d` folder of a registry with one of these names (`HOST[:PORT]`, as in image names). The first folder
/// that exists is used and the others are ignored, as in containers.
pub(crate) fn registry_certificates(names: &[&str]) -> Result<Option<RegistryCertificates>> {
    read_certs_d(Environment::of_process(), names)
}

/// Reads the files that a mirror configuration names. Returns `None` if it names none. All of them must exist.
pub(crate) fn route_certificates(files: &TlsFiles) -> Result<Option<RegistryCertificates>> {
    if let Some(folder) = &files.folder {
        let paths = read_folder(folder).map_err(|e| unreadable(folder, &e))?;
        return parse_folder(folder, &paths).map(Some);
    }
    if *files == TlsFiles::default() {
        return Ok(None);
    }
    let authorities = files.authorities.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let client = match &files.client {
        None => None,
        Some((certificate, key)) => Some(ClientCertificate {
            certificate: read(certificate)?,
            // Without a key file, the file with the certificate contains the key too.
            key: read(key.as_ref().unwrap_or(certificate))?,
        }),
    };
    let mut paths: Vec<String> = authorities.iter().map(|pem| pem.path.display().to_string()).collect();
    if let Some(client) = &client {
        paths.push(client.certificate.path.display().to_string());
    }
    Ok(Some(RegistryCertificates { from: paths.join(", "), authorities, client, notes: Vec::new() }))
}

fn find_roots(environment: Environment<'_>, add: &mut AddRoots<'_>) -> RootSource {
    let mut source = RootSource::default();
    source.add_from_variables(environment, add);
    for bundle in BUNDLES.map(|bundle| environment.in_root(bundle)) {
        if source.path.is_none() && bundle.exists() {
            source.add_file(&bundle, add);
        }
    }
    for folder in FOLDERS.map(|folder| environment.in_root(folder)) {
        if source.path.is_none() && folder.exists() {
            source.add_folder(&folder, add);
        }
    }
    source
}

impl RootSource {
    /// If both variables are set, both are used, as in OpenSSL and Go.
    fn add_from_variables(&mut self, environment: Environment<'_>, add: &mut AddRoots<'_>) {
        let mut variables = Vec::new();
        if let Some(file) = environment.path("SSL_CERT_FILE")
            && self.add_file(&file, add)
        {
            variables.push("$SSL_CERT_FILE");
        }
        if let Some(list) = environment.variable("SSL_CERT_DIR") {
            for folder in env::split_paths(&list) {
                if self.add_folder(&folder, add) {
                    variables.push("$SSL_CERT_DIR");
                } else {
                    self.notes.push(format!("there is no certificate in {}", folder.display()));
                }
            }
        }
        variables.dedup();
        if let Some(path) = &mut self.path {
            *path = format!("{} ({path})", variables.join(" and "));
        }
    }

    /// Returns true if the file contains a valid certificate; else adds a note.
    fn add_file(&mut self, path: &Path, add: &mut AddRoots<'_>) -> bool {
        let file = match open(path) {
            Ok(file) => file,
            Err(e) => {
                self.notes.push(format!("read certificates in {}: {e}", path.display()));
                return false;
            }
        };
        if add(&mut file.take(BUNDLE_LIMIT)) == 0 {
            self.notes.push(format!("there is no valid certificate in {}", path.display()));
            return false;
        }
        self.path.get_or_insert_with(|| path.display().to_string());
        true
    }

    /// Returns true if a file of the folder contains a valid certificate. Adds no notes, because the folder may contain
    /// other files.
    fn add_folder(&mut self, folder: &Path, add: &mut AddRoots<'_>) -> bool {
        let mut count = 0;
        for path in read_folder(folder).unwrap_or_default() {
            // OpenSSL adds links named by hash to files in the same folder: reading them would read each file twice.
            if fs::read_link(&path).is_ok_and(|target| target.components().count() == 1) {
                continue;
            }
            if let Ok(file) = open(&path) {
                count += add(&mut file.take(BUNDLE_LIMIT));
            }
        }
        if count > 0 {
            self.path.get_or_insert_with(|| folder.display().to_string());
        }
        count > 0
    }
}

fn read_certs_d(environment: Environment<'_>, names: &[&str]) -> Result<Option<RegistryCertificates>> {
    let user = environment.config_folder().map(|config| config.join("containers/certs.d"));
    let machine = CERTS_D.map(|folder| environment.in_root(folder));
    for certs_d in user.into_iter().chain(machine) {
        for name in names {
            let folder = certs_d.join(name);
            match read_folder(&folder) {
                Ok(paths) => return parse_folder(&folder, &paths).map(Some),
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(e) => return Err(unreadable(&folder, &e)),
            }
        }
    }
    Ok(None)
}

/// Opens a regular file. Opening a FIFO would block until another process writes to it.
fn open(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

/// Returns the paths in a folder, sorted by name.
fn read_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)?.take(FOLDER_LIMIT) {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Reads the files of a registry's folder by their extensions, as Docker does. A client certificate without a key, or a
/// key without a certificate, is an error; ignoring it would only make the registry reject the requests later.
fn parse_folder(folder: &Path, paths: &[PathBuf]) -> Result<RegistryCertificates> {
    let mut found = RegistryCertificates {
        from: folder.display().to_string(),
        authorities: Vec::new(),
        client: None,
        notes: Vec::new(),
    };
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => found.authorities.push(read(path)?),
            Some("key") if !paths.contains(&path.with_extension("cert")) => return Err(incomplete(path, ".cert")),
            Some("cert") => {
                let key = path.with_extension("key");
                if !paths.contains(&key) {
                    return Err(incomplete(path, ".key"));
                }
                if found.client.is_some() {
                    found.notes.push(format!("{} is not used: the folder has another one", path.display()));
                } else {
                    found.client = Some(ClientCertificate { certificate: read(path)?, key: read(&key)? });
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn incomplete(path: &Path, missing: &str) -> Error {
    let text = format!("{} has no {missing} of the same name next to it", path.display());
    Error::new(ErrorKind::Tls, text).with_hint("CA certificates have the extension .crt")
}

fn read(path: &Path) -> Result<PemFile> {
    let bytes = open(path).and_then(|file| read_capped(file, FILE_LIMIT)).map_err(|e| unreadable(path, &e))?;
    let Some(bytes) = bytes else {
        return Err(Error::new(ErrorKind::Tls, format!("read {}: more than {FILE_LIMIT} bytes", path.display())));
    };
    Ok(PemFile { path: path.to_owned(), bytes })
}

fn unreadable(path: &Path, cause: &io::Error) -> Error {
    Error::new(ErrorKind::Tls, format!("read {}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::test_root::TestRoot;

    /// Files that contain "good" count as certificates. Compares the files that were read, their place, and the number of
    /// notes.
    #[track_caller]
    fn check(root: &TestRoot, files: &str, path: Option<&str>, notes: usize) {
        let mut added = Vec::new();
        let mut add = |file: &mut dyn Read| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            let count = text.matches("good").count();
            added.push(text);
            count
        };
        let source = root.enter(|environment| find_roots(environment, &mut add));
        assert_eq!(added.join(" "), files);
        assert_eq!(source.path.map(|path| root.without_root(&path)).as_deref(), path);
        assert_eq!(source.notes.len(), notes);
    }

    #[test]
    fn uses_the_first_place_with_a_valid_certificate() {
        let (debian, fedora, alpine) = (BUNDLES[0], BUNDLES[1], BUNDLES[4]);
        check(&TestRoot::new("certificates-none", &[]), "", None, 0);
        let root = TestRoot::new(
            "certificates-debian",
            &[(debian, "good1"), (fedora, "good2"), ("etc/ssl/certs/a.pem", "good3")],
        );
        check(&root, "good1", Some("/etc/ssl/certs/ca-certificates.crt"), 0);
        let root = TestRoot::new("certificates-empty", &[(debian, "bad"), (alpine, "good")]);
        check(&root, "bad good", Some("/etc/ssl/cert.pem"), 1);
        let root = TestRoot::new("certificates-folder", &[("etc/ssl/certs/b.pem", "good"), ("etc/ssl/certs/a", "bad")]);
        std::os::unix::fs::symlink("b.pem", root.root.join("etc/ssl/certs/01234567.0")).unwrap();
        std::os::unix::fs::symlink("gone.pem", root.root.join("etc/ssl/certs/01234568.0")).unwrap();
        check(&root, "bad good", Some("/etc/ssl/certs"), 0);
        let root = TestRoot::new("certificates-odd", &[(alpine, "good")]);
        fs::create_dir_all(root.root.join(debian)).unwrap();
        // A folder and a FIFO are not bundles, and opening the FIFO would block.
        fs::create_dir_all(root.root.join("etc/pki/tls/certs")).unwrap();
        let fifo = root.root.join(fedora);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        check(&root, "good", Some("/etc/ssl/cert.pem"), 2);
    }

    #[test]
    fn prefers_the_variables() {
        let files = [(BUNDLES[0], "good-system"), ("my.pem", "good-my"), ("dir/a.pem", "good-dir"), ("bad.pem", "x")];
        let root = || TestRoot::new("certificates-environment", &files);
        let from_file = Some("$SSL_CERT_FILE (/my.pem)");
        check(&root().with("SSL_CERT_FILE", "my.pem"), "good-my", from_file, 0);
        check(&root().with("SSL_CERT_DIR", "dir"), "good-dir", Some("$SSL_CERT_DIR (/dir)"), 0);
        let both = root().with("SSL_CERT_FILE", "my.pem").with("SSL_CERT_DIR", "dir");
        check(&both, "good-my good-dir", Some("$SSL_CERT_FILE and $SSL_CERT_DIR (/my.pem)"), 0);
        let system = Some("/etc/ssl/certs/ca-certificates.crt");
        check(&root().with("SSL_CERT_FILE", "bad.pem"), "x good-system", system, 1);
        check(&root().with("SSL_CERT_FILE", "gone.pem").with("SSL_CERT_DIR", "gone"), "good-system", system, 2);
    }

    #[test]
    fn reads_the_folder_of_a_registry() {
        let files = [
            ("etc/docker/certs.d/r.io/ca.crt", "docker"),
            ("etc/docker/certs.d/r.io:5000/ca.crt", "a"),
            ("etc/docker/certs.d/r.io:5000/client.cert", "b"),
            ("etc/docker/certs.d/r.io:5000/client.key", "c"),
            ("etc/docker/certs.d/r.io:5000/README", "d"),
            ("etc/containers/certs.d/docker.io/ca.crt", "e"),
            ("home/.config/containers/certs.d/home.io/ca.crt", "f"),
            ("etc/docker/certs.d/home.io/ca.crt", "g"),
            ("etc/docker/certs.d/no-key.io/client.cert", ""),
            ("etc/docker/certs.d/no-cert.io/client.key", ""),
            ("etc/docker/certs.d/file.io", ""),
            ("etc/docker/certs.d/two.io/a.cert", "1"),
            ("etc/docker/certs.d/two.io/a.key", "2"),
            ("etc/docker/certs.d/two.io/b.cert", ""),
            ("etc/docker/certs.d/two.io/b.key", ""),
        ];
        let root = TestRoot::new("certs.d", &files).with("HOME", "home");
        for (names, expected) in [
            (&["r.io"][..], "docker"),
            (&["r.io:5000"], "a+b+c"),
            (&["r.io:5001"], "none"),
            (&["registry-1.docker.io", "docker.io"], "e"),
            (&["home.io"], "f"),
            (&["file.io"], "none"),
            (&["two.io"], "+1+2 1 notes"),
            (&["no-key.io"], "/etc/docker/certs.d/no-key.io/client.cert has no .key of the same name next to it"),
            (&["no-cert.io"], "/etc/docker/certs.d/no-cert.io/client.key has no .cert of the same name next to it"),
        ] {
            let text = |pem: &PemFile| String::from_utf8(pem.bytes.clone()).unwrap();
            let found = match root.enter(|environment| read_certs_d(environment, names)) {
                Ok(None) => "none".to_owned(),
                Ok(Some(found)) => {
                    let mut texts: String = found.authorities.iter().map(text).collect();
                    if let Some(client) = &found.client {
                        texts += &format!("+{}+{}", text(&client.certificate), text(&client.key));
                    }
                    if !found.notes.is_empty() {
                        texts += &format!(" {} notes", found.notes.len());
                    }
                    texts
                }
                Err(error) => root.without_root(&error.to_string()),
            };
            assert_eq!(found, expected, "{names:?}");
        }
    }
}
