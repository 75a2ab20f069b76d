//! Reads Rust well enough for the rules: tells code from comments and text, and finds the paths that code names. It is
//! no parser: what a macro builds out of pieces stays unseen.

/// A text taken apart. Both parts keep every line where it was, with blanks in place of the rest.
pub struct Parts {
    pub code: String,
    pub comments: String,
}

/// What a file names.
#[derive(Debug, Default)]
pub struct Uses {
    pub paths: Vec<Path>,
    /// The modules that it declares and that lie in files of their own.
    pub children: Vec<String>,
}

/// A path such as `crate::registry::Config`, from a `use` or in the midst of code.
#[derive(Debug)]
pub struct Path {
    pub line: usize,
    pub segments: Vec<String>,
    /// The modules within the file, outermost first, that it stands in.
    pub inside: Vec<String>,
}

pub fn parts(text: &str) -> Parts {
    let mut parts = Parts { code: String::new(), comments: String::new() };
    let mut rest = text;
    while !rest.is_empty() {
        let (kind, length) = next_piece(rest, parts.code.chars().next_back());
        let (piece, after) = rest.split_at(length);
        for c in piece.chars() {
            let blank = if c == '\n' { '\n' } else { ' ' };
            parts.code.push(if kind == Piece::Code { c } else { blank });
            parts.comments.push(if kind == Piece::Comment { c } else { blank });
        }
        rest = after;
    }
    parts
}

#[derive(PartialEq)]
enum Piece {
    Code,
    Comment,
    Text,
}

/// The kind of what stands here and its length in bytes; code comes a character at a time.
fn next_piece(rest: &str, before: Option<char>) -> (Piece, usize) {
    let in_a_word = before.is_some_and(is_word);
    if rest.starts_with("//") {
        return (Piece::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Piece::Comment, block_comment(rest));
    }
    if let Some(length) = raw_string(rest).filter(|_| !in_a_word) {
        return (Piece::Text, length);
    }
    if rest.starts_with('"') {
        return (Piece::Text, quoted(rest, '"'));
    }
    if let Some(length) = character(rest) {
        return (Piece::Text, length);
    }
    (Piece::Code, rest.chars().next().map_or(1, char::len_utf8))
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        let step = if here.starts_with(b"/*") {
            depth += 1;
            2
        } else if here.starts_with(b"*/") {
            depth -= 1;
            2
        } else {
            1
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// `r"…"`, `r#"…"#`, also with `b` or `c` before.
fn raw_string(rest: &str) -> Option<usize> {
    let after_r = rest.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let after_hashes = after_r.trim_start_matches('#');
    let hashes = after_r.len() - after_hashes.len();
    let text = after_hashes.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let closed = text.find(&end).map_or(text.len(), |at| at + end.len());
    Some(rest.len() - text.len() + closed)
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `'x'` or `'\n'`, and not the lifetime `'x`.
fn character(rest: &str) -> Option<usize> {
    let mut inside = rest.strip_prefix('\'')?.chars();
    let first = inside.next()?;
    let is_character = first == '\\' || inside.next() == Some('\'');
    is_character.then(|| quoted(rest, '\''))
}

/// The paths in code without comments and text.
pub fn uses(code: &str) -> Uses {
    let mut reader = Reader { tokens: tokens(code), at: 0, braces: Vec::new(), uses: Uses::default() };
    while reader.at < reader.tokens.len() {
        reader.step();
    }
    reader.uses
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    /// `::`
    Joint,
    Sign(char),
}

fn tokens(code: &str) -> Vec<(usize, Token<'_>)> {
    let mut tokens = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            let (token, after) = rest.split_at(length);
            let token = match first {
                c if is_word(c) => Token::Word(token),
                _ if token == "::" => Token::Joint,
                c => Token::Sign(c),
            };
            tokens.push((number + 1, token));
            rest = after.trim_start();
        }
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Reader<'a> {
    tokens: Vec<(usize, Token<'a>)>,
    at: usize,
    /// The braces that are open, each with the name of the module that it is the body of.
    braces: Vec<Option<&'a str>>,
    uses: Uses,
}

impl<'a> Reader<'a> {
    fn step(&mut self) {
        match [self.peek(0), self.peek(1), self.peek(2)] {
            // `impl Trait + use<'a>` captures and names nothing.
            [Some(Token::Word("use")), Some(next), _] if next != Token::Sign('<') => {
                self.at += 1;
                self.tree(Vec::new());
            }
            [Some(Token::Word("extern")), Some(Token::Word("crate")), Some(Token::Word(name))] => {
                self.add(self.line(), vec![name.to_owned()]);
                self.at += 3;
            }
            [Some(Token::Word("mod")), Some(Token::Word(name)), Some(Token::Sign(';'))] => {
                self.uses.children.push(name.to_owned());
                self.at += 3;
            }
            [Some(Token::Word("mod")), Some(Token::Word(name)), Some(Token::Sign('{'))] => {
                self.braces.push(Some(name));
                self.at += 3;
            }
            [Some(Token::Sign('{')), ..] => {
                self.braces.push(None);
                self.at += 1;
            }
            [Some(Token::Sign('}')), ..] => {
                self.braces.pop();
                self.at += 1;
            }
            // `pub(in path)` says who may look, not what is looked at.
            [Some(Token::Sign('(')), Some(Token::Word("in")), _] => self.skip_to(Token::Sign(')')),
            [Some(Token::Word(_)), ..] => self.path(),
            // `Vec::<u8>::new`: what follows belongs to the type.
            [Some(Token::Sign('>')), Some(Token::Joint), Some(Token::Word(_))] => self.at += 3,
            _ => self.at += 1,
        }
    }

    fn path(&mut self) {
        let line = self.line();
        let mut segments = Vec::new();
        while let Some(Token::Word(word)) = self.peek(0) {
            segments.push(word.to_owned());
            self.at += 1;
            if self.peek(0) != Some(Token::Joint) || !matches!(self.peek(1), Some(Token::Word(_))) {
                break;
            }
            self.at += 1;
        }
        if segments.len() > 1 {
            self.add(line, segments);
        }
    }

    /// One branch of a `use`; a group of them in braces follows the same prefix.
    fn tree(&mut self, mut prefix: Vec<String>) {
        let line = self.line();
        loop {
            let token = self.peek(0);
            self.at += 1;
            match token {
                Some(Token::Joint) => {}
                Some(Token::Word("as")) => self.at += 1,
                Some(Token::Word(word)) => prefix.push(word.to_owned()),
                Some(Token::Sign('*')) => prefix.push("*".into()),
                Some(Token::Sign('{')) => return self.group(&prefix),
                _ => {
                    // Whoever asked for this branch looks at its end too.
                    self.at -= 1;
                    return self.add(line, prefix);
                }
            }
        }
    }

    fn group(&mut self, prefix: &[String]) {
        while let Some(token) = self.peek(0) {
            match token {
                Token::Sign('}') => {
                    self.at += 1;
                    return;
                }
                Token::Sign(',') => self.at += 1,
                Token::Word(_) | Token::Joint | Token::Sign('*' | '{') => self.tree(prefix.to_vec()),
                Token::Sign(_) => return,
            }
        }
    }

    fn add(&mut self, line: usize, mut segments: Vec<String>) {
        // `a::{self}` is `a`.
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        if !segments.is_empty() {
            let inside = self.braces.iter().flatten().map(|name| name.to_string()).collect();
            self.uses.paths.push(Path { line, segments, inside });
        }
    }

    fn skip_to(&mut self, end: Token<'_>) {
        while self.peek(0).is_some_and(|token| token != end) {
            self.at += 1;
        }
    }

    fn peek(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).map(|(_, token)| *token)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(line, _)| *line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let uses = uses(&parts(text).code);
        let paths: Vec<String> =
            uses.paths.iter().map(|path| format!("{}:{}", path.line, path.segments.join("::"))).collect();
        assert_eq!(paths.join(" "), expected, "{text}");
    }

    #[test]
    fn uses_and_groups() {
        check("use crate::a;", "1:crate::a");
        check(
            "pub use crate::a::{b, c::{d, self}, e as f};",
            "1:crate::a::b 1:crate::a::c::d 1:crate::a::c 1:crate::a::e",
        );
        check("use crate::{\n    a,\n    b::*,\n};\nuse c;", "2:crate::a 3:crate::b::* 5:c");
        check("use {crate::a, ::b::c};", "1:crate::a 1:b::c");
        check("extern crate a;", "1:a");
        check("use super::super::a::{B as _};", "1:super::super::a::B");
    }

    #[test]
    fn paths_in_code() {
        check("fn a() -> crate::b::C { d::e(f.g::<h::I>()) }", "1:crate::b::C 1:d::e 1:h::I");
        check("let a = Vec::<u8>::new::<b::C>();", "1:b::C");
        check("<a::B as crate::c::D>::e(x)", "1:a::B 1:crate::c::D");
        check("pub(in crate::a) fn b() -> impl C + use<'_> {}", "");
        check("$crate::a::b!()", "1:crate::a::b");
    }

    #[test]
    fn comments_and_text_are_no_code() {
        check("// use crate::a;\n/* crate::b::c /* nested */ crate::d::e */ f::g()", "2:f::g");
        check(r#"let a = "crate::b \" crate::c"; d::e()"#, "1:d::e");
        check("let a = r#\"crate::b \" crate::c\"#; d::e()", "1:d::e");
        check("let a = br\"\\\"; b::c()", "1:b::c");
        check("let a = '\"'; b::c('\\'', 'd'); fn e<'f>(g: &'f h::I) {}", "1:b::c 1:h::I");
        check("let for_r = bar\"x\";", "");
        assert_eq!(parts("a // b \"\nc").comments, "  // b \"\n ");
    }

    #[test]
    fn a_path_knows_the_modules_within_the_file() {
        let uses = uses("mod a { fn f() { b::c } mod d { use e::{f, g}; } } use h::i;");
        let inside: Vec<String> = uses.paths.iter().map(|path| path.inside.join("::")).collect();
        assert_eq!(inside, ["a", "a::d", "a::d", ""]);
    }

    #[test]
    fn children_are_modules_in_files() {
        assert_eq!(uses("mod a; pub(crate) mod b; mod c { }").children, ["a", "b"]);
    }
}
