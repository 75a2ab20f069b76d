//! The `config.json` of an OCI runtime bundle (runtime-spec, config.md), made from an image config by the rules of the
//! image-spec (conversion.md). What an image does not decide is as `runc spec` and umoci write it.

use serde_json::{Map, Value, json};

use super::json::{member, parse, pretty};
use crate::error::{Error, ErrorKind, Result};

/// The part that no image changes. The process has no terminal, because a service manager has none to give.
const TEMPLATE: &str = include_str!("runtime.json");
/// The first components of paths that belong to the kernel. A volume there would hide what the runtime mounts.
const KERNEL_FOLDERS: [&str; 3] = ["proc", "sys", "dev"];

/// The user of a container's process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessUser {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// The home folder; empty if it is not known.
    pub(crate) home: String,
}

/// The IDs outside of the container to which the root of a rootless container is mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rootless {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The members of an image config that a bundle needs.
pub(crate) struct RuntimeConfig {
    image: Map<String, Value>,
    /// The member `config`.
    execution: Map<String, Value>,
}

impl RuntimeConfig {
    /// Parses an image config.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let image: Map<String, Value> = parse(bytes).map_err(|e| malformed(&e))?;
        let execution = member(&image, "config").and_then(Value::as_object).cloned().unwrap_or_default();
        Ok(Self { image, execution })
    }

    /// The user as the image names it: `USER[:GROUP]`, names or numbers; may be empty.
    pub(crate) fn user(&self) -> &str {
        text(&self.execution, "User")
    }

    /// Returns the text of `config.json`. A rootless bundle runs in a user namespace and needs no rights. Fails if the
    /// config is malformed, or has a volume that would hide a folder of the kernel.
    pub(crate) fn to_bundle(&self, user: &ProcessUser, rootless: Option<Rootless>) -> Result<String> {
        let mut bundle: Map<String, Value> = parse(TEMPLATE.as_bytes()).map_err(|e| internal(&e))?;
        bundle.insert("annotations".to_owned(), Value::Object(self.annotations()?));
        let process = bundle.get_mut("process").and_then(Value::as_object_mut).ok_or_else(|| internal(&"process"))?;
        self.set_process(process, user, rootless)?;
        let mounts = bundle.get_mut("mounts").and_then(Value::as_array_mut).ok_or_else(|| internal(&"mounts"))?;
        if rootless.is_some() {
            mounts.retain(|mount| !matches!(text_of(mount, "type"), "cgroup" | "sysfs"));
            remove_group_of_terminals(mounts);
            let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
            mounts.push(json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": options }));
        }
        for volume in names(&self.execution, "Volumes")? {
            let options = ["rw", "nosuid", "nodev", "noexec", "relatime"];
            let destination = volume_path(volume)?;
            mounts.push(json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options }));
        }
        let linux = bundle.get_mut("linux").and_then(Value::as_object_mut).ok_or_else(|| internal(&"linux"))?;
        if let Some(rootless) = rootless {
            make_rootless(linux, rootless)?;
        }
        let text = Value::Object(bundle).to_string();
        pretty(text.as_bytes()).map_err(|e| internal(&e))
    }

    fn set_process(
        &self,
        process: &mut Map<String, Value>,
        user: &ProcessUser,
        rootless: Option<Rootless>,
    ) -> Result<()> {
        let mut args = strings(&self.execution, "Entrypoint")?;
        args.extend(strings(&self.execution, "Cmd")?);
        if !args.is_empty() {
            process.insert("args".to_owned(), json!(args));
        }
        let mut env = strings(&self.execution, "Env")?;
        let has = |env: &[&str], name: &str| env.iter().any(|pair| pair.split('=').next() == Some(name));
        let home = format!("HOME={}", user.home);
        if !user.home.is_empty() && !has(&env, "HOME") {
            env.push(&home);
        }
        if !has(&env, "PATH") {
            env.insert(0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        }
        process.insert("env".to_owned(), json!(env));
        // Docker takes a relative folder as one below the root.
        let folder = format!("/{}", text(&self.execution, "WorkingDir").trim_start_matches('/'));
        process.insert("cwd".to_owned(), folder.into());
        let mut ids = json!({ "uid": user.uid, "gid": user.gid });
        // An ordinary user cannot set groups, so a rootless container has none.
        if !user.groups.is_empty()
            && rootless.is_none()
            && let Some(ids) = ids.as_object_mut()
        {
            ids.insert("additionalGids".to_owned(), json!(user.groups));
        }
        process.insert("user".to_owned(), ids);
        Ok(())
    }

    /// The annotations: those that conversion.md derives from the config, and the labels, which take precedence.
    fn annotations(&self) -> Result<Map<String, Value>> {
        let mut annotations = Map::new();
        let mut add = |name: &str, value: &str| {
            if !value.is_empty() {
                annotations.insert(format!("org.opencontainers.image.{name}"), value.into());
            }
        };
        for name in ["os", "architecture", "variant", "author", "created"] {
            add(name, text(&self.image, name));
        }
        add("stopSignal", text(&self.execution, "StopSignal"));
        add("exposedPorts", &names(&self.execution, "ExposedPorts")?.join(","));
        if let Some(labels) = member(&self.execution, "Labels") {
            let labels = labels.as_object().ok_or_else(|| malformed(&"Labels is not an object"))?;
            for (name, value) in labels.iter().filter(|(_, value)| value.is_string()) {
                annotations.insert(name.clone(), value.clone());
            }
        }
        Ok(annotations)
    }
}

/// A rootless container has no group for terminals, because the namespace has only one group.
fn remove_group_of_terminals(mounts: &mut [Value]) {
    for options in mounts.iter_mut().filter_map(|mount| mount.get_mut("options")?.as_array_mut()) {
        options.retain(|option| option != "gid=5");
    }
}

/// Adds the user namespace and takes away what an ordinary user may not have: cgroups and a network namespace.
fn make_rootless(linux: &mut Map<String, Value>, rootless: Rootless) -> Result<()> {
    let mapping = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    linux.remove("resources");
    linux.insert("uidMappings".to_owned(), mapping(rootless.uid));
    linux.insert("gidMappings".to_owned(), mapping(rootless.gid));
    let namespaces = linux.get_mut("namespaces").and_then(Value::as_array_mut);
    let namespaces = namespaces.ok_or_else(|| internal(&"namespaces"))?;
    namespaces.retain(|namespace| text_of(namespace, "type") != "network");
    namespaces.push(json!({ "type": "user" }));
    Ok(())
}

/// The path at which a volume is mounted.
fn volume_path(volume: &str) -> Result<String> {
    let components: Vec<&str> = volume.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    let is_reserved = components.first().is_none_or(|first| KERNEL_FOLDERS.contains(first));
    if is_reserved || components.contains(&"..") {
        return Err(Error::new(ErrorKind::Unsafe, format!("unsafe volume \"{volume}\" in the image config")));
    }
    Ok(format!("/{}", components.join("/")))
}

/// A member with a text; empty if it is missing.
fn text<'a>(members: &'a Map<String, Value>, name: &str) -> &'a str {
    member(members, name).and_then(Value::as_str).unwrap_or_default()
}

fn text_of<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A member with a list of texts; empty if it is missing.
fn strings<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Vec<&'a str>> {
    let Some(value) = member(members, name) else { return Ok(Vec::new()) };
    let not_texts = || malformed(&format!("{name} is not a list of texts"));
    let values = value.as_array().ok_or_else(not_texts)?;
    values.iter().map(|value| value.as_str().ok_or_else(not_texts)).collect()
}

/// The names of the members of an object, sorted; none if it is missing.
fn names<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Vec<&'a str>> {
    let Some(value) = member(members, name) else { return Ok(Vec::new()) };
    let object = value.as_object().ok_or_else(|| malformed(&format!("{name} is not an object")))?;
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    names.sort_unstable();
    Ok(names)
}

fn malformed(why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsafe, format!("malformed image config: {why}"))
}

fn internal(why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, format!("write config.json: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(config: &str, user: &ProcessUser, rootless: Option<Rootless>) -> Result<Value> {
        let text = RuntimeConfig::parse(config.as_bytes())?.to_bundle(user, rootless)?;
        serde_json::from_str(&text).map_err(|e| panic!("{e}"))
    }

    #[test]
    fn the_config_decides_process_annotations_and_volumes() {
        let config = r#"{"os":"linux","architecture":"arm","author":null,"created":"2020","config":{
            "entrypoint":["/e"],"Cmd":["a","b"],"Env":["PATH=/bin","X"],"WorkingDir":"srv","StopSignal":"SIGINT",
            "ExposedPorts":{"80/tcp":{},"53/udp":{}},"Labels":{"org.opencontainers.image.os":"mine","n":null},
            "Volumes":{"/var//data/":{}}}}"#;
        let user = ProcessUser { uid: 7, gid: 8, groups: vec![9], home: "/h".to_owned() };
        let made = bundle(config, &user, None).unwrap_or_else(|e| panic!("{e}"));
        let process = &made["process"];
        assert_eq!(process["args"], json!(["/e", "a", "b"]));
        assert_eq!(process["env"], json!(["PATH=/bin", "X", "HOME=/h"]));
        assert_eq!((&process["cwd"], &process["user"]["additionalGids"]), (&json!("/srv"), &json!([9])));
        let annotations = json!({
            "org.opencontainers.image.os": "mine",
            "org.opencontainers.image.architecture": "arm",
            "org.opencontainers.image.created": "2020",
            "org.opencontainers.image.stopSignal": "SIGINT",
            "org.opencontainers.image.exposedPorts": "53/udp,80/tcp",
        });
        assert_eq!(made["annotations"], annotations);
        let last = made["mounts"].as_array().and_then(|mounts| mounts.last());
        assert_eq!(last.map(|mount| &mount["destination"]), Some(&json!("/var/data")));
    }

    #[test]
    fn a_config_without_a_process_gets_a_shell() {
        let made = bundle("{}", &ProcessUser::default(), None).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((&made["process"]["args"], &made["process"]["cwd"]), (&json!(["sh"]), &json!("/")));
        assert_eq!(made["annotations"], json!({}));
    }

    #[test]
    fn refuses_malformed_configs_and_volumes_of_the_kernel() {
        for member in [
            r#""Cmd":"sh""#,
            r#""Env":[1]"#,
            r#""Labels":[]"#,
            r#""Volumes":["/a"]"#,
            r#""Volumes":{"/":{}}"#,
            r#""Volumes":{"/proc":{}}"#,
            r#""Volumes":{"//./sys/fs":{}}"#,
            r#""Volumes":{"/a/../proc":{}}"#,
        ] {
            let made = bundle(&format!("{{\"config\":{{{member}}}}}"), &ProcessUser::default(), None);
            assert_eq!(made.map_err(|e| e.kind()), Err(ErrorKind::Unsafe), "{member}");
        }
    }
}
