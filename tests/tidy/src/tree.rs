//! The files of a working tree, as text.
//!
//! It leaves out what is built, fetched or git's own; it judges nothing.

use std::{fs, io, path::Path};

use walkdir::{DirEntry, WalkDir};

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 5] = [".git", "target", "node_modules", "__pycache__", ".venv"];

/// Larger files are data, not text.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// A text file.
pub(crate) struct TextFile {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A working tree.
pub(crate) struct Tree {
    /// Text files, sorted by path.
    pub(crate) files: Vec<TextFile>,
    /// Names in the root folder, sorted.
    pub(crate) top_level: Vec<String>,
}

/// Why a tree was not read.
#[derive(Debug)]
#[non_exhaustive]
pub enum TreeError {
    /// A folder could not be listed.
    List(walkdir::Error),
    /// A file could not be read.
    Read(String, io::Error),
}

impl std::fmt::Display for TreeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::List(error) => write!(f, "cannot list: {error}"),
            Self::Read(path, error) => write!(f, "cannot read {path}: {error}"),
        }
    }
}

impl std::error::Error for TreeError {}

impl Tree {
    /// Reads the tree at `root`.
    pub(crate) fn read(root: &Path) -> Result<Self, TreeError> {
        let mut tree = Self {
            files: Vec::new(),
            top_level: Vec::new(),
        };
        let walk = WalkDir::new(root).min_depth(1).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(|entry| !is_skipped(entry)) {
            tree.add(root, &entry.map_err(TreeError::List)?)?;
        }
        Ok(tree)
    }

    /// The file at this path.
    pub(crate) fn file(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }

    fn add(&mut self, root: &Path, entry: &DirEntry) -> Result<(), TreeError> {
        let path = relative(root, entry.path());
        if entry.depth() == 1 {
            self.top_level.push(path.clone());
        }
        let is_text = entry.file_type().is_file()
            && entry.metadata().map_err(TreeError::List)?.len() <= MAX_TEXT_BYTES;
        if !is_text {
            return Ok(());
        }
        let bytes = fs::read(entry.path()).map_err(|error| TreeError::Read(path.clone(), error))?;
        if let Ok(text) = String::from_utf8(bytes) {
            self.files.push(TextFile { path, text });
        }
        Ok(())
    }
}

fn is_skipped(entry: &DirEntry) -> bool {
    SKIPPED.iter().any(|name| entry.file_name() == *name)
}

fn relative(root: &Path, path: &Path) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_text_is_read() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write("a/b.rs", b"//! b");
        write("a/target/c.rs", b"//! c");
        write("d.gguf", &[0xff, 0xfe]);
        let tree = Tree::read(root.path()).unwrap();
        let paths: Vec<_> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["a/b.rs"]);
        assert_eq!(tree.top_level, ["a", "d.gguf"]);
        assert_eq!(tree.file("a/b.rs").unwrap().text, "//! b");
    }
}
