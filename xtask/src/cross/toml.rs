//! The part of TOML that cross.toml is written in: tables, and keys whose values are strings, integers or lists of
//! strings. What is more than that is an error with its line, and so is a key that stands twice.

use std::collections::BTreeMap;

use crate::Result;

/// Tables by their whole name, as `pullet.target.x`, in the order of names.
pub type Document = BTreeMap<String, Table>;

/// The keys of one table.
pub type Table = BTreeMap<String, Value>;

#[derive(Debug, PartialEq)]
pub enum Value {
    Text(String),
    Number(u64),
    List(Vec<String>),
}

pub fn parse(text: &str) -> Result<Document> {
    let mut document = Document::new();
    let mut table = String::new();
    for (number, line) in text.lines().enumerate() {
        take_line(line.trim(), &mut document, &mut table).map_err(|why| format!("line {}: {why}", number + 1))?;
    }
    Ok(document)
}

fn take_line(line: &str, document: &mut Document, table: &mut String) -> Result {
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    if let Some(name) = line.strip_prefix('[') {
        let name = name.strip_suffix(']').filter(|name| name.split('.').all(is_bare)).ok_or("malformed table")?;
        *table = name.to_owned();
        return match document.insert(name.to_owned(), Table::new()) {
            None => Ok(()),
            Some(_) => Err(format!("[{name}] stands there twice")),
        };
    }
    let (key, rest) = line.split_once('=').ok_or("neither a table nor a key with its value")?;
    let key = Some(key.trim()).filter(|key| is_bare(key)).ok_or("malformed key")?;
    let (value, rest) = value(rest.trim())?;
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err(format!("\"{rest}\" behind the value of {key}"));
    }
    let keys = document.get_mut(table).ok_or_else(|| format!("{key} is in no table"))?;
    match keys.insert(key.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(format!("{key} stands there twice")),
    }
}

/// A value and what stands behind it.
fn value(text: &str) -> Result<(Value, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        return list(rest.trim_start(), Vec::new());
    }
    if text.starts_with(['"', '\'']) {
        return string(text).map(|(string, rest)| (Value::Text(string), rest));
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let number = digits.replace('_', "").parse().map_err(|_| format!("\"{text}\" is no string, integer or list"))?;
    Ok((Value::Number(number), rest.trim_start()))
}

fn list(text: &str, mut items: Vec<String>) -> Result<(Value, &str)> {
    if let Some(rest) = text.strip_prefix(']') {
        return Ok((Value::List(items), rest.trim_start()));
    }
    let (item, rest) = string(text)?;
    items.push(item);
    match rest.strip_prefix(',') {
        Some(rest) => list(rest.trim_start(), items),
        None if rest.starts_with(']') => list(rest, items),
        None => Err("a list that does not end on its line".into()),
    }
}

/// A literal string in single quotes, or a basic one without escapes.
fn string(text: &str) -> Result<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or("a string in quotes is expected")?;
    let (string, rest) = text[1..].split_once(quote).ok_or("a string without its end")?;
    if quote == '"' && string.contains('\\') {
        return Err("escapes are not read".into());
    }
    Ok((string.to_owned(), rest.trim_start()))
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read() {
        let document =
            parse("# x\n[a.b-c]\nk = \"v # w\" # y\nn = 1_677_721\nl = [\"a\", \"b\"]\ne = []\nq = 'a\"\\'\n\n[d]\n")
                .unwrap();
        let table = &document["a.b-c"];
        assert_eq!(table["k"], Value::Text("v # w".into()));
        assert_eq!(table["n"], Value::Number(1_677_721));
        assert_eq!(table["l"], Value::List(vec!["a".into(), "b".into()]));
        assert_eq!(table["e"], Value::List(Vec::new()));
        assert_eq!(table["q"], Value::Text("a\"\\".into()));
        assert!(document["d"].is_empty());
    }

    #[test]
    fn what_is_refused() {
        for (text, expected) in [
            ("k = 1", "line 1: k is in no table"),
            ("[a]\n\nk", "line 3: neither a table nor a key with its value"),
            ("[a\n", "line 1: malformed table"),
            ("[[a]]", "line 1: malformed table"),
            ("[a]\n[a]", "line 2: [a] stands there twice"),
            ("[a]\nk = 1\nk = 1", "line 3: k stands there twice"),
            ("[a]\nk k = 1", "line 2: malformed key"),
            ("[a]\nk = \"x", "line 2: a string without its end"),
            ("[a]\nk = \"x\\n\"", "line 2: escapes are not read"),
            ("[a]\nk = true", "line 2: \"true\" is no string, integer or list"),
            ("[a]\nk = -1", "line 2: \"-1\" is no string, integer or list"),
            ("[a]\nk = 1 2", "line 2: \"2\" behind the value of k"),
            ("[a]\nk = [\"a\",", "line 2: a string in quotes is expected"),
            ("[a]\nk = [\"a\"", "line 2: a list that does not end on its line"),
            ("[a]\nk =", "line 2: \"\" is no string, integer or list"),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
