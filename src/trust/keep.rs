//! Files that kimgate writes for itself.

use std::io::{self, Write};
use std::path::Path;

/// Makes the folder for what must survive a restart, for its owner only, with the folders above it.
/// A folder that is there stays as it is.
pub(crate) fn make_state_dir(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Writes a new file beside `path` and renames it, so that a reader never sees half of it. The file
/// has its mode from the first byte on.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode; // the folder's access list rules there
    let mut file = options.open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// It was 0755: every user of the machine could list what is kept, and read the certificates.
    #[test]
    fn the_state_folder_is_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("kimgate/state");
        make_state_dir(&state).unwrap();
        make_state_dir(&state).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        assert_eq!(mode(state.parent().unwrap()), 0o700);
    }
}
