//! Commands as data, and the parser. The parser matches words against the tables in one pass; a command then asks for
//! each struct of options that it uses.

use std::any::Any;
use std::ffi::{OsStr, OsString};

use lexopt::{Arg, Parser};

use super::common::{COMMON, Common, STORE_OPTION};
use super::habits;
use super::options::{AnyGroup, Group, Spec, specs};
use super::value::Value;
use crate::exit::Failure;
use crate::report::Reporter;

/// A command of the program.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// The arguments in the usage line.
    pub(crate) arguments: &'static str,
    /// A few words for the list of commands.
    pub(crate) summary: &'static str,
    /// The paragraph above the usage line.
    pub(crate) about: &'static str,
    /// Lists of words that mean something to this command and are not options.
    pub(crate) definitions: &'static [Definitions],
    /// The options that the command accepts in addition to the common ones.
    pub(crate) groups: &'static [&'static dyn AnyGroup],
    /// Paragraphs below the options.
    pub(crate) notes: &'static [&'static str],
    pub(crate) run: fn(&CommandLine, &Common, &Reporter) -> Result<(), Failure>,
}

/// Words with their meanings.
pub(crate) struct Definitions {
    pub(crate) heading: &'static str,
    pub(crate) words: &'static [(&'static str, &'static str)],
}

/// All commands.
pub(crate) struct Table {
    pub(crate) sections: &'static [Section],
    pub(crate) features: &'static [Feature],
    pub(crate) families: &'static [Family],
    /// Commands that users of other tools expect, with the reason why they are missing, which names the tool to use.
    pub(crate) elsewhere: &'static [(&'static [&'static str], &'static str)],
    /// The commands that use no store and so refuse the option for it.
    pub(crate) storeless: &'static [&'static str],
}

/// A word before other words that mean commands: `image ls`.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    /// A few words for the list of commands.
    pub(crate) summary: &'static str,
    /// The words, and the commands that they mean.
    pub(crate) words: &'static [(&'static str, &'static str)],
}

/// Commands that help lists together.
pub(crate) struct Section {
    pub(crate) heading: &'static str,
    pub(crate) commands: &'static [&'static Command],
}

/// A feature of the package, and the commands that a program without it does not have.
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    pub(crate) commands: &'static [&'static str],
}

/// A parsed command line.
#[derive(Clone, Copy)]
pub(crate) enum Selected {
    /// No command, or an unknown one.
    Nothing,
    Command(&'static Command),
    /// A word after which a command must follow.
    Family(&'static Family),
    /// A command of a feature that is not compiled in.
    Unbuilt(&'static Feature),
}

/// The words after the program's name, matched against the tables. Values of options are not parsed yet.
pub(crate) struct CommandLine {
    pub(crate) table: &'static Table,
    pub(crate) selected: Selected,
    given: Vec<Given>,
    operands: Vec<OsString>,
}

/// An option that was given.
struct Given {
    spec: &'static Spec,
    /// Empty for a flag.
    value: OsString,
}

impl Command {
    /// Whether the command has this option in addition to the common ones.
    pub(super) fn accepts(&self, option: &str) -> bool {
        self.groups.iter().copied().flat_map(specs).any(|spec| spec.names().any(|name| name == option))
    }
}

impl Table {
    /// Whether a command accepts this common option.
    pub(crate) fn accepts(&self, command: &str, common: &Spec) -> bool {
        common.long() != STORE_OPTION || !self.storeless.contains(&command)
    }

    /// The words that may be the first one, commands and families, with their summaries.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let commands = self.sections.iter().flat_map(|section| section.commands);
        let commands = commands.map(|command| (command.name, command.summary));
        commands.chain(self.families.iter().map(|family| (family.name, family.summary)))
    }

    /// The words that may be the first one.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.entries().map(|(name, _)| name)
    }

    /// The command with this name.
    pub(crate) fn command(&self, name: &OsStr) -> Option<&'static Command> {
        let mut commands = self.sections.iter().flat_map(|section| section.commands);
        commands.find(|command| name == command.name).copied()
    }
}

impl CommandLine {
    /// Parses the words after the program's name. The first error does not end the parsing, because a later `--progress`
    /// decides how the error is reported.
    pub(crate) fn parse(
        words: impl IntoIterator<Item = OsString>,
        table: &'static Table,
    ) -> (Self, Result<(), Failure>) {
        let mut line = Self { table, selected: Selected::Nothing, given: Vec::new(), operands: Vec::new() };
        let mut parser = Parser::from_args(words);
        let mut outcome = Ok(());
        loop {
            match line.parse_next(&mut parser) {
                Ok(true) => {}
                Ok(false) => {
                    let accepted = line.check_common_options();
                    return (line, outcome.and(accepted));
                }
                Err(failure) => outcome = outcome.and(Err(failure)),
            }
        }
    }

    /// Parses the next word, and its value if it is an option with one. Returns false at the end.
    fn parse_next(&mut self, parser: &mut Parser) -> Result<bool, Failure> {
        let option = match parser.next().map_err(|e| self.misused(e.to_string()))? {
            None => return Ok(false),
            Some(Arg::Value(word)) => {
                self.parse_word(word)?;
                return Ok(true);
            }
            Some(Arg::Short(letter)) => format!("-{letter}"),
            Some(Arg::Long(name)) => format!("--{name}"),
        };
        match (self.find(&option), self.selected) {
            (Some(spec), _) => {
                let value = if spec.has_value() { parser.value() } else { Ok(OsString::new()) };
                let value = value.map_err(|e| self.misused(e.to_string()))?;
                self.given.push(Given { spec, value });
            }
            // The options of this command are unknown. Its own error is more useful than one about an option.
            (None, Selected::Unbuilt(_)) => {
                parser.optional_value();
            }
            (None, _) => return Err(self.unknown_option(&option)),
        }
        Ok(true)
    }

    /// A common option may precede the command, so it is checked at the end.
    fn check_common_options(&self) -> Result<(), Failure> {
        let Some(command) = self.command_name() else { return Ok(()) };
        match self.given.iter().find(|given| !self.table.accepts(command, given.spec)) {
            Some(given) => Err(self.misused(format!("{} has no effect: {command} uses no store", given.spec.long()))),
            None => Ok(()),
        }
    }

    fn parse_word(&mut self, word: OsString) -> Result<(), Failure> {
        let name = match self.selected {
            Selected::Nothing => word.as_os_str(),
            Selected::Family(family) => match family.words.iter().find(|(verb, _)| word == *verb) {
                Some((_, name)) => OsStr::new(name),
                None => {
                    let text = format!("unknown command {word:?} after {}", family.name);
                    return Err(self.unknown_command(text, &word, &mut family.words.iter().map(|(verb, _)| *verb)));
                }
            },
            Selected::Command(_) | Selected::Unbuilt(_) => {
                self.operands.push(word);
                return Ok(());
            }
        };
        let table = self.table;
        if let Some(command) = table.command(name) {
            self.selected = Selected::Command(command);
            return Ok(());
        }
        if let Some(family) = table.families.iter().find(|family| name == family.name) {
            self.selected = Selected::Family(family);
            return Ok(());
        }
        if let Some((_, reason)) = table.elsewhere.iter().find(|(names, _)| names.iter().any(|other| name == *other)) {
            return Err(Failure::usage(format!("{}: {reason}", name.display())));
        }
        let mut features = table.features.iter();
        if let Some(feature) = features.find(|feature| feature.commands.iter().any(|known| name == *known)) {
            self.selected = Selected::Unbuilt(feature);
            return Ok(());
        }
        Err(self.unknown_command(format!("unknown command {word:?}"), &word, &mut table.names()))
    }

    fn unknown_option(&self, option: &str) -> Failure {
        let failure = self.misused(format!("unknown option {option}"));
        if !cfg!(feature = "manage") {
            return failure;
        }
        if let Some(failure) = habits::other_word(option, &|needed| self.accepts(needed)) {
            return failure;
        }
        if let Some(hint) = self.other_place(option) {
            return failure.hint(hint);
        }
        let mut known = self.specs().map(|spec| spec.long().trim_start_matches('-'));
        match option.strip_prefix("--").and_then(|typed| habits::nearest(typed, &mut known)) {
            Some(name) => failure.hint(format!("did you mean --{name}?")),
            None => failure,
        }
    }

    /// Says which command has an option that is unknown here.
    fn other_place(&self, option: &str) -> Option<String> {
        let has_option = |name: &&str| self.table.command(name.as_ref()).is_some_and(|command| command.accepts(option));
        let mut commands = self.table.names().filter(has_option);
        let first = commands.next()?;
        match (commands.next(), self.selected) {
            (None, _) => Some(format!("pullet {first} has this option")),
            (Some(_), Selected::Command(_)) => None,
            (Some(_), _) => Some(format!("write the option behind the command: pullet {first} {option}")),
        }
    }

    fn unknown_command(&self, text: String, word: &OsStr, known: &mut dyn Iterator<Item = &'static str>) -> Failure {
        let failure = self.misused(text);
        if !cfg!(feature = "manage") {
            return failure;
        }
        match habits::nearest(&word.to_string_lossy(), known) {
            Some(name) => failure.hint(format!("did you mean {name}?")),
            None => failure,
        }
    }

    /// Whether the command has this option.
    pub(crate) fn accepts(&self, option: &str) -> bool {
        self.find(option).is_some()
    }

    /// Whether the option with this long name was given.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|given| given.spec.long() == name)
    }

    pub(super) fn find(&self, option: &str) -> Option<&'static Spec> {
        self.specs().find(|spec| spec.names().any(|name| name == option))
    }

    /// The options that are accepted.
    pub(super) fn specs(&self) -> impl Iterator<Item = &'static Spec> {
        self.groups().flat_map(specs)
    }

    /// The groups whose options are accepted.
    fn groups(&self) -> impl Iterator<Item = &'static dyn AnyGroup> {
        let own = match self.selected {
            Selected::Command(command) => command.groups,
            _ => &[],
        };
        own.iter().copied().chain([&COMMON as &dyn AnyGroup])
    }

    /// The options of the command that set a `T`.
    pub(crate) fn options<T: Default + 'static>(&self) -> Result<T, Failure> {
        let mut target = T::default();
        self.store(&mut target)?;
        Ok(target)
    }

    /// Stores the options that set a `T` in `target`. The type of a group decides whether its options do. Returns the first
    /// error, but stores the other values all the same.
    pub(crate) fn store<T: 'static>(&self, target: &mut T) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for group in self.groups() {
            let Some(group) = (group as &dyn Any).downcast_ref::<Group<T>>() else { continue };
            for given in &self.given {
                let Some(option) = group.options.iter().find(|option| option.spec.usage == given.spec.usage) else {
                    continue;
                };
                let value = Value { option: given.spec.long(), text: &given.value, command: self.command_name() };
                outcome = outcome.and(option.store(target, &value));
            }
        }
        outcome
    }

    /// The arguments of a command that takes exactly `N`.
    pub(crate) fn operands<const N: usize>(&self) -> Result<&[OsString; N], Failure> {
        match self.operands.as_slice().try_into() {
            Ok(operands) => Ok(operands),
            Err(_) => Err(self.wrong_count(N)),
        }
    }

    /// The argument of a command that takes at most one.
    #[cfg(any(feature = "boot", feature = "manage"))]
    pub(crate) fn optional_operand(&self) -> Result<Option<&OsString>, Failure> {
        match self.operands.as_slice() {
            [] => Ok(None),
            [operand] => Ok(Some(operand)),
            _ => Err(self.wrong_count(1)),
        }
    }

    /// The arguments of a command that takes any number.
    pub(crate) fn all_operands(&self) -> &[OsString] {
        &self.operands
    }

    fn wrong_count(&self, most: usize) -> Failure {
        match (self.operands.get(most), self.selected) {
            (Some(operand), _) => self.misused(format!("unexpected argument {operand:?}")),
            (None, Selected::Command(command)) => self.missing(command.arguments),
            (None, _) => self.missing("COMMAND"),
        }
    }

    /// The error for arguments that are required and were not given.
    pub(crate) fn missing(&self, arguments: &str) -> Failure {
        self.misused(format!("missing argument: expected {arguments}"))
    }

    /// A usage error that refers to the help of the command.
    pub(crate) fn misused(&self, text: impl Into<String>) -> Failure {
        Failure::misused(self.command_name(), text)
    }

    /// The command, or the word before one.
    pub(crate) fn command_name(&self) -> Option<&'static str> {
        match self.selected {
            Selected::Command(command) => Some(command.name),
            Selected::Family(family) => Some(family.name),
            Selected::Nothing | Selected::Unbuilt(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::Opt;

    #[derive(Debug, Default, PartialEq)]
    struct Cut {
        depth: u32,
        is_deep: bool,
        tools: Vec<String>,
    }

    static OPTIONS: Group<Cut> = Group {
        heading: "Options",
        options: &[
            Opt::value("-d, --depth N", "how deep", |cut, value| {
                cut.depth = value.number()?;
                Ok(())
            }),
            Opt::flag("--deep", "as deep as possible", |cut| cut.is_deep = true),
            Opt::value("--tool NAME", "a tool", |cut, value| {
                cut.tools.push(value.text()?.to_owned());
                Ok(())
            }),
        ],
    };

    static CUT: Command = Command {
        name: "cut",
        arguments: "WOOD",
        summary: "",
        about: "",
        definitions: &[],
        groups: &[&OPTIONS],
        notes: &[],
        run: |_, _, _| Ok(()),
    };

    static NAIL: Command = Command { name: "nail", groups: &[], ..CUT };

    static TABLE: Table = Table {
        sections: &[Section { heading: "Commands", commands: &[&CUT, &NAIL] }],
        features: &[Feature { name: "glue", commands: &["glue"] }],
        families: &[Family { name: "wood", summary: "", words: &[("chop", "cut"), ("split", "axe"), ("fix", "glue")] }],
        elsewhere: &[(&["paint", "axe"], "a brush or a smith does this")],
        storeless: &["nail"],
    };

    fn parse(words: &str) -> (CommandLine, Result<(), Failure>) {
        CommandLine::parse(words.split_whitespace().map(OsString::from), &TABLE)
    }

    #[track_caller]
    fn cut(words: &str) -> (Cut, String) {
        let (line, outcome) = parse(words);
        assert!(outcome.is_ok(), "{words}");
        let cut = line.options().unwrap_or_else(|_| panic!("{words}"));
        let [wood] = line.operands().unwrap_or_else(|_| panic!("{words}"));
        (cut, wood.to_string_lossy().into_owned())
    }

    #[test]
    fn accepts_options_in_every_form_and_place() {
        for words in
            ["cut -d 3 oak", "cut -d3 oak", "cut --depth 3 oak", "cut oak --depth=3", "-q cut --depth=3 -v oak"]
        {
            assert_eq!(cut(words), (Cut { depth: 3, ..Cut::default() }, "oak".into()), "{words}");
        }
        let tools = vec!["saw".to_owned(), "-axe".to_owned()];
        let expected = Cut { depth: 2, is_deep: true, tools };
        assert_eq!(cut("cut -d1 --tool saw --deep -d2 --tool=-axe -- --oak"), (expected, "--oak".into()));
    }

    #[test]
    fn refuses_what_no_table_has() {
        for (words, expected) in [
            ("saw", "unknown command \"saw\""),
            ("--deep cut oak", "unknown option --deep"),
            ("cut --shallow oak", "unknown option --shallow"),
            ("cut -x oak", "unknown option -x"),
            ("cut oak --depth", "missing argument for option '--depth'"),
            ("cut --deep=very oak", "unexpected argument for option '--deep': \"very\""),
            ("cut --dep 3 oak", "unknown option --dep"),
            ("nail --store=x oak", "--store has no effect: nail uses no store"),
            ("--store x nail oak", "--store has no effect: nail uses no store"),
        ] {
            let text = parse(words).1.err().and_then(|failure| failure.lines().map(|(text, _)| text.to_owned()));
            assert_eq!(text.as_deref(), Some(expected), "{words}");
        }
    }

    #[test]
    fn refuses_bad_values_and_counts() {
        for (words, expected) in [
            ("cut -d deep oak", "invalid value \"deep\" for --depth: expected a number"),
            ("cut", "missing argument: expected WOOD"),
            ("cut oak elm", "unexpected argument \"elm\""),
        ] {
            let (line, outcome) = parse(words);
            assert!(outcome.is_ok(), "{words}");
            let outcome = line.options::<Cut>().and_then(|_| line.operands::<1>());
            let failure = outcome.err().unwrap_or_else(|| panic!("{words}"));
            assert_eq!(failure.lines(), Some((expected, Some("see pullet cut --help"))), "{words}");
        }
    }

    #[test]
    fn a_family_has_words_for_commands() {
        assert_eq!(cut("wood chop -d 3 oak"), (Cut { depth: 3, ..Cut::default() }, "oak".into()));
        for (words, expected) in [
            ("wood saw", "unknown command \"saw\" after wood"),
            ("wood --deep chop oak", "unknown option --deep"),
            ("wood split", "axe: a brush or a smith does this"),
            ("paint -x y", "paint: a brush or a smith does this"),
        ] {
            let text = parse(words).1.err().and_then(|failure| failure.lines().map(|(text, _)| text.to_owned()));
            assert_eq!(text.as_deref(), Some(expected), "{words}");
        }
        assert!(matches!(parse("wood fix --bad").0.selected, Selected::Unbuilt(feature) if feature.name == "glue"));
        assert!(matches!(parse("wood").0.selected, Selected::Family(_)));
    }

    #[test]
    fn keeps_common_options_in_spite_of_errors() {
        for words in ["cut --bad --store= -v oak", "saw -v", "-v --bad", "glue --bad=1 -v"] {
            let (line, _) = parse(words);
            let mut common = Common::default();
            let _ = line.store(&mut common);
            assert!(common.is_verbose, "{words}");
        }
    }

    #[test]
    fn knows_commands_that_are_not_built_in() {
        let (line, outcome) = parse("glue --with=resin -u x oak");
        assert!(outcome.is_ok());
        assert!(matches!(line.selected, Selected::Unbuilt(feature) if feature.name == "glue"));
    }
}
