//! Reads TOML configuration files member by member; errors begin with the line. The only file that uses the crate `toml`.
//! Members that no reader asks for are ignored, as the tools do that own these files.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A parsed file.
pub(super) struct Document<'i> {
    text: &'i str,
    root: Spanned<DeTable<'i>>,
}

/// A table of a document.
#[derive(Clone, Copy)]
pub(super) struct Table<'d> {
    text: &'d str,
    /// The position of the table in the text, in bytes.
    start: usize,
    members: &'d DeTable<'d>,
}

/// A member of a table: `None` if it is missing, an error if it has another type.
type Member<T> = Result<Option<T>, String>;

/// Parses a file. The crate bounds the nesting; the caller must bound the length.
pub(super) fn parse(text: &str) -> Result<Document<'_>, String> {
    match DeTable::parse(text) {
        Ok(root) => Ok(Document { text, root }),
        Err(e) => {
            let position = e.span().map_or(0, |span| span.start);
            Err(format!("line {}: {}", line(text, position), e.message()))
        }
    }
}

impl Document<'_> {
    pub(super) fn root(&self) -> Table<'_> {
        Table { text: self.text, start: 0, members: self.root.get_ref() }
    }
}

impl<'d> Table<'d> {
    /// Returns an error text with the line of this table.
    pub(super) fn error(&self, what: &str) -> String {
        format!("line {}: {what}", line(self.text, self.start))
    }

    pub(super) fn string(&self, key: &str) -> Member<&'d str> {
        self.member(key, "a string", |value| value.get_ref().as_str())
    }

    /// Returns a boolean, or false if it is missing.
    pub(super) fn flag(&self, key: &str) -> Result<bool, String> {
        Ok(self.member(key, "true or false", |value| value.get_ref().as_bool())?.unwrap_or(false))
    }

    pub(super) fn strings(&self, key: &str) -> Member<Vec<&'d str>> {
        self.member(key, "a list of strings", |value| strings(value.get_ref().as_array()?))
    }

    /// Returns a string or a list of strings, as a list.
    pub(super) fn string_or_strings(&self, key: &str) -> Member<Vec<&'d str>> {
        match self.members.get(key).and_then(|value| value.get_ref().as_str()) {
            Some(one) => Ok(Some(vec![one])),
            None => self.strings(key),
        }
    }

    /// Returns a string, a list of strings, or a list of lists of strings, as a list of lists.
    pub(super) fn string_lists(&self, key: &str) -> Member<Vec<Vec<&'d str>>> {
        self.member(key, "a file, a list of files or a list of pairs", |value| match value.get_ref() {
            DeValue::String(one) => Some(vec![vec![one.as_ref()]]),
            DeValue::Array(list) => list.iter().map(string_or_strings).collect(),
            _ => None,
        })
    }

    pub(super) fn table(&self, key: &str) -> Member<Table<'d>> {
        let text = self.text;
        self.member(key, "a table", |value| {
            let members = value.get_ref().as_table()?;
            Some(Table { text, start: value.span().start, members })
        })
    }

    /// Returns the tables of `[[key]]`; none if it is missing.
    pub(super) fn tables(&self, key: &str) -> Result<Vec<Table<'d>>, String> {
        let text = self.text;
        let found = self.member(key, "a list of tables", |value| {
            let table = |one: &'d Spanned<DeValue<'d>>| {
                Some(Table { text, start: one.span().start, members: one.get_ref().as_table()? })
            };
            value.get_ref().as_array()?.iter().map(table).collect()
        })?;
        Ok(found.unwrap_or_default())
    }

    /// Returns the names of the members in the order of the file. The parser sorts them by name.
    pub(super) fn keys(&self) -> Vec<&'d str> {
        let mut keys: Vec<_> = self.members.iter().map(|(key, _)| (key.span().start, key.get_ref().as_ref())).collect();
        keys.sort_unstable_by_key(|(start, _)| *start);
        keys.into_iter().map(|(_, key)| key).collect()
    }

    /// Returns what `read` makes of a member. If it returns `None`, the member is not what was `expected`.
    fn member<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'d Spanned<DeValue<'d>>) -> Option<T>,
    ) -> Member<T> {
        let Some(value) = self.members.get(key) else { return Ok(None) };
        match read(value) {
            Some(found) => Ok(Some(found)),
            None => Err(format!("line {}: \"{key}\" is not {expected}", line(self.text, value.span().start))),
        }
    }
}

/// Returns the strings of a list, or `None` if it has other members.
fn strings<'d>(list: &'d DeArray<'d>) -> Option<Vec<&'d str>> {
    list.iter().map(|item| item.get_ref().as_str()).collect()
}

fn string_or_strings<'d>(value: &'d Spanned<DeValue<'d>>) -> Option<Vec<&'d str>> {
    match value.get_ref() {
        DeValue::String(one) => Some(vec![one.as_ref()]),
        DeValue::Array(list) => strings(list),
        _ => None,
    }
}

/// Returns the number of the line with the byte at `position`, counted from 1.
fn line(text: &str, position: usize) -> usize {
    1 + text.bytes().take(position).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_members_and_reports_lines() {
        let text = "a = 'x'\nb = true\nc = ['p', \"q\"]\n[t]\nz = 1\n[t.\"https://k\"]\n[t.a]\n[[l]]\nn = 'one'\n[[l]]\nn = 2\n";
        let document = parse(text).unwrap();
        let root = document.root();
        assert_eq!(root.string("a"), Ok(Some("x")));
        assert_eq!((root.flag("b"), root.flag("none")), (Ok(true), Ok(false)));
        assert_eq!(root.strings("c"), Ok(Some(vec!["p", "q"])));
        assert_eq!(root.string_or_strings("a"), Ok(Some(vec!["x"])));
        assert_eq!(root.table("t").unwrap().unwrap().keys(), ["z", "https://k", "a"]);
        let list = root.tables("l").unwrap();
        assert_eq!(list[0].string("n"), Ok(Some("one")));
        assert_eq!(list[1].string("n"), Err("line 11: \"n\" is not a string".to_owned()));
        assert_eq!(root.flag("a"), Err("line 1: \"a\" is not true or false".to_owned()));
        assert_eq!(root.strings("t").unwrap_err(), "line 4: \"t\" is not a list of strings");
        assert!(root.tables("c").is_err() && root.table("a").is_err());
    }

    #[test]
    fn rejects_malformed_toml_with_the_line() {
        for (text, expected) in [
            ("a = \n", "line 1: "),
            ("a = 1\n\n[b\n", "line 3: "),
            ("a = 1\na = 2\n", "line 2: "),
            ("x = '\u{1b}'\n", "line 1: "),
            (&format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000)), "line 1: "),
            (&format!("{}a = 1", "a.".repeat(100_000)), "line 1: "),
        ] {
            let why = parse(text).err().unwrap_or_default();
            assert!(why.starts_with(expected), "{text:.20}: {why}");
        }
    }
}
