//! The built binary, run as a process.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A command that runs the binary in a folder, with no variable of our environment except `PATH`.
pub struct Binary(pub Command);

impl Binary {
    pub fn new(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.env_clear().env("PATH", std::env::var("PATH").unwrap()).current_dir(folder).stdin(Stdio::null());
        Self(command)
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn args(mut self, args: &[&str]) -> Self {
        self.0.args(args);
        self
    }

    /// Starts the process, which is killed when the test drops it.
    pub fn spawn(mut self) -> Killed {
        Killed(self.0.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Runs the process to its end, for at most 30 seconds.
    pub fn output(mut self) -> Output {
        let mut child = self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("it did not end: {:?}", child.wait_with_output().unwrap());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.wait_with_output().unwrap()
    }

    /// Starts a server on a free port and waits until it listens. Hashes are cheap unless their cost was set.
    pub fn serve(self) -> Server {
        self.serve_at(0)
    }

    /// As [`Binary::serve`], on this port.
    pub fn serve_at(mut self, port: u16) -> Server {
        self.0.args(["--listen", &format!("127.0.0.1:{port}")]);
        for (flag, value) in [("--argon2-memory-kib", "8"), ("--argon2-iterations", "1"), ("--drain-time", "0s")] {
            if !self.0.get_args().any(|arg| arg == flag) {
                self.0.args([flag, value]);
            }
        }
        let mut child = self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut welcome = String::new();
        // The welcome is a single write, so what follows the line about the document is already in the buffer.
        while !welcome.contains("API document") || !stderr.buffer().is_empty() {
            assert_ne!(stderr.read_line(&mut welcome).unwrap(), 0, "it ended: {welcome}");
        }
        let port = welcome.split("listens on 127.0.0.1:").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        let rest = std::thread::spawn(move || {
            let mut rest = String::new();
            stderr.read_to_string(&mut rest).unwrap();
            rest
        });
        let stdout = child.stdout.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            BufReader::new(stdout).read_to_string(&mut log).unwrap();
            log
        });
        Server { child, port, welcome, rest: Some(rest), log: Some(log) }
    }
}

/// A process, killed when dropped.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A running server, killed when dropped.
pub struct Server {
    pub child: Child,
    pub port: u16,
    pub welcome: String,
    rest: Option<std::thread::JoinHandle<String>>,
    log: Option<std::thread::JoinHandle<String>>,
}

/// The outcome and the output of a server that ended.
pub struct Ended {
    pub success: bool,
    pub stderr: String,
    pub stdout: String,
}

impl Server {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Sends SIGTERM and waits for the end. Returns the output.
    pub fn stop(mut self) -> Ended {
        self.terminate();
        let status = self.child.wait().unwrap();
        Ended {
            success: status.success(),
            stderr: self.welcome.clone() + &self.rest.take().unwrap().join().unwrap(),
            stdout: self.log.take().unwrap().join().unwrap(),
        }
    }

    /// The setup token that the first start printed.
    pub fn setup_token(&self) -> &str {
        let from = self.welcome.find("setup_").expect("a setup token is shown");
        self.welcome[from..].split(['"', '\n']).next().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A port that is free at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
