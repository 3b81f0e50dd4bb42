//! What is between a server and PostgreSQL: a line that tests can cut, and a pooler; and a PostgreSQL that they can restart.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{Database, Killed, find_program};

/// A line to PostgreSQL that can be cut so that neither end hears of it, as when a firewall forgets its connections.
pub struct Line {
    pub url: String,
    cut: watch::Sender<()>,
    _folder: TempDir,
}

impl Line {
    /// A line that is in order.
    pub fn to(database: &Database) -> Self {
        Self::as_long_as(Duration::ZERO, database)
    }

    /// A line on which everything takes this long, each way.
    pub fn as_long_as(delay: Duration, database: &Database) -> Self {
        let (before, socket, after) = around_host(&database.url);
        let server = PathBuf::from(socket).join(".s.PGSQL.5432");
        let folder = TempDir::new().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let url = format!("{before}host={}&{after}", folder.path().display());
        let (cut, is_cut) = watch::channel(());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // While PostgreSQL is away, a connection is closed.
                let Ok(server) = UnixStream::connect(&server).await else { continue };
                let mut is_cut = is_cut.clone();
                is_cut.mark_unchanged();
                tokio::spawn(async move {
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        () = carry(from_client, to_server, delay) => return,
                        () = carry(from_server, to_client, delay) => return,
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

/// Carries what comes from one end to the other, so much later.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (send, mut carried) = mpsc::unbounded_channel();
    let take = async move {
        let mut chunk = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk).await {
            let _gone = send.send((Instant::now() + delay, chunk[..length].to_vec()));
        }
    };
    let put = async move {
        while let Some((at, chunk)) = carried.recv().await {
            sleep_until(at).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(take, put);
}

/// A PostgreSQL of one test, which can be restarted.
pub struct Cluster {
    folder: TempDir,
    programs: PathBuf,
}

impl Cluster {
    /// Starts one, if its programs are where Debian has them.
    pub fn start() -> Option<Self> {
        let mut versions: Vec<_> =
            fs::read_dir("/usr/lib/postgresql").ok()?.map(|entry| entry.unwrap().path()).collect();
        versions.sort();
        let cluster = Self { folder: TempDir::new().unwrap(), programs: versions.pop()?.join("bin") };
        give_to_postgres(cluster.folder.path());
        cluster.run("initdb", &["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        cluster.go_on();
        Some(cluster)
    }

    /// The database that a new PostgreSQL has.
    pub fn url(&self) -> String {
        format!("postgres:///postgres?host={}&user=postgres", self.folder.path().display())
    }

    /// Another PostgreSQL with the same data.
    pub fn copy(&self) -> Self {
        let copy = Self { folder: TempDir::new().unwrap(), programs: self.programs.clone() };
        self.stop();
        let copied = Command::new("cp").arg("-a").arg(self.folder.path().join("data")).arg(copy.folder.path()).status();
        assert!(copied.unwrap().success());
        give_to_postgres(copy.folder.path());
        self.go_on();
        copy.go_on();
        copy
    }

    /// A standby, to which it streams what it writes.
    pub fn standby(&self) -> Self {
        let standby = Self { folder: TempDir::new().unwrap(), programs: self.programs.clone() };
        give_to_postgres(standby.folder.path());
        standby.run("pg_basebackup", &["-h", &self.socket(), "-U", "postgres", "-R", "-X", "stream", "-c", "fast"]);
        standby.go_on();
        standby
    }

    /// Makes a standby a primary.
    pub fn promote(&self) {
        self.run("pg_ctl", &["-w", "promote"]);
    }

    /// The folder of its socket.
    pub fn socket(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub fn stop(&self) {
        self.run("pg_ctl", &["-w", "-m", "fast", "stop"]);
    }

    /// Starts it after [`Cluster::stop`].
    pub fn go_on(&self) {
        let socket = self.socket();
        let options = format!("-c listen_addresses='' -c fsync=off -k {socket}");
        self.run("pg_ctl", &["-w", "-l", &format!("{socket}/log"), "-o", &options, "start"]);
    }

    /// Breaks off whatever it is doing, and starts again.
    pub fn restart(&self) {
        self.run("pg_ctl", &["-w", "-m", "immediate", "restart"]);
    }

    fn run(&self, program: &str, args: &[&str]) {
        let mut command = as_postgres(&self.programs.join(program));
        command.arg("-D").arg(self.folder.path().join("data")).args(args).stdout(Stdio::null());
        assert!(command.status().unwrap().success(), "{program}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-m", "immediate", "stop"]);
    }
}

/// PgBouncer in front of the PostgreSQL of the tests, with three connections to it, each lent for one transaction at a time.
pub struct Pooler {
    pub url: String,
    _folder: TempDir,
    _process: Killed,
}

impl Pooler {
    pub fn to(database: &Database) -> Option<Self> {
        let program = find_program("pgbouncer")?;
        let (before, socket, after) = around_host(&database.url);
        let folder = TempDir::new().unwrap();
        let path = folder.path().display();
        let config = format!(
            "[databases]\n* = host={socket} user=postgres\n[pgbouncer]\nlisten_addr =\nlisten_port = 5432\nunix_socket_dir = {path}\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 200\n"
        );
        fs::write(folder.path().join("pgbouncer.ini"), config).unwrap();
        give_to_postgres(folder.path());
        let mut command = as_postgres(&program);
        command.arg("-q").arg(folder.path().join("pgbouncer.ini")).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Killed(command.spawn().unwrap());
        let socket = folder.path().join(".s.PGSQL.5432");
        while !socket.exists() {
            thread::sleep(Duration::from_millis(10));
        }
        let url = format!("{before}host={path}&{after}&pgbouncer=true");
        Some(Self { url, _folder: folder, _process: process })
    }
}

/// What is before and after the folder of the socket in a URL, and that folder.
fn around_host(url: &str) -> (&str, &str, &str) {
    let (before, rest) = url.split_once("host=").unwrap();
    let (socket, after) = rest.split_once('&').unwrap();
    (before, socket, after)
}

/// A program that refuses to run as root.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command
}

fn give_to_postgres(folder: &Path) {
    if is_root() {
        assert!(Command::new("chown").args(["-R", "postgres"]).arg(folder).status().unwrap().success());
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}
