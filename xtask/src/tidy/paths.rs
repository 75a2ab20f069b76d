//! Finds the paths that a file names, in `use` items, in code and in macros.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::UseTree;
use syn::visit::{self, Visit};

/// A path such as `crate::registry::Config`.
#[derive(Debug)]
pub struct Path {
    pub line: usize,
    pub segments: Vec<String>,
    /// The inline modules that enclose the path, outermost first.
    pub inside: Vec<String>,
}

/// The paths and modules that one file names.
#[derive(Debug, Default)]
pub struct Names {
    /// All paths of at least two segments, and everything that `use` names.
    pub paths: Vec<Path>,
    /// The modules that the file declares and that are in files of their own.
    pub children: Vec<String>,
    /// True if a `#[path]` attribute moves a module to another file.
    pub has_path_attribute: bool,
}

pub fn find(file: &syn::File) -> Names {
    let mut finder = Finder::default();
    finder.visit_file(file);
    finder.names
}

#[derive(Default)]
struct Finder {
    names: Names,
    inside: Vec<String>,
}

impl Finder {
    fn add(&mut self, line: usize, segments: Vec<String>) {
        self.names.paths.push(Path { line, segments, inside: self.inside.clone() });
    }

    fn add_path(&mut self, segments: &[&Ident]) {
        if let [first, _, ..] = segments {
            self.add(line(first), segments.iter().map(|ident| ident.to_string()).collect());
        }
    }

    /// Adds one path for each leaf of a `use` item.
    fn add_use(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |last: String| [prefix, &[last]].concat();
        match tree {
            UseTree::Path(path) => self.add_use(&with(path.ident.to_string()), &path.tree),
            // `a::{self}` is `a`.
            UseTree::Name(name) if name.ident == "self" && !prefix.is_empty() => {
                self.add(line(&name.ident), prefix.to_vec());
            }
            UseTree::Name(name) => self.add(line(&name.ident), with(name.ident.to_string())),
            UseTree::Rename(rename) => self.add(line(&rename.ident), with(rename.ident.to_string())),
            UseTree::Glob(glob) => self.add(glob.star_token.spans[0].start().line, with("*".to_owned())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_use(prefix, tree)),
        }
    }
}

impl<'a> Visit<'a> for Finder {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        let name = module.ident.to_string();
        if module.content.is_none() {
            self.names.children.push(name.clone());
        }
        self.inside.push(name);
        visit::visit_item_mod(self, module);
        self.inside.pop();
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.add_use(&[], &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'a syn::ItemExternCrate) {
        self.add(line(&item.ident), vec![item.ident.to_string()]);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        self.add_path(&path.segments.iter().map(|segment| &segment.ident).collect::<Vec<_>>());
        visit::visit_path(self, path);
    }

    fn visit_attribute(&mut self, attribute: &'a syn::Attribute) {
        self.names.has_path_attribute |= attribute.path().is_ident("path");
        visit::visit_attribute(self, attribute);
    }

    /// `pub(in path)` restricts visibility and uses nothing.
    fn visit_vis_restricted(&mut self, _: &'a syn::VisRestricted) {}

    /// Macros and attributes take any tokens, so their paths are found as identifiers joined by `::`.
    fn visit_token_stream(&mut self, tokens: &'a TokenStream) {
        let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
        let mut segments: Vec<&Ident> = Vec::new();
        let mut colons = 0;
        for token in &tokens {
            match token {
                TokenTree::Punct(sign) if sign.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(ident) if colons == 2 => segments.push(ident),
                TokenTree::Ident(ident) => {
                    self.add_path(&segments);
                    segments = vec![ident];
                }
                other => {
                    self.add_path(&segments);
                    segments.clear();
                    if let TokenTree::Group(group) = other {
                        self.visit_token_stream(&group.stream());
                    }
                }
            }
            colons = 0;
        }
        self.add_path(&segments);
    }
}

fn line(ident: &Ident) -> usize {
    ident.span().start().line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Names {
        find(&syn::parse_file(text).unwrap())
    }

    fn check(text: &str, expected: &str) {
        let paths: Vec<String> =
            names(text).paths.iter().map(|path| format!("{}:{}", path.line, path.segments.join("::"))).collect();
        assert_eq!(paths.join(" "), expected, "{text}");
    }

    #[test]
    fn finds_every_leaf_of_a_use() {
        check("use crate::a;", "1:crate::a");
        check(
            "pub use crate::a::{b, c::{d, self}, e as f};",
            "1:crate::a::b 1:crate::a::c::d 1:crate::a::c 1:crate::a::e",
        );
        check("use crate::{\n    a,\n    b::*,\n};\nuse c;", "2:crate::a 3:crate::b::* 5:c");
        check("use {crate::a, b::c}; extern crate d;", "1:crate::a 1:b::c 1:d");
        check("use super::super::a::{B as _};", "1:super::super::a::B");
    }

    #[test]
    fn finds_paths_in_code() {
        check("fn a() -> crate::b::C { d::e(f.g::<h::I>()) }", "1:crate::b::C 1:d::e 1:h::I");
        check("fn a() { Vec::<u8>::new::<b::C>() }", "1:Vec::new 1:b::C");
        check("fn a() { <a::B as crate::c::D>::e(x) }", "1:a::B 1:crate::c::D::e");
        check("pub(in crate::a) fn b() -> impl C + use<'_> {}", "");
        check("// use crate::a;\n/* b::c */ fn d() { \"crate::e\"; '\"'; f::g() }", "2:f::g");
    }

    #[test]
    fn finds_paths_in_macros_and_attributes() {
        check("fn a() { vec![b::c(d::e { f: g::h }), \"i::j\"] }", "1:b::c 1:d::e 1:g::h");
        check("macro_rules! a { () => { $crate::b::c!(d, ::e::f) } }", "1:crate::b::c 1:e::f");
        check("#[derive(a::B, C)] struct D;", "1:a::B");
    }

    #[test]
    fn a_path_knows_its_enclosing_modules() {
        let names = names("mod a { fn f() { b::c } mod d { use e::{f, g}; } } use h::i;");
        let inside: Vec<String> = names.paths.iter().map(|path| path.inside.join("::")).collect();
        assert_eq!(inside, ["a", "a::d", "a::d", ""]);
    }

    #[test]
    fn finds_modules_in_other_files() {
        assert_eq!(names("mod a; pub(crate) mod b; mod c { }").children, ["a", "b"]);
        assert!(names("#[path = \"x.rs\"] mod a;").has_path_attribute);
    }
}
