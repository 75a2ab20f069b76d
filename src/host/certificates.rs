//! Where this machine keeps certificates: the roots that it trusts, and what its administrator configured for one
//! registry (`certs.d`). Reads files with a bound and judges none of them: whoever asks knows what a certificate is.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::limits::read_capped;
use crate::oci::route::TlsFiles;

/// Bytes of a bundle that are read: Mozilla's has 220 KB.
const BUNDLE_LIMIT: u64 = 8 << 20;
/// Bytes of one file in `certs.d`.
const FILE_LIMIT: usize = 1 << 20;
/// Files of a folder that are looked at.
const FOLDER_LIMIT: usize = 4096;

/// One file with all roots. The first is where Debian, Alpine, Buildroot and OpenWrt have it, then Fedora, SUSE, RHEL,
/// and Alpine again.
const BUNDLES: [&str; 6] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/ca-bundle.pem",
    "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "etc/ssl/cert.pem",
    "etc/pki/tls/cacert.pem",
];
/// One file for each root.
const FOLDERS: [&str; 2] = ["etc/ssl/certs", "etc/pki/tls/certs"];
/// Below these a folder has the name of a registry; the user's own stands before them.
const CERTS_D: [&str; 2] = ["etc/containers/certs.d", "etc/docker/certs.d"];

/// Takes a file of certificates in PEM and tells how many good ones were in it.
pub(crate) type Take<'a> = dyn FnMut(&mut dyn Read) -> usize + 'a;

/// Where roots were found.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    /// The file or folder, if one had any.
    pub(crate) place: Option<String>,
    /// What was passed over, for people.
    pub(crate) notes: Vec<String>,
}

/// What is configured for one registry.
#[derive(Debug, PartialEq)]
pub(crate) struct Configured {
    /// The folder or the files.
    pub(crate) from: String,
    /// `*.crt`: certificates that are trusted for it, in PEM.
    pub(crate) authorities: Vec<Pem>,
    /// `*.cert` and the `*.key` of the same name: what is shown to it.
    pub(crate) client: Option<(Pem, Pem)>,
    /// What was passed over, for people.
    pub(crate) notes: Vec<String>,
}

/// A file in PEM.
#[derive(Debug, PartialEq)]
pub(crate) struct Pem {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// The machine's roots: those of `$SSL_CERT_FILE` and `$SSL_CERT_DIR`, else of the first usual place that has any.
pub(crate) fn roots(take: &mut Take<'_>) -> Roots {
    Machine::this().roots(take)
}

/// What is configured for the registry that goes by one of these names (`HOST[:PORT]`, as it stands in an image's
/// name). The first folder that is there decides, and the others are not looked at, as with containers.
pub(crate) fn certificates_of(names: &[&str]) -> Result<Option<Configured>> {
    Machine::this().of_registry(names)
}

/// What these files have; `None` where there are none. All that are named must be there.
pub(crate) fn certificates_in(files: &TlsFiles) -> Result<Option<Configured>> {
    if let Some(folder) = &files.folder {
        let entries = read_folder(folder).map_err(|e| unreadable(folder, &e))?;
        return configured(folder.clone(), &entries).map(Some);
    }
    if *files == TlsFiles::default() {
        return Ok(None);
    }
    let authorities = files.authorities.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let client = match &files.client {
        None => None,
        Some((certificate, key)) => Some((read(certificate)?, read(key.as_ref().unwrap_or(certificate))?)),
    };
    let shown = authorities.iter().chain(client.iter().map(|(certificate, _)| certificate));
    let from = shown.map(|pem| pem.path.display().to_string()).collect::<Vec<_>>().join(", ");
    Ok(Some(Configured { from, authorities, client, notes: Vec::new() }))
}

/// Environment and root folder, so that a test can have its own.
struct Machine<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    root: &'a Path,
}

impl Machine<'_> {
    fn this() -> Machine<'static> {
        Machine { variable: &|name| env::var_os(name), root: Path::new("/") }
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn roots(&self, take: &mut Take<'_>) -> Roots {
        let mut found = Roots::default();
        self.roots_of_environment(take, &mut found);
        for bundle in BUNDLES.iter().map(|bundle| self.root.join(bundle)) {
            if found.place.is_none() && bundle.exists() {
                found.take_file(&bundle, take);
            }
        }
        for folder in FOLDERS.iter().map(|folder| self.root.join(folder)) {
            if found.place.is_none() && folder.exists() {
                found.take_folder(&folder, take);
            }
        }
        found
    }

    /// Both variables count where both are set, as with OpenSSL and Go.
    fn roots_of_environment(&self, take: &mut Take<'_>, found: &mut Roots) {
        let mut named = Vec::new();
        if let Some(file) = self.variable("SSL_CERT_FILE")
            && found.take_file(Path::new(&file), take)
        {
            named.push("$SSL_CERT_FILE");
        }
        for folder in self.variable("SSL_CERT_DIR").iter().flat_map(|list| env::split_paths(list)) {
            if found.take_folder(&folder, take) {
                named.push("$SSL_CERT_DIR");
            } else {
                found.notes.push(format!("there is no certificate in {}", folder.display()));
            }
        }
        named.dedup();
        if let Some(place) = &mut found.place {
            *place = format!("{} ({place})", named.join(" and "));
        }
    }

    fn of_registry(&self, names: &[&str]) -> Result<Option<Configured>> {
        let config = self.variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let config = config.or_else(|| self.variable("HOME").map(|home| Path::new(&home).join(".config")));
        let own = config.map(|config| config.join("containers/certs.d"));
        let bases = own.into_iter().chain(CERTS_D.iter().map(|base| self.root.join(base)));
        let folders = bases.flat_map(|base| names.iter().map(move |name| base.join(name)));
        for folder in folders {
            match read_folder(&folder) {
                Ok(files) => return configured(folder, &files).map(Some),
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(e) => return Err(unreadable(&folder, &e)),
            }
        }
        Ok(None)
    }
}

impl Roots {
    /// Whether the file had any certificate; a note says why it had none.
    fn take_file(&mut self, path: &Path, take: &mut Take<'_>) -> bool {
        let shown = path.display();
        match open(path).map(|file| take(&mut file.take(BUNDLE_LIMIT))) {
            Ok(0) => self.notes.push(format!("there is no good certificate in {shown}")),
            Ok(_) => {
                self.place.get_or_insert_with(|| shown.to_string());
                return true;
            }
            Err(e) => self.notes.push(format!("read certificates in {shown}: {e}")),
        }
        false
    }

    /// Whether any file of the folder had a certificate. Other things may lie there too, so no file gets a note.
    fn take_folder(&mut self, folder: &Path, take: &mut Take<'_>) -> bool {
        let mut count = 0;
        for path in read_folder(folder).unwrap_or_default() {
            // OpenSSL's names by hash are links to what is there already.
            let is_alias = fs::read_link(&path).is_ok_and(|target| target.components().count() == 1);
            if let Some(file) = (!is_alias).then(|| open(&path).ok()).flatten() {
                count += take(&mut file.take(BUNDLE_LIMIT));
            }
        }
        if count > 0 {
            self.place.get_or_insert_with(|| folder.display().to_string());
        }
        count > 0
    }
}

/// A regular file: to open a FIFO would be to wait for its writer.
fn open(path: &Path) -> io::Result<File> {
    match fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// The folder's entries in the order of their names.
fn read_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.take(FOLDER_LIMIT);
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

/// Sorts what lies in a registry's folder, as Docker does: half a client certificate is an error, because without it
/// the registry would refuse with less to go by.
fn configured(folder: PathBuf, files: &[PathBuf]) -> Result<Configured> {
    let with = |wanted: &'static str| {
        files.iter().filter(move |path| path.extension().is_some_and(|extension| extension == wanted))
    };
    let incomplete = |path: &Path, lacks: &str| {
        let text = format!("{} has no {lacks} of the same name beside it", path.display());
        Err(Error::new(ErrorKind::Tls, text).with_hint("CA certificates have the extension .crt"))
    };
    let mut client = None;
    let mut notes = Vec::new();
    for certificate in with("cert") {
        let key = certificate.with_extension("key");
        match (files.contains(&key), &client) {
            (false, _) => return incomplete(certificate, ".key"),
            (true, None) => client = Some((read(certificate)?, read(&key)?)),
            (true, Some(_)) => notes.push(format!("{} is not used: one is enough", certificate.display())),
        }
    }
    if let Some(key) = with("key").find(|key| !files.contains(&key.with_extension("cert"))) {
        return incomplete(key, ".cert");
    }
    let authorities = with("crt").map(|path| read(path)).collect::<Result<_>>()?;
    Ok(Configured { from: folder.display().to_string(), authorities, client, notes })
}

fn read(path: &Path) -> Result<Pem> {
    let bytes = open(path).and_then(|file| read_capped(file, FILE_LIMIT)).map_err(|e| unreadable(path, &e))?;
    let bytes = bytes
        .ok_or_else(|| Error::new(ErrorKind::Tls, format!("read {}: more than {FILE_LIMIT} bytes", path.display())))?;
    Ok(Pem { path: path.to_owned(), bytes })
}

fn unreadable(path: &Path, cause: &io::Error) -> Error {
    Error::new(ErrorKind::Tls, format!("read {}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root folder of the test's own with these files.
    struct Scene {
        root: PathBuf,
        variables: Vec<(&'static str, OsString)>,
    }

    impl Scene {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = env::temp_dir().join(format!("pullet-certificates-{}-{name}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self { root, variables: Vec::new() }
        }

        /// Sets a variable to a path below the root.
        fn with(mut self, name: &'static str, path: &str) -> Self {
            self.variables.push((name, self.root.join(path).into_os_string()));
            self
        }

        fn machine<T>(&self, work: impl FnOnce(&Machine<'_>) -> T) -> T {
            let variable =
                |name: &str| self.variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
            work(&Machine { variable: &variable, root: &self.root })
        }

        /// Which files were taken (those that say "good" count as certificates), from where, and how many notes.
        fn roots(&self) -> (String, Option<String>, usize) {
            let mut taken = Vec::new();
            let mut take = |file: &mut dyn Read| {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                let count = text.matches("good").count();
                taken.push(text);
                count
            };
            let found = self.machine(|machine| machine.roots(&mut take));
            let shown = self.root.display().to_string();
            (taken.join(" "), found.place.map(|place| place.replace(&shown, "")), found.notes.len())
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    #[track_caller]
    fn check(scene: &Scene, taken: &str, place: Option<&str>, notes: usize) {
        assert_eq!(scene.roots(), (taken.to_owned(), place.map(str::to_owned), notes));
    }

    #[test]
    fn the_first_place_with_a_good_certificate_gives_the_roots() {
        let (debian, fedora, alpine) = (BUNDLES[0], BUNDLES[1], BUNDLES[4]);
        check(&Scene::new("none", &[]), "", None, 0);
        let scene = Scene::new("debian", &[(debian, "good1"), (fedora, "good2"), ("etc/ssl/certs/a.pem", "good3")]);
        check(&scene, "good1", Some("/etc/ssl/certs/ca-certificates.crt"), 0);
        let scene = Scene::new("empty", &[(debian, "bad"), (alpine, "good")]);
        check(&scene, "bad good", Some("/etc/ssl/cert.pem"), 1);
        let scene = Scene::new("folder", &[("etc/ssl/certs/b.pem", "good"), ("etc/ssl/certs/a", "bad")]);
        std::os::unix::fs::symlink("b.pem", scene.root.join("etc/ssl/certs/01234567.0")).unwrap();
        std::os::unix::fs::symlink("gone.pem", scene.root.join("etc/ssl/certs/01234568.0")).unwrap();
        check(&scene, "bad good", Some("/etc/ssl/certs"), 0);
        let scene = Scene::new("odd", &[(alpine, "good")]);
        fs::create_dir_all(scene.root.join(debian)).unwrap();
        // A folder and a FIFO are no bundles, and the latter must not be waited for.
        fs::create_dir_all(scene.root.join("etc/pki/tls/certs")).unwrap();
        let fifo = scene.root.join(fedora);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        check(&scene, "good", Some("/etc/ssl/cert.pem"), 2);
    }

    #[test]
    fn the_environment_comes_first() {
        let files = [(BUNDLES[0], "good-system"), ("my.pem", "good-my"), ("dir/a.pem", "good-dir"), ("bad.pem", "x")];
        let scene = || Scene::new("environment", &files);
        let of_file = Some("$SSL_CERT_FILE (/my.pem)");
        check(&scene().with("SSL_CERT_FILE", "my.pem"), "good-my", of_file, 0);
        check(&scene().with("SSL_CERT_DIR", "dir"), "good-dir", Some("$SSL_CERT_DIR (/dir)"), 0);
        let both = scene().with("SSL_CERT_FILE", "my.pem").with("SSL_CERT_DIR", "dir");
        check(&both, "good-my good-dir", Some("$SSL_CERT_FILE and $SSL_CERT_DIR (/my.pem)"), 0);
        let system = Some("/etc/ssl/certs/ca-certificates.crt");
        check(&scene().with("SSL_CERT_FILE", "bad.pem"), "x good-system", system, 1);
        check(&scene().with("SSL_CERT_FILE", "gone.pem").with("SSL_CERT_DIR", "gone"), "good-system", system, 2);
    }

    #[test]
    fn a_registry_has_a_folder() {
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
        let scene = Scene::new("certs.d", &files).with("HOME", "home");
        for (names, expected) in [
            (&["r.io"][..], "docker"),
            (&["r.io:5000"], "a+b+c"),
            (&["r.io:5001"], "none"),
            (&["registry-1.docker.io", "docker.io"], "e"),
            (&["home.io"], "f"),
            (&["file.io"], "none"),
            (&["two.io"], "+1+2 1 notes"),
            (&["no-key.io"], "/etc/docker/certs.d/no-key.io/client.cert has no .key of the same name beside it"),
            (&["no-cert.io"], "/etc/docker/certs.d/no-cert.io/client.key has no .cert of the same name beside it"),
        ] {
            let text = |pem: &Pem| String::from_utf8(pem.bytes.clone()).unwrap();
            let found = match scene.machine(|machine| machine.of_registry(names)) {
                Ok(None) => "none".to_owned(),
                Ok(Some(found)) => {
                    let mut shown: String = found.authorities.iter().map(text).collect();
                    found.client.iter().for_each(|(cert, key)| shown += &format!("+{}+{}", text(cert), text(key)));
                    if !found.notes.is_empty() {
                        shown += &format!(" {} notes", found.notes.len());
                    }
                    shown
                }
                Err(error) => error.to_string().replace(&scene.root.display().to_string(), ""),
            };
            assert_eq!(found, expected, "{names:?}");
        }
    }
}
