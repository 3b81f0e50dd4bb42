//! Mail, with a real SMTP server (aiosmtpd) that reads it with Python's own parser.

mod email;
mod outbox;
mod recovery;
mod registration;
pub mod server;
mod texts;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, App, Killed, command, python_with};

/// An SMTP server on a port of its own, and the mails that it takes.
pub struct Sink {
    pub port: u16,
    mails: mpsc::Receiver<Value>,
    _process: Killed,
}

impl Sink {
    /// Without TLS and login. None when there is no aiosmtpd.
    pub fn start() -> Option<Self> {
        Self::start_with(&["plain"])
    }

    /// With these arguments of `sink.py`.
    pub fn start_with(args: &[&str]) -> Option<Self> {
        let python = python_with("aiosmtpd")?;
        let mut command = command(python);
        command.args(["-c", include_str!("sink.py")]).args(args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Killed(child);
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let (sender, mails) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _nobody_waits = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { port, mails, _process: process })
    }

    /// The next mail, which must be there within ten seconds.
    #[track_caller]
    pub fn next(&self) -> Value {
        self.mails.recv_timeout(Duration::from_secs(10)).expect("a mail")
    }

    /// Asserts that there is no further mail.
    #[track_caller]
    pub fn expect_none(&self) {
        let mail = self.mails.recv_timeout(Duration::from_millis(50));
        assert!(mail.is_err(), "{mail:?}");
    }

    /// Starts a service that sends its mail here, with an admin `root`.
    pub async fn app(&self, flags: &[&str]) -> App {
        let url = format!("smtp://127.0.0.1:{}", self.port);
        App::start_with(&[&["--smtp-url", &url], &FLAGS[..], flags].concat()).await
    }
}

/// The settings of a service with mail, but for the server.
pub const FLAGS: [&str; 6] = [
    "--mail-from",
    "Acmé <auth@example.com>",
    "--public-url",
    "https://auth.example.com",
    "--service-name",
    "Acmé & Co",
];

/// Does all that the outbox asks for now.
pub async fn deliver(app: &App) {
    while app.service.auth().send_due_mails().await.unwrap() > 0 {}
}

/// The path of the link in a mail.
#[track_caller]
pub fn link_in(mail: &Value) -> String {
    let text = mail["text"].as_str().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("https://auth.example.com")).expect("a link");
    assert!(mail["html"].as_str().unwrap().replace("&#x2f;", "/").contains(line), "{mail}");
    line.to_owned()
}

/// The secret at the end of the link in a mail.
#[track_caller]
pub fn token_in(mail: &Value) -> String {
    link_in(mail).strip_prefix("/link/").unwrap().to_owned()
}

/// Creates the user `ana` with a verified address.
pub async fn create_ana(app: &App, email: &str) {
    app.create("ana", &["user"]).await;
    let key = email.to_lowercase();
    let set = format!(
        "UPDATE users SET email = '{email}', email_key = '{key}', email_verified = (username = 'ana') WHERE username = 'ana'"
    );
    app.database.sql(&set).await;
}

pub async fn reset(app: &App, token: &str, password: &str) -> Answer {
    app.anon().post("/password/reset", &json!({"token": token, "new_password": password})).await
}
