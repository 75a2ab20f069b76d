//! Lists as Docker prints them: a table with headings, a template for each row, or JSON.

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::template::Template;

/// Blanks between two columns.
const PADDING: usize = 3;
/// The least width of a column, with its padding.
const LEAST_WIDTH: usize = 10;

/// The columns that a list has.
pub(crate) struct Columns {
    /// The fields of a row, and the headings of their columns.
    pub(crate) headings: &'static [(&'static str, &'static str)],
    /// The fields of the default table.
    pub(crate) default: &'static [&'static str],
}

impl Columns {
    /// The text of a list. `format` is `table`, `table TEMPLATE`, `json` or a template; `None` is the default table.
    pub(crate) fn list(&self, format: Option<&str>, rows: &[Value]) -> Result<String, Failure> {
        let format = format.unwrap_or("table");
        let (template, is_table) = match format.strip_prefix("table") {
            Some("") => (self.default_template(), true),
            Some(template) if template.starts_with([' ', '\t']) => (template.trim().to_owned(), true),
            _ if format == "json" => ("{{json .}}".to_owned(), false),
            _ => (format.trim_matches(' ').to_owned(), false),
        };
        let template = Template::parse(&template)?;
        let headings = self.headings.iter().map(|(field, heading)| ((*field).to_owned(), Value::from(*heading)));
        // Finds unknown fields, also if there are no rows.
        let heading = template.heading(&Value::Object(headings.collect::<Map<_, _>>()))?;
        let mut lines = Vec::new();
        if is_table {
            lines.push(heading);
        }
        for row in rows {
            lines.push(template.text(row)?);
        }
        if is_table {
            return Ok(align(&lines));
        }
        Ok(lines.iter().map(|line| format!("{line}\n")).collect())
    }

    fn default_template(&self) -> String {
        let fields: Vec<String> = self.default.iter().map(|field| format!("{{{{.{field}}}}}")).collect();
        fields.join("\t")
    }
}

/// Aligns cells that are separated by tabs, as Go's tabwriter does with Docker's settings.
fn align(lines: &[String]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split('\t').collect();
        // The last cell of a line needs no padding.
        for (column, cell) in cells.iter().rev().skip(1).rev().enumerate() {
            let width = (cell.chars().count() + PADDING).max(LEAST_WIDTH);
            match widths.get_mut(column) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut cells = line.split('\t').zip(widths.iter().chain(std::iter::repeat(&0))).peekable();
        while let Some((cell, width)) = cells.next() {
            text.push_str(cell);
            if cells.peek().is_some() {
                text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// The time in seconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    // Not std's clock, because it panics after 2038 on 32-bit musl targets.
    clock_gettime(ClockId::Realtime).tv_sec
}

/// Docker's words for how long ago something was (`go-units`' `HumanDuration`). `N/A` if the time is unknown.
pub(crate) fn ago(created: Option<i64>) -> String {
    let Some(created) = created else { return "N/A".to_owned() };
    let seconds = (now() - created).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let words = match (seconds, minutes, hours, days) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, ..) => "About a minute".to_owned(),
        (_, ..60, ..) => format!("{minutes} minutes"),
        (_, _, 1, _) => "About an hour".to_owned(),
        (_, _, ..48, _) => format!("{hours} hours"),
        (.., ..14) => format!("{days} days"),
        (.., ..60) => format!("{} weeks", days / 7),
        (.., ..730) => format!("{} months", days / 30),
        _ => format!("{} years", days / 365),
    };
    format!("{words} ago")
}

/// A time as Go prints it, in UTC.
pub(crate) fn at(created: Option<i64>) -> String {
    let Some(created) = created else { return "N/A".to_owned() };
    pullet::format_rfc_3339(created).replace('T', " ").replace('Z', " +0000 UTC")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: Columns = Columns { headings: &[("ID", "IMAGE ID"), ("Tag", "TAG")], default: &["ID", "Tag"] };

    fn list(format: Option<&str>) -> Result<String, u8> {
        let rows = [json!({ "ID": "4e38e38c8ce0", "Tag": "latest" }), json!({ "ID": "1", "Tag": "2" })];
        COLUMNS.list(format, &rows).map_err(|failure| failure.code())
    }

    #[test]
    fn prints_what_docker_prints() {
        for (format, expected) in [
            (None, "IMAGE ID       TAG\n4e38e38c8ce0   latest\n1              2\n"),
            (Some("table"), "IMAGE ID       TAG\n4e38e38c8ce0   latest\n1              2\n"),
            (Some("table {{.Tag}}\\t{{upper .ID}}"), "TAG       IMAGE ID\nlatest    4E38E38C8CE0\n2         1\n"),
            (Some("{{.ID}}: {{.Tag}}"), "4e38e38c8ce0: latest\n1: 2\n"),
            (Some("json"), "{\"ID\":\"4e38e38c8ce0\",\"Tag\":\"latest\"}\n{\"ID\":\"1\",\"Tag\":\"2\"}\n"),
            (Some("tableau"), "tableau\ntableau\n"),
        ] {
            assert_eq!(list(format).as_deref(), Ok(expected), "{format:?}");
        }
        assert_eq!(list(Some("{{.Nope}}")), Err(2));
        assert_eq!(COLUMNS.list(Some("{{.Nope}}"), &[]).map_err(|failure| failure.code()), Err(2));
    }

    #[test]
    fn shows_times() {
        assert_eq!((ago(None).as_str(), at(None).as_str()), ("N/A", "N/A"));
        assert_eq!(at(Some(1_709_208_000)), "2024-02-29 12:00:00 +0000 UTC");
        for (seconds, words) in [
            (0, "Less than a second ago"),
            (90, "About a minute ago"),
            (3 * 86400 + 60, "3 days ago"),
            (800 * 86400, "2 years ago"),
        ] {
            assert_eq!(ago(Some(now() - seconds)), words);
        }
    }
}
