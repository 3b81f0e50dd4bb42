//! A line to PostgreSQL that tests can cut.

use std::path::PathBuf;

use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::Database;

/// A line to PostgreSQL that can be cut so that neither end hears of it, as when a firewall forgets its connections.
pub struct Line {
    pub url: String,
    cut: watch::Sender<()>,
    _folder: tempfile::TempDir,
}

impl Line {
    /// A line that is in order.
    pub fn to(database: &Database) -> Self {
        let (before, rest) = database.url.split_once("host=").unwrap();
        let (socket, after) = rest.split_once('&').unwrap();
        let server = PathBuf::from(socket).join(".s.PGSQL.5432");
        let folder = tempfile::TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let url = format!("{before}host={}&{after}", folder.path().display());
        let (cut, is_cut) = watch::channel(());
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                // While PostgreSQL is away, a connection is closed.
                let Ok(mut server) = UnixStream::connect(&server).await else { continue };
                let mut is_cut = is_cut.clone();
                is_cut.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ended = copy_bidirectional(&mut client, &mut server) => return,
                        _ = is_cut.changed() => {}
                    }
                    // Both stay open, and nothing comes any more.
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { url, cut, _folder: folder }
    }

    /// Cuts all connections that there are. New ones are possible.
    pub fn cut(&self) {
        self.cut.send(()).unwrap();
    }
}
