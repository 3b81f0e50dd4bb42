//! The commands of the built binary, as an operator or a script runs them.

mod audit;
mod backup;
mod completions;
mod copy;
mod doctor;
mod health;
mod import;
mod links;
mod migrate;
mod restore;
mod tokens;
mod users;

use std::io::Write;
use std::process::Stdio;

use tempfile::TempDir;

use crate::support::{Answer, Binary, Database, PASSWORD, Server, basic, bearer, on_postgres, secret_key};

/// Runs commands with the settings of a database.
struct Shell(Database);

/// The exit code and output of a command.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Shell {
    fn on(database: &Database) -> Self {
        Self(database.clone())
    }

    /// The binary with the settings of this database and cheap hashes.
    fn binary(&self) -> Binary {
        let binary = Binary::new(self.0.folder.path()).env("DATABASE_URL", &self.0.url);
        binary.env("COUNTERSIGN_SECRET_KEY", &secret_key()).args(&[
            "--argon2-memory-kib",
            "8",
            "--argon2-iterations",
            "1",
        ])
    }

    /// Starts a server on the database.
    fn serve(&self) -> Server {
        self.binary().serve()
    }

    fn end(&self, args: &[&str], stdin: &str) -> Ended {
        let mut binary = self.binary().args(args);
        let command = binary.0.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _not_read = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let done = child.wait_with_output().unwrap();
        Ended {
            code: done.status.code().unwrap(),
            stdout: String::from_utf8(done.stdout).unwrap(),
            stderr: String::from_utf8(done.stderr).unwrap(),
        }
    }

    /// Creates a user, in a new database if there is none.
    fn create(&self, username: &str, roles: &[&str]) {
        self.run(&["migrate"], "").unwrap();
        let roles = roles.iter().flat_map(|role| ["--role", role]);
        let args: Vec<_> = ["user", "create", username].into_iter().chain(roles).collect();
        self.run(&args, PASSWORD).unwrap();
    }

    /// Runs a command. Returns its output, or its one line on standard error if it fails with exit code 1.
    fn run(&self, args: &[&str], stdin: &str) -> Result<String, String> {
        let ended = self.end(args, stdin);
        if ended.code == 0 {
            assert!(ended.stderr.is_empty(), "{}", ended.stderr);
            Ok(ended.stdout)
        } else {
            assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{args:?}: {}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {}", ended.stderr);
            Err(ended.stderr)
        }
    }
}

/// Sends `GET /me` with this `Authorization` header.
async fn me(server: &Server, authorization: &str) -> Answer {
    let request = reqwest::Client::new().get(format!("{}/me", server.url()));
    Answer::of(request.header("authorization", authorization)).await
}

/// Waits until a server has noticed what another process changed.
async fn wait_for_invalidation() {
    let millis = if on_postgres().is_some() { 900 } else { 250 };
    tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
}

/// Both tokens of a new session, as `Authorization` headers: opaque, JWT.
async fn login(server: &Server, username: &str) -> [String; 2] {
    let request = reqwest::Client::new().post(format!("{}/login", server.url()));
    let login = Answer::of(request.header("authorization", basic(username, PASSWORD))).await.expect(200).json();
    ["opaque_token", "token"].map(|token| bearer(login[token].as_str().unwrap()))
}

/// The names of the files in the folder of a database, except those that SQLite and servers create.
fn files(database: &Database) -> Vec<String> {
    let names = std::fs::read_dir(database.folder.path()).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !["-wal", "-shm", ".lock", ".key"].iter().any(|end| name.ends_with(end)));
    names.sort();
    names
}

#[test]
fn exit_codes_distinguish_failures_from_usage_errors_and_help_lists_them() {
    let folder = TempDir::new().unwrap();
    let ended = |args: &[&str]| {
        let done = Binary::new(folder.path()).args(args).output();
        (
            done.status.code().unwrap(),
            String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap(),
        )
    };
    for (args, code) in [
        (vec!["--help"], 0),
        (vec!["user", "delete", "--help"], 0),
        (vec!["user", "show", "nobody"], 1),
        (vec!["--listen", "nowhere", "user", "list"], 1),
        (vec!["user"], 2),
        (vec!["user", "show"], 2),
        (vec!["nothing"], 2),
        (vec!["--nothing"], 2),
    ] {
        let (ended, said) = ended(&args);
        assert_eq!(ended, code, "{args:?}: {said}");
    }
    let help = ended(&["--help"]).1.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("Exit codes: 0 done; 1 not done, and standard error says why"), "{help}");
    assert!(help.contains("3 done, and something was found that needs a person"), "{help}");
}

/// A command that shows sixty settings hides the two that matter.
#[test]
fn the_help_of_a_command_shows_its_own_options_and_the_settings_it_goes_by() {
    let folder = TempDir::new().unwrap();
    let help = |args: &[&str]| {
        let done = Binary::new(folder.path()).args(args).args(&["--help"]).0.output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    };
    let flags = |help: &str| help.lines().filter(|line| line.trim_start().starts_with("--")).count();
    assert_eq!(flags(&help(&[])), 1, "the file of settings");
    assert!(flags(&help(&["serve"])) > 50 && help(&["serve"]).contains("Server:"));
    for (command, shown, hidden) in [
        (vec!["user", "delete"], vec!["--yes", "--database-url", "COUNTERSIGN_SECRET_KEY"], "--listen"),
        (vec!["user", "create"], vec!["--invite", "--public-url", "--invitation-ttl"], "--jwt-ttl"),
        (vec!["user", "set-password"], vec!["--password-min-length", "--argon2-memory-kib"], "--public-url"),
        (vec!["user", "list"], vec!["--role", "--database-url"], "COUNTERSIGN_SECRET_KEY"),
        (vec!["key", "rotate"], vec!["--jwt-algorithm"], "--yes"),
        (vec!["key", "revoke"], vec!["--yes", "--database-url"], "--jwt-algorithm"),
        (vec!["mail", "test"], vec!["COUNTERSIGN_SMTP_URL", "--mail-from"], "--database-url"),
        (vec!["token", "issue"], vec!["--scope", "--personal-token-ttl"], "--tls-cert"),
        (vec!["import"], vec!["--on-conflict", "--import-max-cost"], "--listen"),
        (vec!["completions"], vec!["<SHELL>"], "--database-url"),
    ] {
        let help = help(&command);
        for part in shown {
            assert!(help.contains(part), "{command:?} lacks {part}: {help}");
        }
        assert!(!help.contains(hidden), "{command:?}: {help}");
    }
    // What is not shown is accepted all the same, so that one line of flags does for all commands.
    let done = Binary::new(folder.path()).args(&["openapi", "--listen", "127.0.0.1:7000"]).0.output().unwrap();
    assert!(done.status.success());
}
