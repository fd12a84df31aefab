//! Files that did not exist before: written whole, or taken away again.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::cli::Failure;

/// Files written so far; dropped before [`NewFiles::keep`], they are removed, so that a failure in
/// the middle leaves no key without its certificate.
pub(super) struct NewFiles {
    folder: PathBuf,
    written: Vec<PathBuf>,
}

impl NewFiles {
    /// In this folder, which is made, where none of these names is taken.
    pub(super) fn in_folder(folder: &Path, names: &[&str]) -> Result<Self, Failure> {
        let at = |error| Failure::error(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(folder).map_err(at)?;
        let folder = folder.canonicalize().map_err(at)?;
        match names
            .iter()
            .map(|name| folder.join(name))
            .find(|path| path.symlink_metadata().is_ok())
        {
            Some(taken) => Err(exists(&taken)),
            None => Ok(Self { folder, written: Vec::new() }),
        }
    }

    /// Writes something that everybody may read.
    pub(super) fn write_public(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.write(name, bytes, 0o644)
    }

    /// Writes something that its owner alone may read, from the first byte on.
    pub(super) fn write_secret(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.write(name, bytes, 0o600)
    }

    /// Everything is written; gives the paths.
    pub(super) fn keep(mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.written)
    }

    fn write(&mut self, name: &str, bytes: &[u8], mode: u32) -> Result<(), Failure> {
        let path = self.folder.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode; // the folder's access list rules there
        let failure = |error: std::io::Error| {
            if error.kind() == ErrorKind::AlreadyExists {
                return exists(&path);
            }
            Failure::error(format!("{}: {error}", path.display()))
        };
        let mut file = options.open(&path).map_err(failure)?;
        self.written.push(path.clone());
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failure)
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        for path in &self.written {
            // What cannot be removed stays; the failure that led here is being told.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A name as the first part of a file's name.
pub(super) fn stem(name: &str) -> String {
    let stem: String = name
        .chars()
        .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .collect();
    // Neither hidden nor the folder above.
    let stem = stem.trim_start_matches('.');
    if stem.is_empty() { "client".into() } else { stem.into() }
}

fn exists(path: &Path) -> Failure {
    Failure::error(format!(
        "{} exists, and nothing is overwritten: move it away, or choose another --dir",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_its_folder() {
        let table = [
            ("PC1", "PC1"),
            ("dr.müller", "dr.müller"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("PC 1/2", "PC_1_2"),
            (".hidden", "hidden"),
            ("..", "client"),
            ("a\\b:c", "a_b_c"),
        ];
        for (name, expected) in table {
            assert_eq!(stem(name), expected);
        }
    }

    #[test]
    fn files_are_removed_unless_all_of_them_could_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = NewFiles::in_folder(folder.path(), &["a", "b"]).unwrap();
        files.write_public("a", b"1").unwrap();
        std::fs::write(folder.path().join("b"), "mine").unwrap();
        assert!(files.write_secret("b", b"2").is_err());
        drop(files);
        assert!(!folder.path().join("a").exists());
        assert_eq!(std::fs::read_to_string(folder.path().join("b")).unwrap(), "mine");
        assert!(NewFiles::in_folder(folder.path(), &["a", "b"]).is_err());
    }
}
