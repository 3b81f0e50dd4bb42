//! External programs. Under `scripts/test` a missing one fails its test. Under plain `cargo test` the test prints that
//! it did not run.

use std::env;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command with no variable of our environment except `PATH`: the settings of the tests are none of the binary's.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", env::var_os("PATH").unwrap());
    command
}

/// Finds a program in `PATH`.
pub fn find_program(program: &str) -> Option<PathBuf> {
    in_path(program).or_else(|| missing(program))
}

/// Finds a program in `PATH` that `scripts/test` does not install, because it is large.
pub fn optional_program(program: &str) -> Option<PathBuf> {
    in_path(program).or_else(|| not_run(program))
}

fn in_path(program: &str) -> Option<PathBuf> {
    env::var_os("PATH").and_then(|path| env::split_paths(&path).map(|p| p.join(program)).find(|p| p.is_file()))
}

/// The Python of `scripts/test`, if it has these modules.
pub fn python_with(modules: &str) -> Option<PathBuf> {
    let python = env::var_os("COUNTERSIGN_TEST_PYTHON").map(PathBuf::from);
    let has_modules = |python: &PathBuf| {
        let import = Command::new(python).args(["-c", &format!("import {modules}")]).output();
        import.is_ok_and(|done| done.status.success())
    };
    python.filter(has_modules).or_else(|| missing(&format!("python with {modules}")))
}

/// Node.js with the packages of `scripts/test`.
pub struct Node {
    pub program: PathBuf,
    /// The folder that has `node_modules`.
    pub packages: PathBuf,
}

/// Finds Node.js and its packages.
pub fn node() -> Option<Node> {
    let packages = env::var_os("COUNTERSIGN_TEST_NODE").map(PathBuf::from);
    let packages = packages.filter(|folder| folder.join("node_modules").is_dir());
    let packages = packages.or_else(|| missing("Node.js with its packages"))?;
    Some(Node { program: find_program("node")?, packages })
}

impl Node {
    /// A command that runs this module with these arguments.
    pub fn script(&self, script: &str, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--input-type=module", "--eval", script, "--", ""]).args(args).current_dir(&self.packages);
        command
    }
}

/// Writes a self-signed certificate for a host, `cert.pem`, and its key, `key.pem`.
pub fn certify(openssl: &Path, folder: &Path, host: &str) {
    let (name, other_name) = (format!("/CN={host}"), format!("subjectAltName=DNS:{host}"));
    let subject = ["-subj", &name, "-addext", &other_name, "-days", "2"];
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem"];
    let mut command = Command::new(openssl);
    command.args(["req", "-x509", "-out", "cert.pem"]).args(key).args(subject).current_dir(folder);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn missing(program: &str) -> Option<PathBuf> {
    assert!(env::var_os("COUNTERSIGN_TEST_ALL").is_none(), "{program} is missing");
    not_run(&format!("{program}; scripts/test has it"))
}

fn not_run(needs: &str) -> Option<PathBuf> {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // The test harness captures eprintln.
    let _closed = writeln!(std::io::stderr(), "NOT RUN: {test} needs {needs}");
    None
}
