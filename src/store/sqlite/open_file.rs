//! Whether the database is still the file that was opened.
//!
//! Rule: every look at the database first looks at the name of its file. When that names no file, or another one, reads and
//! writes are refused. Threat: a file is deleted or replaced under a running server, which would go on writing into what has no
//! name any more, and all that it acknowledged would be lost at its end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The file of an open database.
#[derive(Clone, Debug)]
pub struct OpenFile {
    path: PathBuf,
    identity: Identity,
    is_lost: Arc<AtomicBool>,
}

/// The numbers of a file's device and of the file on it.
type Identity = (u64, u64);

impl OpenFile {
    /// The file with this name, which is to be opened. [`OpenFile::check`] tells afterwards whether it was.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)?, is_lost: Arc::default() })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails while the name names no file, or another one.
    pub fn check(&self) -> Result<(), sqlx::Error> {
        let fault = match identity(&self.path) {
            Ok(identity) if identity == self.identity => {
                self.is_lost.store(false, Ordering::Relaxed);
                return Ok(());
            }
            Ok(_) => io::Error::other("another file has taken the place of the database"),
            Err(error) => error,
        };
        if !self.is_lost.swap(true, Ordering::Relaxed) {
            tracing::error!(
                file = %self.path.display(),
                %fault,
                "the file of the database cannot be found any more under its name; put it back, or restart to use what is there now"
            );
        }
        Err(sqlx::Error::Io(fault))
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().map(|file| (file.dev(), file.ino()))
}

/// Elsewhere an open file can neither be deleted nor replaced.
#[cfg(not(unix))]
fn identity(_: &Path) -> io::Result<Identity> {
    Ok((0, 0))
}
