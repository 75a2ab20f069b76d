//! `pullet pull`: images into the store, told in Docker's lines.

use std::fmt::Display;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use pullet::{Client, Options, Pulled, Reference, Sandbox};

use crate::args::{Common, Pull, Registry};
use crate::exit::Failure;
use crate::report::{self, Reporter};
use crate::{sandbox, text};

/// Pulls each name, or each tag of it.
pub(crate) fn run(common: &Common, pull: Pull, reporter: &Reporter) -> Result<(), Failure> {
    let store = report::store(common)?;
    let client = client(&pull.registry)?;
    pull.names.iter().for_each(|name| client.find_credentials(name, reporter));
    sandbox::enter(&Sandbox::new().store(&store), reporter);
    for name in &pull.names {
        for name in tags(&client, name, pull.all_tags, reporter)? {
            tell(common, &name, &client.pull(&name, &store, reporter)?)?;
        }
    }
    Ok(())
}

/// The client that the registry options describe.
pub(crate) fn client(registry: &Registry) -> Result<Client, Failure> {
    let mut options = Options::new().cancel(registry.cancel.clone()).limits(registry.limits.clone());
    if let Some(jobs) = registry.jobs {
        options = options.jobs(jobs);
    }
    options = options.foreign_layers(registry.allows_foreign_layers);
    if let Some(retries) = registry.retries {
        options = options.retries(retries);
    }
    if let Some(stall) = registry.stall_timeout {
        options = options.stall_timeout(stall);
    }
    if let Some(rate) = registry.rate_limit {
        options = options.rate_limit(rate);
    }
    if let Some(platform) = &registry.platform {
        options = options.platform(platform.clone());
    }
    if let Some(credentials) = &registry.credentials {
        options = options.credentials(credentials.clone());
    }
    if let Some(path) = &registry.authfile {
        options = options.authfile(path);
    }
    for realm in &registry.token_realms {
        options = options.token_realm(realm);
    }
    if let Some(path) = &registry.ca_file {
        options = options.ca_pem(pem(path, "--ca-file takes a file of certificates in PEM")?);
    }
    if let Some(path) = &registry.client_cert {
        let certificate = pem(path, "--client-cert takes a certificate with its chain in PEM")?;
        let key = match &registry.client_key {
            Some(path) => pem(path, "--client-key takes a private key in PEM")?,
            None => certificate.clone(),
        };
        options = options.client_certificate_pem(certificate, key);
    }
    for host in &registry.insecure_registries {
        options = options.insecure_registry(host);
    }
    for mirror in &registry.registry_mirrors {
        options = options.registry_mirror(mirror);
    }
    Ok(Client::new(options)?)
}

/// A file that was named on the command line. More than any bundle has is no bundle.
fn pem(path: &Path, hint: &str) -> Result<Vec<u8>, Failure> {
    const LIMIT: u64 = 8 << 20;
    let refuse = |why: &dyn Display| Failure::Usage(format!("read {}: {why}", path.display()), hint.to_owned());
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes));
    match read {
        Ok(count) if count as u64 > LIMIT => Err(refuse(&format!("more than {LIMIT} bytes"))),
        Ok(_) => Ok(bytes),
        Err(e) => Err(refuse(&e)),
    }
}

fn tags(client: &Client, name: &Reference, all: bool, reporter: &Reporter) -> Result<Vec<Reference>, Failure> {
    match all {
        false => Ok(vec![name.clone()]),
        true => Ok(client.tags(name, reporter)?.iter().map(|tag| name.with_tag(tag)).collect::<Result<_, _>>()?),
    }
}

fn tell(common: &Common, name: &Reference, pulled: &Pulled) -> Result<(), Failure> {
    if common.is_quiet {
        return text::print(format!("{name}\n"));
    }
    let status = match pulled.is_new {
        true => "Downloaded newer image for",
        false => "Image is up to date for",
    };
    let (digest, familiar) = (pulled.image.digest(), name.familiar());
    text::print(format!("Digest: {digest}\nStatus: {status} {familiar}\n{name}\n"))
}
