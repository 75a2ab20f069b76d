//! The bill of materials: every crate in the binary of one target, with its license and checksum, as CycloneDX 1.5
//! (<https://cyclonedx.org/docs/1.5/json/>). `cargo tree` says which crates are in it, `cargo metadata` what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Target;
use super::lock::Lock;
use super::release::Release;
use crate::{Result, cargo, disk, shell};

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    description: Option<String>,
    license: Option<String>,
    repository: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
}

pub fn make(release: &Release, target: &Target) -> Result<PathBuf> {
    let metadata = shell::read(&mut cargo::command(&[
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform",
        target.triple,
    ]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let lock = Lock::parse(&disk::read(&release.root.join("Cargo.lock"))?)?;
    let crates = Crates { metadata: &metadata, lock: &lock, linked: linked(target)? };
    let bill = crates.bill(release, target)?;
    check(&bill)?;
    let file = release.out.join(format!("pullet-{}-{}.cdx.json", release.version, target.triple));
    disk::write(&file, format!("{bill:#}\n"))?;
    Ok(file)
}

/// The name and the version of each crate that is linked into the binary.
fn linked(target: &Target) -> Result<BTreeSet<(String, String)>> {
    let features = target.features.join(",");
    // A macro runs in the compiler and is not in the binary.
    let edges = "--edges=normal,no-proc-macro";
    let mut tree = cargo::command(&["tree", "--locked", "--package=pullet", edges, "--prefix=none", "--format={p}"]);
    tree.args(["--no-default-features", "--features", &features, "--target", target.triple]);
    // NAME vVERSION, and for some crates more in parentheses.
    let crate_of = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    };
    Ok(shell::read(&mut tree)?.lines().filter_map(crate_of).collect())
}

struct Crates<'a> {
    metadata: &'a Metadata,
    lock: &'a Lock,
    linked: BTreeSet<(String, String)>,
}

impl Crates<'_> {
    fn bill(&self, release: &Release, target: &Target) -> Result<Value> {
        let packages: BTreeMap<&str, &Package> = self
            .metadata
            .packages
            .iter()
            .filter(|package| self.linked.contains(&(package.name.clone(), package.version.clone())))
            .map(|package| (package.id.as_str(), package))
            .collect();
        if packages.len() != self.linked.len() {
            return Err(format!("{} crates are linked, cargo metadata has {}", self.linked.len(), packages.len()));
        }
        let own = packages.values().find(|package| package.name == "pullet").ok_or("cargo metadata has no pullet")?;
        let others = packages.values().filter(|package| package.name != "pullet");
        let mut components: Vec<Value> = others.map(|package| self.component(package, "library")).collect();
        components.push(json!({
            "type": "library",
            "bom-ref": "rust-std",
            "name": "rust-std",
            "version": target.compiler,
            "description": "The Rust standard library",
            "licenses": [{ "expression": "MIT OR Apache-2.0" }],
        }));
        components.sort_by_key(|component| component["bom-ref"].as_str().unwrap_or_default().to_owned());
        let mut application = self.component(own, "application");
        application["properties"] = json!([{ "name": "pullet:target", "value": target.triple }]);
        Ok(json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": { "timestamp": timestamp(release)?, "component": application },
            "components": components,
            "dependencies": self.edges(&packages),
        }))
    }

    fn component(&self, package: &Package, kind: &str) -> Value {
        let Package { name, version, description, license, repository, .. } = package;
        let mut value = json!({
            "type": kind,
            "bom-ref": purl(package),
            "name": name,
            "version": version,
            "purl": purl(package),
        });
        if let Some(text) = description {
            value["description"] = json!(text.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        if let Some(expression) = license {
            // Some crates separate licenses with a slash, as cargo allowed once.
            value["licenses"] = json!([{ "expression": expression.replace('/', " OR ") }]);
        }
        if let Some(url) = repository {
            value["externalReferences"] = json!([{ "type": "vcs", "url": url }]);
        }
        let locked = self.lock.package.iter().find(|locked| locked.name == *name && locked.version == *version);
        if let Some(sum) = locked.and_then(|locked| locked.checksum.as_ref()) {
            value["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        value
    }

    /// The crates on which each crate depends.
    fn edges(&self, packages: &BTreeMap<&str, &Package>) -> Vec<Value> {
        let mut edges = BTreeMap::new();
        for node in &self.metadata.resolve.nodes {
            let Some(package) = packages.get(node.id.as_str()) else { continue };
            let others = node.deps.iter().filter_map(|dependency| packages.get(dependency.pkg.as_str()));
            let others: BTreeSet<String> = others.map(|package| purl(package)).collect();
            edges.insert(purl(package), others);
        }
        edges.into_iter().map(|(name, others)| json!({ "ref": name, "dependsOn": others })).collect()
    }
}

/// The name of a crate in bills of materials (<https://github.com/package-url/purl-spec>).
fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version)
}

fn timestamp(release: &Release) -> Result<String> {
    let mut date = release.command("date");
    let text = shell::read(date.args(["--utc", "+%Y-%m-%dT%H:%M:%SZ", &format!("--date=@{}", release.epoch)]))?;
    Ok(text.trim().to_owned())
}

/// Fails if a field is missing that CycloneDX requires, or that a reader needs to find a crate or its license.
fn check(bill: &Value) -> Result {
    let own = &bill["metadata"]["component"];
    let components = bill["components"].as_array().ok_or("the bill of materials has no components")?;
    for component in components.iter().chain([own]) {
        for field in ["type", "name", "version", "bom-ref", "licenses"] {
            if component.get(field).is_none_or(Value::is_null) {
                return Err(format!("bill of materials: {} has no {field}", component["name"]));
            }
        }
        let is_crate = component.get("purl").is_some() && component["name"] != "pullet";
        if is_crate && component.get("hashes").is_none() {
            return Err(format!("bill of materials: {} has no hash", component["name"]));
        }
    }
    let names: BTreeSet<&str> =
        components.iter().chain([own]).filter_map(|component| component["bom-ref"].as_str()).collect();
    let edges = bill["dependencies"].as_array().ok_or("the bill of materials has no dependencies")?;
    for edge in edges {
        let others = edge["dependsOn"].as_array().into_iter().flatten().chain([&edge["ref"]]);
        if let Some(unknown) = others.filter_map(Value::as_str).find(|name| !names.contains(name)) {
            return Err(format!("bill of materials: {unknown} is not a component"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_missing_fields() {
        let full = json!({
            "metadata": { "component": { "type": "application", "name": "pullet", "version": "1", "bom-ref": "p",
                "licenses": [] } },
            "components": [{ "type": "library", "name": "a", "version": "1", "bom-ref": "a", "licenses": [],
                "purl": "pkg:cargo/a@1", "hashes": [] }],
            "dependencies": [{ "ref": "p", "dependsOn": ["a"] }],
        });
        assert_eq!(check(&full), Ok(()));
        let mut bill = full.clone();
        bill["components"][0]["licenses"] = Value::Null;
        assert_eq!(check(&bill), Err("bill of materials: \"a\" has no licenses".into()));
        let mut bill = full.clone();
        bill["components"][0].as_object_mut().unwrap().remove("hashes");
        assert_eq!(check(&bill), Err("bill of materials: \"a\" has no hash".into()));
        let mut bill = full;
        bill["dependencies"][0]["dependsOn"][0] = json!("b");
        assert_eq!(check(&bill), Err("bill of materials: b is not a component".into()));
    }
}
