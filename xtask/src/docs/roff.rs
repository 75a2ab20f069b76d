//! Writes man pages with the macros of man(7).

use super::Command;
use super::help::{Entry, Page, Section};
use crate::Result;

/// What the head of a page says about the program.
pub struct Origin {
    pub version: String,
    pub date: String,
}

/// The page of the program.
pub fn of_program(page: &Page, origin: &Origin) -> Result<String> {
    let (_, summary) = page.about[0].split_once(": ").ok_or("the help of the program does not begin with a summary")?;
    let mut text = head("pullet", summary, origin)?;
    push_usage(&mut text, &page.usage)?;
    let about = "pullet turns the name of an image in a registry into a verified image in a store, or into a root filesystem. \
                 Results go to standard output, everything else to standard error.";
    push_paragraphs(&mut text, "DESCRIPTION", &[about.to_owned()])?;
    for section in page.sections.iter().filter(|section| !section.is_about_options()) {
        text.push_str(&format!(".SS {}\n", escaped(&section.heading)?));
        for Entry { word, text: about } in &section.entries {
            let reference = format!("\\fBpullet\\-{}\\fR(1)", escaped(word)?);
            text.push_str(&format!(".TP\n{reference}\n{}\n", prose(about)?));
        }
    }
    push_options(&mut text, page)?;
    text.push_str(".SH EXIT STATUS\n");
    for Entry { word, text: about } in &page.exit_codes {
        text.push_str(&format!(".TP\n{}\n{}\n", escaped(word)?, prose(about)?));
    }
    Ok(text)
}

/// The page of a command.
pub fn of_command(command: &Command, origin: &Origin) -> Result<String> {
    let Command { name, summary, page } = command;
    let mut text = head(&format!("pullet-{name}"), summary, origin)?;
    push_usage(&mut text, &page.usage)?;
    push_paragraphs(&mut text, "DESCRIPTION", &page.about)?;
    for section in page.sections.iter().filter(|section| !section.is_about_options()) {
        push_section(&mut text, section)?;
    }
    push_options(&mut text, page)?;
    if !page.notes.is_empty() {
        push_paragraphs(&mut text, "NOTES", &page.notes)?;
    }
    text.push_str(".SH SEE ALSO\n\\fBpullet\\fR(1), which lists all commands and the exit codes\n");
    Ok(text)
}

fn head(name: &str, summary: &str, origin: &Origin) -> Result<String> {
    let Origin { version, date } = origin;
    let title = escaped(&name.to_uppercase())?;
    let line = prose(&format!("{name} - {summary}"))?;
    Ok(format!(
        ".\\\" Made by cargo xtask docs from the help of pullet.\n.TH {title} 1 {date} \"pullet {version}\" \"User Commands\"\n\
         .SH NAME\n{line}\n"
    ))
}

fn push_usage(text: &mut String, usage: &str) -> Result {
    let mut words = usage.split(' ');
    let literal = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase());
    let program: Vec<&str> = words.clone().take_while(literal).collect();
    let rest: Vec<&str> = words.by_ref().skip(program.len()).collect();
    text.push_str(&format!(".SH SYNOPSIS\n\\fB{}\\fR", escaped(&program.join(" "))?));
    if !rest.is_empty() {
        text.push_str(&format!(" \\fI{}\\fR", escaped(&rest.join(" "))?));
    }
    text.push('\n');
    Ok(())
}

fn push_options(text: &mut String, page: &Page) -> Result {
    let sections: Vec<&Section> = page.sections.iter().filter(|section| section.is_about_options()).collect();
    // A group of commands has no options.
    if !sections.is_empty() {
        text.push_str(".SH OPTIONS\n");
    }
    for section in sections {
        text.push_str(&format!(".SS {}\n", escaped(&section.heading)?));
        push_entries(text, &section.entries)?;
    }
    Ok(())
}

fn push_section(text: &mut String, section: &Section) -> Result {
    text.push_str(&format!(".SH {}\n", escaped(&section.heading.to_uppercase())?));
    push_entries(text, &section.entries)
}

fn push_entries(text: &mut String, entries: &[Entry]) -> Result {
    for Entry { word, text: about } in entries {
        text.push_str(&format!(".TP\n{}\n{}\n", tag(word)?, prose(about)?));
    }
    Ok(())
}

/// Paragraphs below a heading.
fn push_paragraphs(text: &mut String, heading: &str, paragraphs: &[String]) -> Result {
    let paragraphs: Vec<String> = paragraphs.iter().map(|paragraph| prose(paragraph)).collect::<Result<_>>()?;
    text.push_str(&format!(".SH {heading}\n{}\n", paragraphs.join("\n.PP\n")));
    Ok(())
}

/// The names of an option in bold and the placeholder of its value in italics.
fn tag(word: &str) -> Result<String> {
    if !word.starts_with('-') {
        return Ok(format!("\\fB{}\\fR", escaped(word)?));
    }
    let mut parts = Vec::new();
    for part in word.split(' ') {
        let font = if part.starts_with('-') { 'B' } else { 'I' };
        let (part, comma) = part.strip_suffix(',').map_or((part, ""), |part| (part, ","));
        parts.push(format!("\\f{font}{}\\fR{comma}", escaped(part)?));
    }
    Ok(parts.join(" "))
}

/// Running text. What is in backquotes, and options, are bold.
fn prose(text: &str) -> Result<String> {
    let mut out = String::new();
    for (index, piece) in text.split('`').enumerate() {
        if index % 2 == 1 {
            out.push_str(&format!("\\fB{}\\fR", escaped(piece)?));
            continue;
        }
        for word in piece.split_inclusive(' ') {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let length = word.find(|c| !is_part(c)).unwrap_or(word.len());
            let (option, rest) = word.split_at(if word.starts_with("--") { length } else { 0 });
            if !option.is_empty() {
                out.push_str(&format!("\\fB{}\\fR", escaped(option)?));
            }
            out.push_str(&escaped(rest)?);
        }
    }
    Ok(wrapped(&out))
}

/// Lines as long as other programs that read man pages like them.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 80;
    let (mut out, mut at) = (String::new(), 0);
    for word in text.split(' ') {
        if at > 0 && at + 1 + word.len() > WIDTH {
            out.push('\n');
            at = 0;
        } else if at > 0 {
            out.push(' ');
            at += 1;
        }
        // A line that begins with a dot would be a request.
        if at == 0 && word.starts_with('.') {
            out.push_str("\\&");
            at += 2;
        }
        out.push_str(word);
        at += word.len();
    }
    out
}

/// Text in which every character stands for itself. A plain `-` would be a hyphen, which cannot be copied as an option.
fn escaped(text: &str) -> Result<String> {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '"' => out.push_str("\\(dq"),
            '…' => out.push_str("..."),
            ' '..='~' => out.push(character),
            other => return Err(format!("no escape for {other:?} in a man page: {text}")),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_text_and_marks_options() {
        for (text, expected) in [
            ("a-b's \\n", "a\\-b\\(aqs \\en"),
            ("use `x -y`, or --creds-file: it", "use \\fBx \\-y\\fR, or \\fB\\-\\-creds\\-file\\fR: it"),
            (".5 of it", "\\&.5 of it"),
        ] {
            assert_eq!(prose(text).as_deref(), Ok(expected));
        }
        assert_eq!(tag("-j, --jobs N").as_deref(), Ok("\\fB\\-j\\fR, \\fB\\-\\-jobs\\fR \\fIN\\fR"));
        assert!(prose("ü").is_err());
    }
}
