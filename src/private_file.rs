//! Files that only their owner may read, and names that outlive a power failure.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Creates a file that only its owner may read and write (mode 0600). It is an error when the file exists.
pub fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The permission bits of a file, if the group or others have any; `None` means that the file is private. Elsewhere than on
/// Unix there are no such bits.
pub fn open_mode(path: &Path) -> io::Result<Option<u32>> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata()?.permissions()) & 0o777;
        Ok(Some(mode).filter(|mode| mode & 0o077 != 0))
    }
    #[cfg(not(unix))]
    path.metadata().map(|_| None)
}

/// Takes all permissions on a file from everyone but its owner.
pub fn restrict(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if open_mode(path)?.is_some() {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    Ok(())
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Waits until the names in a file's folder have reached the disk: without that, a file that was synced can still lose its
/// name in a power failure.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder_of(path))?.sync_all()?;
    Ok(())
}
