//! Constructs that src/ avoids so that it stays plain: options of the command line in the library, `match` on a bool,
//! and tuples as parameters.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{FnArg, Lit, LitStr, Pat, Signature, Type, Visibility};

use super::source::Source;

/// Reports options of the command line in string literals. The library does not know them: the program turns the
/// library's values into advice.
pub fn options(source: &Source) -> Vec<String> {
    if source.path.starts_with("src/bin/") {
        return Vec::new();
    }
    let mut finder = Options::default();
    finder.visit_file(&source.file);
    let describe = |found: Found| format!("{}:{}: option {} in a string", source.path, found.line, found.text);
    finder.0.into_iter().map(describe).collect()
}

/// Reports `match` expressions with an arm `true` or `false`. Use `if`.
pub fn bool_matches(source: &Source) -> Vec<String> {
    let mut finder = BoolMatches::default();
    finder.visit_file(&source.file);
    finder.0.into_iter().map(|line| format!("{}:{line}: match on a bool; use if", source.path)).collect()
}

/// Reports tuples among the parameters of functions that other modules can call. A struct names its parts.
pub fn tuple_parameters(source: &Source) -> Vec<String> {
    let mut finder = TupleParameters::default();
    finder.visit_file(&source.file);
    let describe = |found: Found| format!("{}:{}: tuple parameter of {}", source.path, found.line, found.text);
    finder.0.into_iter().map(describe).collect()
}

struct Found {
    line: usize,
    text: String,
}

#[derive(Default)]
struct Options(Vec<Found>);

impl<'a> Visit<'a> for Options {
    fn visit_attribute(&mut self, attribute: &'a syn::Attribute) {
        // Documentation is an attribute too, and may name options.
        if !attribute.path().is_ident("doc") {
            visit::visit_attribute(self, attribute);
        }
    }

    fn visit_lit_str(&mut self, literal: &'a LitStr) {
        let found = option_in(&literal.value()).map(|text| Found { line: literal.span().start().line, text });
        self.0.extend(found);
    }

    fn visit_token_stream(&mut self, tokens: &'a TokenStream) {
        for token in tokens.clone() {
            match token {
                TokenTree::Group(group) => self.visit_token_stream(&group.stream()),
                TokenTree::Literal(literal) => {
                    if let Lit::Str(literal) = Lit::new(literal) {
                        self.visit_lit_str(&literal);
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

/// The first word of a text that begins with `--` and a lower-case letter.
fn option_in(text: &str) -> Option<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let is_option =
        |word: &&str| word.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    words.into_iter().find(is_option).map(str::to_owned)
}

#[derive(Default)]
struct BoolMatches(Vec<usize>);

impl<'a> Visit<'a> for BoolMatches {
    fn visit_expr_match(&mut self, expression: &'a syn::ExprMatch) {
        if expression.arms.iter().any(|arm| is_bool(&arm.pat)) {
            self.0.push(expression.match_token.span.start().line);
        }
        visit::visit_expr_match(self, expression);
    }
}

fn is_bool(pattern: &Pat) -> bool {
    match pattern {
        Pat::Guard(guarded) => is_bool(&guarded.pat),
        Pat::Lit(pattern) => matches!(pattern.lit, Lit::Bool(_)),
        _ => false,
    }
}

#[derive(Default)]
struct TupleParameters(Vec<Found>);

impl TupleParameters {
    fn check(&mut self, visibility: &Visibility, signature: &Signature) {
        let is_private = matches!(visibility, Visibility::Inherited);
        if !is_private && signature.inputs.iter().any(is_tuple) {
            let text = signature.ident.to_string();
            self.0.push(Found { line: signature.ident.span().start().line, text });
        }
    }
}

impl<'a> Visit<'a> for TupleParameters {
    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.check(&function.vis, &function.sig);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.check(&function.vis, &function.sig);
        visit::visit_impl_item_fn(self, function);
    }
}

fn is_tuple(parameter: &FnArg) -> bool {
    let FnArg::Typed(parameter) = parameter else { return false };
    let mut kind = &*parameter.ty;
    while let Type::Reference(reference) = kind {
        kind = &reference.elem;
    }
    matches!(*parameter.pat, Pat::Tuple(_)) || matches!(kind, Type::Tuple(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&Source) -> Vec<String>, path: &str, text: &str, expected: &[&str]) {
        assert_eq!(rule(&Source::new(path, text).unwrap()), expected, "{text}");
    }

    #[test]
    fn finds_options_in_strings() {
        let check = |path, text, expected: &[&str]| check(options, path, text, expected);
        let found = |line| format!("src/a.rs:{line}: option --ca-file in a string");
        check("src/a.rs", "const A: &str = \"use --ca-file\";", &[&found(1)]);
        check("src/a.rs", "fn a() {\n    b(format!(\"{c} --ca-file=X\"));\n}", &[&found(2)]);
        check("src/a.rs", "fn a() { b(vec![c(r#\"`--ca-file`\"#)]) }", &[&found(1)]);
        check("src/bin/pullet/a.rs", "const A: &str = \"use --ca-file\";", &[]);
        check("src/a.rs", "//! Not --ca-file.\n/// Nor --ca-file.\nfn a() {} // --ca-file", &[]);
        check("src/a.rs", "const A: &str = \"-----BEGIN X-----\\n a--b -- -c\";", &[]);
        check("src/a.rs", "#[cfg(test)]\nmod tests {\n    const A: &str = \"--ca-file\";\n}\n", &[]);
    }

    #[test]
    fn finds_matches_on_a_bool() {
        let check = |text, expected: &[&str]| check(bool_matches, "src/a.rs", text, expected);
        check("fn a() {\n    match b { true => 1, false => 2 };\n}", &["src/a.rs:2: match on a bool; use if"]);
        check("fn a() { match b { false if c => 1, _ => 2 } }", &["src/a.rs:1: match on a bool; use if"]);
        check("fn a() { match b { C::D => match e { true => 1, _ => 2 } } }", &["src/a.rs:1: match on a bool; use if"]);
        check("fn a() { match b { (true, _) => 1, _ => 2 } }", &[]);
        check("fn a() { matches!(b, Some(true)) }", &[]);
    }

    #[test]
    fn finds_tuple_parameters() {
        let check = |text, expected: &[&str]| check(tuple_parameters, "src/a.rs", text, expected);
        check("pub fn a((b, c): (u8, u8)) {}", &["src/a.rs:1: tuple parameter of a"]);
        check("pub(crate) fn a(b: u8, c: &mut (u8, u8)) {}", &["src/a.rs:1: tuple parameter of a"]);
        check("impl A {\n    pub fn a(&self, b: (u8, u8)) {}\n}", &["src/a.rs:2: tuple parameter of a"]);
        check("pub fn a((b, c): Pair) {}", &["src/a.rs:1: tuple parameter of a"]);
        check("fn a((b, c): (u8, u8)) {} pub fn d(e: &[(u8, u8)], f: fn((u8, u8))) -> (u8, u8) { g }", &[]);
    }
}
