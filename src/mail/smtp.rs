//! The connection to the SMTP server (RFC 5321).
//!
//! Rule: mail leaves this machine encrypted, and only to a server whose certificate is that of its name, unless the operator
//! says `tls=none`. Threat: links with which anyone could choose a password, read on the way.

use std::time::Duration;

use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::error::StartError;
use crate::mail::MailError;

/// How long the server may take for each step, and for a mail as a whole. One that looks into mails before it takes them needs
/// more than a minute, and a mail that is given up while it does arrives twice.
const STEP_TIMEOUT: Duration = Duration::from_secs(180);
const TIMEOUT: Duration = Duration::from_secs(240);
/// How long an operator waits who tries the server.
const TRIAL: Duration = Duration::from_secs(20);

/// The class of answers that are about the recipient (RFC 3463, section 3.2).
const ABOUT_RECIPIENT: &str = "5.1.";

pub struct Smtp(AsyncSmtpTransport<Tokio1Executor>);

impl Smtp {
    /// The server at this address. `public_url` has the name by which this service greets it.
    pub fn new(url: &SecretString, public_url: &str) -> Result<Self, StartError> {
        let mend = "must be smtps://USER:PASSWORD@HOST for TLS, or smtp://USER:PASSWORD@HOST for STARTTLS";
        let invalid = || StartError::setting("COUNTERSIGN_SMTP_URL", mend);
        let url = with_tls(url.expose_secret()).ok_or_else(invalid)?;
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret()).map_err(|_| invalid())?;
        let host =
            public_url.split_once("://").map_or("", |(_, rest)| rest.split(['/', ':']).next().unwrap_or_default());
        // Without a pool: that of lettre spawns a task where it is dropped, and panics where there is no runtime.
        Ok(Self(builder.timeout(Some(STEP_TIMEOUT)).hello_name(ClientId::Domain(host.to_owned())).build()))
    }

    /// Sends a mail.
    pub async fn send(&self, mail: Message) -> Result<(), MailError> {
        match timeout(TIMEOUT, self.0.send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(explain(&error)),
            Err(_elapsed) => Err(MailError::Failed("it took too long".to_owned())),
        }
    }

    /// Connects to the server, with authentication.
    pub async fn try_server(&self) -> Result<(), MailError> {
        match timeout(TRIAL, self.0.test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(MailError::Failed("it closed the connection".to_owned())),
            Ok(Err(error)) => Err(explain(&error)),
            Err(_elapsed) => Err(MailError::Failed("it took too long".to_owned())),
        }
    }
}

/// Names the encryption in the address of a server, in the words of lettre. None when the address is none.
fn with_tls(url: &str) -> Option<SecretString> {
    let (scheme, rest) = url.split_once("://")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let is_local = ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|local| host.strip_prefix(local).is_some_and(|port| port.is_empty() || port.starts_with(':')));
    let url = match (scheme, query) {
        _ if host.is_empty() => return None,
        ("smtps", "") => url.to_owned(),
        // What stays on this machine needs no encryption, and a server here seldom has a certificate of this name.
        ("smtp", "") if is_local => url.to_owned(),
        ("smtp", "tls=none") => format!("smtp://{rest}"),
        ("smtp", "" | "tls=required") => format!("smtp://{rest}?tls=required"),
        _ => return None,
    };
    Some(url.into())
}

/// A refusal of the recipient is for good. Anything else may pass: a server that refuses everything, since it does not know the
/// sender, would otherwise cost every mail that waits.
fn explain(error: &lettre::transport::smtp::Error) -> MailError {
    // It names its causes itself.
    let text = error.to_string();
    if error.is_permanent() && text.contains(ABOUT_RECIPIENT) {
        MailError::Refused(text)
    } else {
        MailError::Failed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_leaves_this_machine_encrypted_unless_the_operator_says_otherwise() {
        let text = |url| with_tls(url).map(|url| url.expose_secret().to_owned());
        assert_eq!(text("smtp://u:p@mail.example.com:587").unwrap(), "smtp://u:p@mail.example.com:587?tls=required");
        assert_eq!(text("smtp://mail.example.com?tls=none").unwrap(), "smtp://mail.example.com");
        assert_eq!(text("smtps://u:p@mail.example.com").unwrap(), "smtps://u:p@mail.example.com");
        assert_eq!(text("smtp://localhost:2525").unwrap(), "smtp://localhost:2525");
        assert_eq!(text("smtp://localhost.evil.example").unwrap(), "smtp://localhost.evil.example?tls=required");
        for wrong in ["", "mail.example.com", "http://mail.example.com", "smtp://", "smtp://h?tls=opportunistic"] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn an_address_of_a_server_is_accepted_or_named_in_one_sentence() {
        for right in ["smtps://u:p%40ss@mail.example.com", "smtp://mail.example.com", "smtp://127.0.0.1:25"] {
            assert!(Smtp::new(&right.into(), "https://auth.example.com").is_ok(), "{right}");
        }
        let wrong = Smtp::new(&"smtp://canary:canary@".into(), "https://auth.example.com").err().unwrap();
        assert!(
            wrong.to_string().starts_with("COUNTERSIGN_SMTP_URL: must be ") && !wrong.to_string().contains("canary")
        );
    }
}
