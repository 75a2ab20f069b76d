//! Applies the entries of layers to a [`MergedTree`], by the rules of `unpack`: paths are resolved by chroot rules, and
//! whiteouts remove what lower layers have and nothing of their own layer.

use super::tree::{MergedTree, NodeKind, ROOT};
use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::{AUFS_LINKS, COMPONENT_LIMIT, EntryKind, NameKind, SafePath, TarEntry};
use crate::limits::Limits;
use crate::unpack::{LINK_COMPONENTS, LINK_COMPONENTS_AHEAD, LINK_LIMIT, check_symlink};

/// Applies layers to a tree.
#[derive(Clone)]
pub(super) struct Merger {
    pub(super) tree: MergedTree,
    depth_limit: usize,
    cancel: Cancel,
    /// The number of the current layer.
    layer: u16,
    /// The directory of the previous entry. The same path leads to the same directory, as in `unpack`.
    current: Option<Place>,
    /// The directory that the previous entry made.
    made: Option<Place>,
    /// How many components of links' targets may still be walked.
    link_components: usize,
    has_aufs_links: bool,
}

/// A directory, and the path that led to it.
#[derive(Clone)]
struct Place {
    path: Vec<u8>,
    found: Found,
}

#[derive(Clone, Copy)]
struct Found {
    node: u32,
    /// The number of components of its path without links; 0 for the root.
    depth: usize,
}

/// The action if a component of a path does not exist.
#[derive(Clone, Copy, PartialEq)]
enum IfMissing {
    Create,
    ReturnNone,
}

impl Merger {
    pub(super) fn new(tree: MergedTree, limits: &Limits, cancel: &Cancel) -> Self {
        Self {
            tree,
            depth_limit: limits.depth,
            cancel: cancel.clone(),
            layer: 0,
            current: None,
            made: None,
            link_components: LINK_COMPONENTS_AHEAD,
            has_aufs_links: false,
        }
    }

    /// Begins the layer with this number. The first one is 0.
    pub(super) fn begin_layer(&mut self, number: usize) -> Result<()> {
        self.layer = u16::try_from(number).map_err(|_| Limits::exceeded("layers", u16::MAX))?;
        (self.current, self.made, self.has_aufs_links) = (None, None, false);
        Ok(())
    }

    /// Applies an entry of the current layer. `number` counts the entries of all layers.
    pub(super) fn apply(&mut self, entry: &TarEntry, number: u32) -> Result<()> {
        let path = SafePath::parse_entry(&entry.path)?;
        let kind = path.kind()?;
        let is_aufs_link = kind == NameKind::AufsLinkedFile && matches!(entry.kind, EntryKind::Regular(_));
        if kind == NameKind::Plain || is_aufs_link {
            self.has_aufs_links |= is_aufs_link;
            return self.create(&path, entry, number);
        }
        // In the first layer a whiteout has nothing to remove.
        if self.layer == 0 {
            return Ok(());
        }
        match kind {
            NameKind::Whiteout(name) => self.white_out(path.parent(), name),
            NameKind::OpaqueWhiteout => match self.enter(path.parent(), IfMissing::ReturnNone)? {
                Some(directory) => self.tree.clear(directory, self.layer),
                None => Ok(()),
            },
            NameKind::Plain | NameKind::AufsMetadata | NameKind::AufsLinkedFile => Ok(()),
        }
    }

    /// Ends the current layer. The files that AUFS kept for hard links are no part of the image.
    pub(super) fn end_layer(&mut self) -> Result<()> {
        if self.has_aufs_links
            && let Some(links) = self.tree.child(ROOT, AUFS_LINKS)?
        {
            self.tree.remove(links)?;
        }
        Ok(())
    }

    /// Finds a node by its path, through all symlinks, also one that is the last component. `None` if it does not exist.
    pub(super) fn find(&mut self, path: &[u8]) -> Result<Option<u32>> {
        self.link_components = LINK_COMPONENTS_AHEAD;
        let mut found = Found { node: ROOT, depth: 0 };
        let mut links = 0;
        let mut pending: Vec<Vec<u8>> = Vec::new();
        push_components(&mut pending, path);
        while let Some(component) = pending.pop() {
            if self.tree.kind(found.node)? != NodeKind::Directory {
                return Ok(None);
            }
            if component == b".." {
                self.go_up(&mut found)?;
                continue;
            }
            let Some(child) = self.tree.child(found.node, &component)? else { return Ok(None) };
            if self.tree.kind(child)? == NodeKind::Symlink {
                self.follow(child, path, &mut Walk { found: &mut found, links: &mut links, pending: &mut pending })?;
            } else {
                found = Found { node: child, depth: found.depth + 1 };
            }
        }
        Ok(Some(found.node))
    }

    fn create(&mut self, path: &SafePath, entry: &TarEntry, number: u32) -> Result<()> {
        if path.is_root() {
            return self.set_root(entry, number);
        }
        if let EntryKind::HardLink(target) = &entry.kind {
            return self.create_hard_link(path, target);
        }
        if let EntryKind::Symlink(target) = &entry.kind {
            check_symlink(path, target)?;
        }
        let parent = self.enter_or_create(path.parent())?;
        let (name, layer) = (path.name(), self.layer);
        let node = match &entry.kind {
            EntryKind::Directory => return self.create_directory(parent, path, entry, number),
            EntryKind::Symlink(target) => self.tree.add_symlink(parent, name, target, number, layer)?,
            _ => self.tree.add_other(parent, name, number, layer)?,
        };
        self.tree.record(node, layer)
    }

    fn set_root(&mut self, entry: &TarEntry, number: u32) -> Result<()> {
        if !matches!(entry.kind, EntryKind::Directory) {
            return Err(Error::new(ErrorKind::Unsafe, "unsafe name: the entry of the root is not a directory"));
        }
        self.current = None;
        self.made = Some(Place { path: Vec::new(), found: Found { node: ROOT, depth: 0 } });
        self.tree.set_attributes(ROOT, number, entry)
    }

    fn create_directory(&mut self, parent: u32, path: &SafePath, entry: &TarEntry, number: u32) -> Result<()> {
        let existing = self.tree.child(parent, path.name())?;
        let node = match existing {
            Some(node) if self.tree.kind(node)? == NodeKind::Directory => {
                self.tree.set_attributes(node, number, entry)?;
                node
            }
            _ => self.tree.add_directory(parent, path.name(), number, self.layer)?,
        };
        let depth = self.current.as_ref().map_or(0, |current| current.found.depth) + 1;
        self.made = Some(Place { path: path.as_bytes().to_vec(), found: Found { node, depth } });
        self.tree.record(node, self.layer)
    }

    fn create_hard_link(&mut self, path: &SafePath, target: &[u8]) -> Result<()> {
        let unsafe_link = |why: &str| {
            let (link, target) = (String::from_utf8_lossy(path.as_bytes()), String::from_utf8_lossy(target));
            Err(Error::new(ErrorKind::Unsafe, format!("hard link \"{link}\" to \"{target}\": {why}")))
        };
        let target_path = SafePath::parse(target)?;
        if target_path.is_root() {
            return unsafe_link("the target is the root");
        }
        if target_path.as_bytes().starts_with(&[path.as_bytes(), b"/"].concat()) {
            return unsafe_link("the target is below the link");
        }
        let directory = self.resolve(target_path.parent(), IfMissing::ReturnNone)?;
        let source = match directory {
            Some(directory) => self.tree.child(directory.node, target_path.name())?,
            None => None,
        };
        let Some(source) = source else { return unsafe_link("the target does not exist") };
        if self.tree.kind(source)? == NodeKind::Directory {
            return unsafe_link("the target is a directory");
        }
        let parent = self.enter_or_create(path.parent())?;
        if let Some(existing) = self.tree.child(parent, path.name())? {
            if self.tree.is_same_file(existing, source)? {
                return self.tree.record(existing, self.layer);
            }
            if self.is_above(existing, source)? {
                return unsafe_link("the target is below the link");
            }
        }
        let link = self.tree.add_link(parent, path.name(), source, target_path.name(), self.layer)?;
        self.tree.record(link, self.layer)
    }

    fn is_above(&self, directory: u32, node: u32) -> Result<bool> {
        let mut at = node;
        while at != ROOT {
            at = self.tree.parent(at)?;
            if at == directory {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn white_out(&mut self, directory: &[u8], name: &[u8]) -> Result<()> {
        let Some(parent) = self.enter(directory, IfMissing::ReturnNone)? else { return Ok(()) };
        match self.tree.child(parent, name)? {
            Some(node) => self.tree.white_out(node, self.layer),
            None => Ok(()),
        }
    }

    fn enter_or_create(&mut self, path: &[u8]) -> Result<u32> {
        let none = || Error::new(ErrorKind::Internal, "merge layers: no current directory");
        self.enter(path, IfMissing::Create)?.ok_or_else(none)
    }

    /// Makes `path` the current directory.
    fn enter(&mut self, path: &[u8], if_missing: IfMissing) -> Result<Option<u32>> {
        let made = self.made.take().filter(|made| made.path == path);
        if let Some(current) = &self.current
            && current.path == path
        {
            return Ok(Some(current.found.node));
        }
        self.current = None;
        let found = match made {
            Some(made) => Some(made.found),
            None => self.resolve(path, if_missing)?,
        };
        let Some(found) = found else { return Ok(None) };
        // The entries of this directory have one component more.
        if found.depth >= self.depth_limit {
            return Err(self.too_deep());
        }
        self.current = Some(Place { path: path.to_vec(), found });
        Ok(Some(found.node))
    }

    /// Finds the directory `path`.
    fn resolve(&mut self, path: &[u8], if_missing: IfMissing) -> Result<Option<Found>> {
        if components(path).count() >= self.depth_limit {
            return Err(self.too_deep());
        }
        self.link_components = self.link_components.saturating_add(LINK_COMPONENTS);
        let mut found = Found { node: ROOT, depth: 0 };
        let mut links = 0;
        let mut pending: Vec<Vec<u8>> = Vec::new();
        push_components(&mut pending, path);
        while let Some(component) = pending.pop() {
            self.cancel.check()?;
            if component == b".." {
                self.go_up(&mut found)?;
                continue;
            }
            let child = match self.tree.child(found.node, &component)? {
                Some(child) => child,
                None if if_missing == IfMissing::ReturnNone => return Ok(None),
                None if component.len() > COMPONENT_LIMIT => {
                    return Err(unsafe_path(path, "a component of a link's target is too long"));
                }
                None => self.tree.add_implied(found.node, &component, self.layer)?,
            };
            match self.tree.kind(child)? {
                NodeKind::Directory => {
                    found = Found { node: child, depth: found.depth + 1 };
                    if found.depth >= self.depth_limit {
                        return Err(self.too_deep());
                    }
                }
                NodeKind::Symlink => {
                    let mut walk = Walk { found: &mut found, links: &mut links, pending: &mut pending };
                    self.follow(child, path, &mut walk)?;
                }
                NodeKind::Other if if_missing == IfMissing::ReturnNone => return Ok(None),
                NodeKind::Other => return Err(unsafe_path(path, "a component is not a directory")),
            }
        }
        Ok(Some(found))
    }

    fn go_up(&self, found: &mut Found) -> Result<()> {
        if found.depth > 0 {
            *found = Found { node: self.tree.parent(found.node)?, depth: found.depth - 1 };
        }
        Ok(())
    }

    fn follow(&mut self, link: u32, path: &[u8], walk: &mut Walk<'_>) -> Result<()> {
        *walk.links += 1;
        if *walk.links > LINK_LIMIT {
            return Err(unsafe_path(path, "too many links"));
        }
        let target = self.tree.target(link)?;
        if target.starts_with(b"/") {
            *walk.found = Found { node: ROOT, depth: 0 };
        }
        let before = walk.pending.len();
        push_components(walk.pending, target);
        let left = self.link_components.checked_sub(walk.pending.len() - before);
        self.link_components = left.ok_or_else(|| unsafe_path(path, "its links have too many components"))?;
        Ok(())
    }

    fn too_deep(&self) -> Error {
        Limits::exceeded_adjustable(Limit::Depth, "components of a path", self.depth_limit as u64)
    }
}

/// The state of a walk that a symlink changes.
struct Walk<'a> {
    found: &'a mut Found,
    links: &'a mut usize,
    /// A stack: the next component is the last element.
    pending: &'a mut Vec<Vec<u8>>,
}

/// Pushes the components of `path` on a stack, so that the first one is on top.
pub(super) fn push_components(stack: &mut Vec<Vec<u8>>, path: &[u8]) {
    stack.extend(components(path).rev().map(<[u8]>::to_vec));
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|component| !matches!(*component, b"" | b"."))
}

fn unsafe_path(path: &[u8], why: &str) -> Error {
    Error::new(ErrorKind::Unsafe, format!("path \"{}\": {why}", String::from_utf8_lossy(path)))
}
