//! `countersign completions`: scripts for shells.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::support::Binary;

fn script_for(shell: &str, folder: &TempDir) -> Vec<u8> {
    // Not `Binary::output`: the script fills the pipe before the process ends.
    let done = Binary::new(folder.path()).args(&["completions", shell]).0.output().unwrap();
    assert!(done.status.success(), "{shell}");
    done.stdout
}

#[test]
fn the_script_of_each_shell_has_every_command() {
    let folder = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = String::from_utf8(script_for(shell, &folder)).unwrap();
        for command in ["serve", "user", "token", "session", "audit", "set-password", "--jwt-ttl"] {
            assert!(script.contains(command.trim_start_matches('-')), "{shell} lacks {command}");
        }
    }
    assert_eq!(Binary::new(folder.path()).args(&["completions", "cmd"]).output().status.code(), Some(2));
}

/// Runs the script in bash and asks for completions.
#[test]
fn bash_completes_a_partial_command() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("completions"), script_for("bash", &folder)).unwrap();
    let ask = "source ./completions; COMP_WORDS=(countersign token re); COMP_CWORD=2; \
               _countersign countersign re token; echo ${COMPREPLY[@]}";
    let done = Command::new("bash").args(["-euc", ask]).current_dir(folder.path()).output().unwrap();
    let offered = String::from_utf8(done.stdout).unwrap();
    assert_eq!(offered, "revoke\n", "{}", String::from_utf8_lossy(&done.stderr));
}
