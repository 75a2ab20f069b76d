//! Progress as JSON: one object a line. `docs/events.md` documents it, and `docs/events.schema.json` holds it.

use std::path::Path;

use pullet::{Digest, Event, Image, Layer, LayerState};
use serde_json::Value;

use crate::exit::Failure;

/// The number of the schema. It changes when a program that reads the events must change.
const SCHEMA: u64 = 1;

/// What a command made or found, for programs that run it. Members are `None` where the command has nothing to say.
#[derive(Clone, Copy, Default)]
pub(crate) struct Outcome<'a> {
    /// The name of the image, artifact or blob.
    pub(crate) name: Option<&'a str>,
    /// The digest that the name resolved to.
    pub(crate) digest: Option<&'a Digest>,
    /// The digest of the image's config.
    pub(crate) image_id: Option<&'a Digest>,
    /// False if everything was up to date.
    pub(crate) is_new: Option<bool>,
    /// Where the result is.
    pub(crate) path: Option<&'a Path>,
    /// Its size.
    pub(crate) bytes: Option<u64>,
}

impl<'a> Outcome<'a> {
    /// An image in the store. Its size is that of its config and layers.
    pub(crate) fn of_image(image: &'a Image) -> Self {
        Self {
            name: Some(image.name()).filter(|name| !name.is_empty()),
            digest: Some(image.digest()),
            image_id: Some(image.id()),
            bytes: Some(image.size()),
            ..Self::default()
        }
    }
}

/// An object with its members in their order.
struct Object(String);

impl Object {
    fn new(event: &str) -> Self {
        Self(format!("{{\"event\":\"{event}\""))
    }

    /// Adds a member whose value is JSON.
    fn raw(mut self, name: &str, json: &str) -> Self {
        for part in [if self.0.len() > 1 { ",\"" } else { "\"" }, name, "\":", json] {
            self.0.push_str(part);
        }
        self
    }

    fn text(self, name: &str, text: &str) -> Self {
        self.raw(name, &Value::from(text).to_string())
    }

    fn number(self, name: &str, number: u64) -> Self {
        self.raw(name, &number.to_string())
    }

    fn flag(self, name: &str, flag: bool) -> Self {
        self.raw(name, if flag { "true" } else { "false" })
    }

    fn optional(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self.raw(name, "null"),
        }
    }

    fn layer(self, layer: Layer) -> Self {
        self.number("layer", layer.index as u64 + 1)
            .number("layers", layer.total as u64)
            .text("digest", &layer.digest.to_string())
            .number("size", layer.size)
    }

    fn line(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

/// The first line.
pub(super) fn start(command: Option<&str>) -> String {
    let start = Object::new("start").number("schema", SCHEMA).text("version", env!("CARGO_PKG_VERSION"));
    start.optional("command", command).line()
}

/// The line for an event.
pub(super) fn event(event: Event<'_>) -> Option<String> {
    let object = match event {
        Event::Answered { method, url, status, .. } => {
            Object::new("request").text("method", method).text("url", url).number("status", status.into())
        }
        Event::Pulling { label, path, .. } => Object::new("pulling").text("label", label).text("path", path),
        Event::Plan { layers, size, missing, bytes, kept, is_resumable, .. } => Object::new("plan")
            .number("layers", layers as u64)
            .number("size", size)
            .number("missing", missing as u64)
            .number("bytes", bytes)
            .number("kept", kept)
            .flag("resumable", is_resumable),
        Event::Layer { layer, state, .. } => {
            let (word, current) = match state {
                LayerState::Waiting => ("waiting", 0),
                LayerState::Downloading(count) => ("downloading", count),
                LayerState::Exists => ("exists", layer.size),
                _ => ("complete", layer.size),
            };
            Object::new("layer").text("state", word).number("current", current).layer(layer)
        }
        Event::Unpacking { layer, read, .. } => Object::new("unpack").number("current", read).layer(layer),
        Event::Configured { what, from, .. } => Object::new("configured").text("what", what).text("from", from),
        Event::Note(text) => Object::new("note").text("text", text),
        Event::Warning(text) => Object::new("warning").text("text", text),
        #[cfg(feature = "manage")]
        Event::Watch { digest, state, .. } => {
            Object::new("watch").text("digest", &digest.to_string()).text("state", super::watch::word(state))
        }
        Event::Retry { reason, wait, attempt, retries, .. } => Object::new("retry")
            .text("reason", reason)
            .raw("wait", &wait.as_secs_f64().to_string())
            .number("attempt", attempt.into())
            .number("retries", retries.into()),
        _ => return None,
    };
    Some(object.line())
}

/// An element of the results in the last line.
pub(super) fn result(outcome: &Outcome<'_>) -> String {
    let digest = |digest: Option<&Digest>| digest.map(Digest::to_string);
    let is_new = match outcome.is_new {
        Some(true) => "true",
        Some(false) => "false",
        None => "null",
    };
    let mut object = Object("{".to_owned())
        .optional("name", outcome.name)
        .optional("digest", digest(outcome.digest).as_deref())
        .optional("image_id", digest(outcome.image_id).as_deref())
        .raw("is_new", is_new)
        .optional("path", outcome.path.map(Path::to_string_lossy).as_deref())
        .raw("bytes", &outcome.bytes.map_or("null".to_owned(), |bytes| bytes.to_string()));
    object.0.push('}');
    object.0
}

/// The last line, with the results of the commands that have some.
pub(super) fn end(failure: Option<&Failure>, hint: Option<&str>, results: &str) -> String {
    Object::new("end")
        .number("code", failure.map_or(0, Failure::code).into())
        .text("word", failure.map_or("ok", Failure::word))
        .flag("retry", failure.is_some_and(Failure::is_transient))
        .optional("error", failure.and_then(Failure::lines).map(|(text, _)| text))
        .optional("hint", hint)
        .raw("results", &format!("[{results}]"))
        .line()
}
