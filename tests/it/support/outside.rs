//! Programs that are not ours. Under `scripts/test` one that is missing fails its test; under plain `cargo test` the test
//! says aloud that it did not run.

use std::{env, io::Write, path::PathBuf, process::Command};

/// The program, if it is there.
pub fn outside(program: &str) -> Option<PathBuf> {
    let found =
        env::var_os("PATH").and_then(|path| env::split_paths(&path).map(|p| p.join(program)).find(|p| p.is_file()));
    found.or_else(|| missing(program))
}

/// The Python of the tests' own environment, which has PyJWT.
pub fn python() -> Option<PathBuf> {
    let python = env::var_os("COUNTERSIGN_TEST_PYTHON").map(PathBuf::from);
    let has_pyjwt = |python: &PathBuf| {
        Command::new(python).args(["-c", "import jwt, cryptography"]).output().is_ok_and(|done| done.status.success())
    };
    python.filter(has_pyjwt).or_else(|| missing("python with PyJWT"))
}

fn missing(program: &str) -> Option<PathBuf> {
    assert!(env::var_os("COUNTERSIGN_TEST_ALL").is_none(), "{program} is missing");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Not eprintln, which the test harness keeps to itself.
    let _closed = writeln!(std::io::stderr(), "NOT RUN: {test} needs {program}; scripts/test has it");
    None
}
