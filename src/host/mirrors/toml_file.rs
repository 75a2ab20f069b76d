//! TOML as configuration files have it: parsed whole, read member by member, with the line in every complaint. The only
//! file that names the crate toml. What a reader does not ask for is passed over, as by the tools whose files these are.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A parsed file.
pub(super) struct Document<'i> {
    text: &'i str,
    root: Spanned<DeTable<'i>>,
}

/// One table of it.
#[derive(Clone, Copy)]
pub(super) struct Table<'d> {
    text: &'d str,
    start: usize,
    members: &'d DeTable<'d>,
}

type Found<T> = Result<Option<T>, String>;

/// Parses all of `text`. The nesting is bounded by the crate, the length by who read the file.
pub(super) fn parse(text: &str) -> Result<Document<'_>, String> {
    let root = DeTable::parse(text)
        .map_err(|e| format!("line {}: {}", line(text, e.span().map_or(0, |span| span.start)), e.message()))?;
    Ok(Document { text, root })
}

impl Document<'_> {
    pub(super) fn root(&self) -> Table<'_> {
        Table { text: self.text, start: 0, members: self.root.get_ref() }
    }
}

impl<'d> Table<'d> {
    /// A complaint about this table as a whole.
    pub(super) fn complaint(&self, what: &str) -> String {
        format!("line {}: {what}", line(self.text, self.start))
    }

    pub(super) fn string(&self, key: &str) -> Found<&'d str> {
        self.member(key, "a string", |value| value.get_ref().as_str())
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, String> {
        Ok(self.member(key, "true or false", |value| value.get_ref().as_bool())?.unwrap_or(false))
    }

    pub(super) fn strings(&self, key: &str) -> Found<Vec<&'d str>> {
        self.member(key, "a list of strings", |value| {
            value.get_ref().as_array().and_then(|list| list.iter().map(|one| one.get_ref().as_str()).collect())
        })
    }

    /// A string, or a list of them.
    pub(super) fn string_or_strings(&self, key: &str) -> Found<Vec<&'d str>> {
        match self.members.get(key).and_then(|value| value.get_ref().as_str()) {
            Some(one) => Ok(Some(vec![one])),
            None => self.strings(key),
        }
    }

    /// A string, a list of strings, or a list of lists of strings: each as a list.
    pub(super) fn string_lists(&self, key: &str) -> Found<Vec<Vec<&'d str>>> {
        let strings = |list: &'d DeArray<'d>| list.iter().map(|one| one.get_ref().as_str()).collect::<Option<Vec<_>>>();
        self.member(key, "a file, a list of files or a list of pairs", |value| match value.get_ref() {
            DeValue::String(one) => Some(vec![vec![one.as_ref()]]),
            DeValue::Array(list) => list
                .iter()
                .map(|one| match one.get_ref() {
                    DeValue::String(one) => Some(vec![one.as_ref()]),
                    DeValue::Array(pair) => strings(pair),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    pub(super) fn table(&self, key: &str) -> Found<Table<'d>> {
        let text = self.text;
        self.member(key, "a table", |value| {
            let members = value.get_ref().as_table()?;
            Some(Table { text, start: value.span().start, members })
        })
    }

    /// `[[key]]`.
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

    /// The names of the members in the order in which the file has them: the parser keeps them sorted.
    pub(super) fn keys(&self) -> Vec<&'d str> {
        let mut keys: Vec<_> = self.members.iter().map(|(key, _)| (key.span().start, key.get_ref().as_ref())).collect();
        keys.sort_unstable_by_key(|(start, _)| *start);
        keys.into_iter().map(|(_, key)| key).collect()
    }

    fn member<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'d Spanned<DeValue<'d>>) -> Option<T>,
    ) -> Found<T> {
        let Some(value) = self.members.get(key) else { return Ok(None) };
        let malformed = || format!("line {}: \"{key}\" is not {expected}", line(self.text, value.span().start));
        read(value).map(Some).ok_or_else(malformed)
    }
}

/// The number of the line in which byte `at` stands, from 1.
fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_members_and_complains_by_line() {
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
    fn what_is_no_toml_is_refused_by_line() {
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
