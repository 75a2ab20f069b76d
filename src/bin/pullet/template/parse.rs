//! Parses a template into nodes. Knows the names of the functions, but not those of the fields.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::functions::{FUNCTIONS, Function};

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    /// `{{$name := …}}`
    Set {
        variable: String,
        value: Pipeline,
    },
    If {
        condition: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// With one variable, it is the element; with two, the first is the index or key.
    Range {
        variables: Vec<String>,
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Debug)]
pub(super) struct Pipeline(pub(super) Vec<Command>);

#[derive(Debug)]
pub(super) struct Command {
    /// `None` for a plain value, which is the only argument.
    pub(super) function: Option<&'static Function>,
    pub(super) arguments: Vec<Operand>,
}

#[derive(Debug)]
pub(super) enum Operand {
    Literal(Value),
    /// Fields of the current value.
    Field(Vec<String>),
    /// A variable, and fields of it. The empty name is the value of the whole template.
    Variable {
        name: String,
        fields: Vec<String>,
    },
    Pipeline(Pipeline),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Symbol(char),
    Assign,
}

/// Parses a whole template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut parser = Parser { rest: text, end: None, trims_next: false };
    let nodes = parser.nodes()?;
    match parser.end {
        None => Ok(nodes),
        Some(_) => Err("unexpected {{end}} or {{else}}".to_owned()),
    }
}

struct Parser<'a> {
    rest: &'a str,
    /// The action that ended the current list of nodes: the words of `end` or `else`.
    end: Option<Vec<Token>>,
    /// The last action asked to remove the white space after it.
    trims_next: bool,
}

impl Parser<'_> {
    /// Nodes up to the end, or up to an `end` or `else`.
    fn nodes(&mut self) -> Result<Vec<Node>, String> {
        self.end = None;
        let mut nodes = Vec::new();
        while let Some(tokens) = self.next_action(&mut nodes)? {
            let keyword = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                _ => "",
            };
            let rest = tokens.get(1..).unwrap_or_default();
            match keyword {
                "end" | "else" => {
                    self.end = Some(tokens);
                    return Ok(nodes);
                }
                "if" => nodes.push(self.condition(rest)?),
                "range" => nodes.push(self.range(rest)?),
                // A comment has no tokens.
                _ if tokens.is_empty() => {}
                _ => nodes.push(action(&tokens)?),
            }
        }
        Ok(nodes)
    }

    /// Reads text into a node, and the tokens of the action after it. `None` at the end.
    fn next_action(&mut self, nodes: &mut Vec<Node>) -> Result<Option<Vec<Token>>, String> {
        let (text, action) = match self.rest.split_once("{{") {
            Some((text, rest)) => (text, Some(rest)),
            None => (self.rest, None),
        };
        let mut text = if self.trims_next { text.trim_start() } else { text };
        let action = action.map(|action| match action.strip_prefix("- ") {
            Some(action) => {
                text = text.trim_end();
                action
            }
            None => action,
        });
        if !text.is_empty() {
            nodes.push(Node::Text(text.to_owned()));
        }
        let Some(action) = action else {
            self.rest = "";
            return Ok(None);
        };
        if let Some((_, rest)) = action.strip_prefix("/*").and_then(|comment| comment.split_once("*/}}")) {
            (self.rest, self.trims_next) = (rest, false);
            return Ok(Some(Vec::new()));
        }
        let mut lexer = Lexer { chars: action.chars().peekable(), length: 0 };
        let tokens = lexer.tokens()?;
        if tokens.is_empty() {
            return Err("an action is empty: {{}}".to_owned());
        }
        let inside = action.get(..lexer.length).unwrap_or_default();
        self.trims_next = inside.ends_with(" -");
        self.rest = action.get(lexer.length + 2..).unwrap_or_default();
        Ok(Some(tokens))
    }

    fn condition(&mut self, tokens: &[Token]) -> Result<Node, String> {
        let condition = pipeline(tokens)?;
        let (body, otherwise) = self.branches()?;
        Ok(Node::If { condition, body, otherwise })
    }

    fn range(&mut self, tokens: &[Token]) -> Result<Node, String> {
        let (variables, tokens) = match tokens.iter().position(|token| *token == Token::Assign) {
            Some(at) => (variables(tokens.get(..at).unwrap_or_default())?, tokens.get(at + 1..).unwrap_or_default()),
            None => (Vec::new(), tokens),
        };
        let over = pipeline(tokens)?;
        let (body, otherwise) = self.branches()?;
        Ok(Node::Range { variables, over, body, otherwise })
    }

    /// The nodes up to `else`, and those up to `end`.
    fn branches(&mut self) -> Result<(Vec<Node>, Vec<Node>), String> {
        let body = self.nodes()?;
        let end = self.end.take().ok_or("{{end}} is missing")?;
        let otherwise = match end.as_slice() {
            [Token::Word(word)] if word == "end" => return Ok((body, Vec::new())),
            [Token::Word(_)] => self.nodes()?,
            // Both end with the same `end`.
            [_, Token::Word(word), rest @ ..] if word == "if" => return Ok((body, vec![self.condition(rest)?])),
            _ => return Err("{{else}} and {{end}} have no arguments".to_owned()),
        };
        match self.end.take().as_deref() {
            Some([Token::Word(word)]) if word == "end" => Ok((body, otherwise)),
            _ => Err("{{end}} is missing".to_owned()),
        }
    }
}

fn variables(tokens: &[Token]) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for token in tokens.iter().filter(|token| **token != Token::Symbol(',')) {
        match token {
            Token::Word(word) if word.starts_with('$') => names.push(word.trim_start_matches('$').to_owned()),
            _ => return Err("a variable was expected before :=".to_owned()),
        }
    }
    if matches!(names.len(), 1 | 2) {
        Ok(names)
    } else {
        Err("one or two variables were expected before :=".to_owned())
    }
}

/// An action that prints a value or sets a variable.
fn action(tokens: &[Token]) -> Result<Node, String> {
    match tokens {
        [Token::Word(name), Token::Assign, rest @ ..] if name.starts_with('$') => {
            Ok(Node::Set { variable: name.trim_start_matches('$').to_owned(), value: pipeline(rest)? })
        }
        _ => Ok(Node::Print(pipeline(tokens)?)),
    }
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, String> {
    let mut tokens = tokens.iter().peekable();
    let parsed = commands(&mut tokens)?;
    match tokens.next() {
        None => Ok(parsed),
        Some(_) => Err("an unexpected )".to_owned()),
    }
}

/// Commands up to the end, or up to a closing bracket, which is left.
fn commands<'t>(tokens: &mut Peekable<impl Iterator<Item = &'t Token>>) -> Result<Pipeline, String> {
    let mut commands = Vec::new();
    loop {
        let command = command(tokens)?;
        commands.push(command);
        if tokens.next_if(|token| **token == Token::Symbol('|')).is_none() {
            return Ok(Pipeline(commands));
        }
    }
}

fn command<'t>(tokens: &mut Peekable<impl Iterator<Item = &'t Token>>) -> Result<Command, String> {
    let function = match tokens.peek() {
        Some(Token::Word(word)) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => find_function(word)?,
        _ => None,
    };
    if function.is_some() {
        tokens.next();
    }
    let mut arguments = Vec::new();
    while let Some(token) = tokens.next_if(|token| !matches!(token, Token::Symbol('|' | ')'))) {
        arguments.push(match token {
            Token::Text(text) => Operand::Literal(Value::from(text.as_str())),
            Token::Word(word) => operand(word)?,
            Token::Symbol('(') => Operand::Pipeline(bracketed(tokens)?),
            Token::Symbol(c) => return Err(format!("unexpected {c:?}")),
            Token::Assign => return Err("unexpected :=".to_owned()),
        });
    }
    if function.is_none() && arguments.len() != 1 {
        return Err("one value was expected: a function comes before its arguments".to_owned());
    }
    Ok(Command { function, arguments })
}

fn bracketed<'t>(tokens: &mut Peekable<impl Iterator<Item = &'t Token>>) -> Result<Pipeline, String> {
    // Through a trait object, because each level of brackets would be another type.
    let tokens: &mut dyn Iterator<Item = &'t Token> = tokens;
    let mut inner = Vec::new();
    let mut depth = 1;
    for token in tokens {
        match token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return pipeline(&inner);
        }
        inner.push(token.clone());
    }
    Err("a ) is missing".to_owned())
}

/// A function; `None` for `true` and `false`.
fn find_function(word: &str) -> Result<Option<&'static Function>, String> {
    if matches!(word, "true" | "false") {
        return Ok(None);
    }
    match FUNCTIONS.iter().find(|function| function.name == word) {
        Some(function) => Ok(Some(function)),
        None => {
            let names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
            Err(format!("unknown function {word:?}: expected one of {}", names.join(", ")))
        }
    }
}

fn operand(word: &str) -> Result<Operand, String> {
    if let Some(path) = word.strip_prefix('.') {
        return Ok(Operand::Field(fields(path)?));
    }
    if let Some(variable) = word.strip_prefix('$') {
        let (name, path) = variable.split_once('.').unwrap_or((variable, ""));
        return Ok(Operand::Variable { name: name.to_owned(), fields: fields(path)? });
    }
    // Numbers, true and false.
    serde_json::from_slice(word.as_bytes()).map(Operand::Literal).map_err(|_| format!("unexpected {word:?}"))
}

fn fields(path: &str) -> Result<Vec<String>, String> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = path.split('.').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) { Err(format!("malformed field .{path}")) } else { Ok(names) }
}

/// Splits an action into tokens.
struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    /// The bytes before the end of the action.
    length: usize,
}

impl Lexer<'_> {
    fn tokens(&mut self) -> Result<Vec<Token>, String> {
        let mut tokens = Vec::new();
        loop {
            let Some(c) = self.next() else { return Err("}} is missing".to_owned()) };
            match c {
                '}' if self.chars.peek() == Some(&'}') => {
                    self.length -= 1;
                    // The mark that removes white space is no value.
                    if tokens.last() == Some(&Token::Word("-".to_owned())) {
                        tokens.pop();
                    }
                    return Ok(tokens);
                }
                c if c.is_whitespace() => {}
                '(' | ')' | '|' | ',' => tokens.push(Token::Symbol(c)),
                ':' if self.chars.peek() == Some(&'=') => {
                    self.next();
                    tokens.push(Token::Assign);
                }
                '"' => tokens.push(Token::Text(self.quoted()?)),
                '`' => tokens.push(Token::Text(self.raw()?)),
                c => tokens.push(Token::Word(self.word(c))),
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        self.length += c.len_utf8();
        Some(c)
    }

    fn word(&mut self, first: char) -> String {
        let mut word = String::from(first);
        while let Some(&c) = self.chars.peek() {
            if c.is_whitespace() || matches!(c, '(' | ')' | '|' | ',' | ':' | '"' | '`' | '{' | '}') {
                break;
            }
            word.push(c);
            self.next();
        }
        word
    }

    /// A string after its opening quote, with Go's escapes.
    fn quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        while let Some(c) = self.next() {
            match c {
                '"' => return Ok(text),
                '\\' => text.push(match self.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some(c @ ('"' | '\\')) => c,
                    _ => return Err("an unknown escape in a string: expected \\n, \\t, \\\" or \\\\".to_owned()),
                }),
                c => text.push(c),
            }
        }
        Err("a string has no end".to_owned())
    }

    fn raw(&mut self) -> Result<String, String> {
        let mut text = String::new();
        while let Some(c) = self.next() {
            if c == '`' {
                return Ok(text);
            }
            text.push(c);
        }
        Err("a string has no end".to_owned())
    }
}
