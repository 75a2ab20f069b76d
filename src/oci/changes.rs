//! Changes to an image config in Dockerfile's words, as `docker import --change` takes them, and the config and manifest of
//! an imported image.

use serde_json::{Map, Value, json};

use super::platform::Platform;
use crate::date::format_rfc_3339;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};

/// One more than the largest port.
const PORTS: u32 = 65_536;

/// The member `config` of an image config.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes(Map<String, Value>);

/// What the config of an imported image has.
pub(crate) struct ImportedConfig<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) changes: &'a Changes,
    pub(crate) diff_id: Digest,
    /// Seconds since 1970.
    pub(crate) created: Option<i64>,
    pub(crate) message: &'a str,
}

impl ImportedConfig<'_> {
    /// The text of the config.
    pub(crate) fn text(&self) -> String {
        let mut step = json!({ "comment": self.message });
        let mut config = json!({
            "os": self.platform.os(),
            "architecture": self.platform.architecture(),
            "config": self.changes.0,
            "rootfs": { "type": "layers", "diff_ids": [self.diff_id.to_string()] },
        });
        if !self.platform.variant().is_empty() {
            insert(&mut config, "variant", self.platform.variant().into());
        }
        if let Some(created) = self.created {
            let created = format_rfc_3339(created);
            insert(&mut config, "created", created.clone().into());
            insert(&mut step, "created", created.into());
        }
        insert(&mut config, "history", json!([step]));
        config.to_string()
    }
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

impl Changes {
    /// Applies one instruction. Fails with [`ErrorKind::Usage`] for one that is malformed or does not describe an image.
    pub(crate) fn apply(&mut self, instruction: &str) -> Result<()> {
        self.apply_words(instruction.trim())
            .map_err(|why| Error::new(ErrorKind::Usage, format!("invalid change \"{instruction}\": {why}")))
    }

    fn apply_words(&mut self, instruction: &str) -> std::result::Result<(), String> {
        let (word, rest) = instruction.split_once(char::is_whitespace).unwrap_or((instruction, ""));
        let rest = rest.trim();
        if rest.is_empty() {
            return Err("it has no argument".to_owned());
        }
        match word.to_ascii_uppercase().as_str() {
            "CMD" => self.set("Cmd", command(rest)),
            "ENTRYPOINT" => self.set("Entrypoint", command(rest)),
            "ENV" => return self.set_env(rest),
            "LABEL" => {
                for (key, value) in pairs(rest)? {
                    self.add("Labels", key, value.into());
                }
            }
            "USER" => self.set("User", one_word(rest)?.into()),
            "WORKDIR" => self.set_folder(&one_word(rest)?),
            "EXPOSE" => {
                for word in words(rest)? {
                    self.expose(&word)?;
                }
            }
            "VOLUME" => {
                let volumes = match exec_form(rest) {
                    Some(volumes) => volumes,
                    None => words(rest)?,
                };
                for volume in volumes {
                    self.add("Volumes", volume, json!({}));
                }
            }
            _ => {
                let known = "CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME or WORKDIR";
                return Err(format!("expected {known}"));
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// Adds a key to the member of this name, which is an object.
    fn add(&mut self, name: &str, key: String, value: Value) {
        let member = self.0.entry(name).or_insert_with(|| json!({}));
        insert(member, &key, value);
    }

    /// A later value of a variable replaces an earlier one in its place.
    fn set_env(&mut self, rest: &str) -> std::result::Result<(), String> {
        let mut env: Vec<String> = Vec::new();
        for value in self.0.get("Env").and_then(Value::as_array).into_iter().flatten() {
            env.extend(value.as_str().map(str::to_owned));
        }
        for (key, value) in pairs(rest)? {
            let entry = format!("{key}={value}");
            match env.iter_mut().find(|known| known.split_once('=').is_some_and(|(name, _)| name == key)) {
                Some(known) => *known = entry,
                None => env.push(entry),
            }
        }
        self.set("Env", json!(env));
        Ok(())
    }

    /// A relative folder is below the last one.
    fn set_folder(&mut self, folder: &str) {
        let before = self.0.get("WorkingDir").and_then(Value::as_str).unwrap_or("/");
        let folder = if folder.starts_with('/') {
            folder.to_owned()
        } else {
            format!("{}/{folder}", before.trim_end_matches('/'))
        };
        self.set("WorkingDir", folder.into());
    }

    /// `PORT[-PORT][/PROTOCOL]`.
    fn expose(&mut self, word: &str) -> std::result::Result<(), String> {
        let invalid = || format!("\"{word}\" is not PORT[-PORT][/tcp|udp|sctp]");
        let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(invalid());
        }
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| text.parse::<u32>().ok().filter(|port| (1..PORTS).contains(port));
        let (Some(first), Some(last)) = (port(first), port(last)) else { return Err(invalid()) };
        if first > last {
            return Err(invalid());
        }
        for port in first..=last {
            self.add("ExposedPorts", format!("{port}/{protocol}"), json!({}));
        }
        Ok(())
    }
}

/// A command in exec form, a JSON list of strings, or in shell form.
fn command(text: &str) -> Value {
    match exec_form(text) {
        Some(words) => json!(words),
        None => json!(["/bin/sh", "-c", text]),
    }
}

fn exec_form(text: &str) -> Option<Vec<String>> {
    serde_json::from_slice(text.as_bytes()).ok()
}

fn one_word(text: &str) -> std::result::Result<String, String> {
    match <[String; 1]>::try_from(words(text)?) {
        Ok([word]) => Ok(word),
        Err(_) => Err("expected one word".to_owned()),
    }
}

/// `KEY=VALUE …`, or `KEY VALUE` with everything behind the key as the value.
fn pairs(text: &str) -> std::result::Result<Vec<(String, String)>, String> {
    let all = words(text)?;
    if let Some(key) = all.first().filter(|key| !key.contains('=')) {
        let (_, value) = text.split_once(char::is_whitespace).ok_or("expected KEY=VALUE")?;
        return Ok(vec![(key.clone(), words(value)?.join(" "))]);
    }
    let mut pairs = Vec::new();
    for word in all {
        match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => pairs.push((key.to_owned(), value.to_owned())),
            _ => return Err("expected KEY=VALUE".to_owned()),
        }
    }
    Ok(pairs)
}

/// Splits words at blanks. Quotes and backslashes keep blanks, as in a Dockerfile. Variables are refused, because there is no
/// base image that would have values for them.
fn words(text: &str) -> std::result::Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('$', None | Some('"')) => return Err("variables are not replaced; write \\$ for a dollar sign".to_owned()),
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(chars.next()),
            (c, Some(end)) if c == end => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(instructions: &[&str]) -> std::result::Result<String, ErrorKind> {
        let mut changes = Changes::default();
        for instruction in instructions {
            changes.apply(instruction).map_err(|e| e.kind())?;
        }
        Ok(Value::Object(changes.0).to_string())
    }

    #[test]
    fn applies_each_instruction_in_both_forms() {
        for (instructions, expected) in [
            (&[r#"CMD ["/bin/a", "b c"]"#][..], r#"{"Cmd":["/bin/a","b c"]}"#),
            (&["cmd echo $HOME"], r#"{"Cmd":["/bin/sh","-c","echo $HOME"]}"#),
            (&[r#"ENTRYPOINT ["a"]"#, "CMD b"], r#"{"Cmd":["/bin/sh","-c","b"],"Entrypoint":["a"]}"#),
            (&["ENV A=1 B=\"x y\" C='$z' D=\\$", "ENV A=2"], r#"{"Env":["A=2","B=x y","C=$z","D=$"]}"#),
            (&["ENV A one two"], r#"{"Env":["A=one two"]}"#),
            (&["LABEL a.b=c \"d e\"=f"], r#"{"Labels":{"a.b":"c","d e":"f"}}"#),
            (&["USER 1000:1000"], r#"{"User":"1000:1000"}"#),
            (&["WORKDIR /a", "WORKDIR b"], r#"{"WorkingDir":"/a/b"}"#),
            (
                &["EXPOSE 80 53/udp 8000-8001"],
                r#"{"ExposedPorts":{"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{}}}"#,
            ),
            (&["VOLUME /a /b"], r#"{"Volumes":{"/a":{},"/b":{}}}"#),
            (&[r#"VOLUME ["/a b"]"#], r#"{"Volumes":{"/a b":{}}}"#),
        ] {
            assert_eq!(changed(instructions).as_deref(), Ok(expected), "{instructions:?}");
        }
    }

    #[test]
    fn refuses_other_instructions_and_malformed_ones() {
        for bad in [
            "",
            "CMD",
            "RUN true",
            "FROM x",
            "ENV A",
            "ENV =b",
            "ENV A=$B",
            "ENV A=\"b",
            "USER a b",
            "WORKDIR $X",
            "EXPOSE x",
            "EXPOSE 0",
            "EXPOSE 65536",
            "EXPOSE 2-1",
            "EXPOSE 80/icmp",
            "LABEL a=b c",
        ] {
            assert_eq!(changed(&[bad]), Err(ErrorKind::Usage), "{bad}");
        }
    }
}
