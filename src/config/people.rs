//! The settings about people: what they see, and how they get in and back in. They are declared as those of `settings.rs` are.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use secrecy::SecretString;

use crate::config::values::{
    Origins, cookie_domain, lifetime, mail_language, on_off, origins, path, secret, service_name,
};
use crate::model::LinkPurpose;

/// Invitations, and passwords that were forgotten.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Invitations and recovery")]
pub struct RecoverySettings {
    /// How long the link of an invitation works, and one that confirms an e-mail address
    #[arg(long, env = "COUNTERSIGN_INVITATION_TTL", default_value = "7d", value_name = "DURATION")]
    #[arg(global = true, value_parser = lifetime)]
    pub invitation_ttl: Duration,

    /// How long a link to choose another password works
    #[arg(long, env = "COUNTERSIGN_RESET_TTL", default_value = "1h", value_name = "DURATION")]
    #[arg(global = true, value_parser = lifetime)]
    pub reset_ttl: Duration,

    /// Whether a verified e-mail address logs in, too, where the username is asked: on or off
    #[arg(long, env = "COUNTERSIGN_EMAIL_LOGIN", default_value = "on", value_name = "ON|OFF")]
    #[arg(global = true, value_parser = on_off, action = ArgAction::Set)]
    pub email_login: bool,
}

impl RecoverySettings {
    /// How long a link works.
    pub fn link_ttl(&self, purpose: LinkPurpose) -> Duration {
        match purpose {
            LinkPurpose::Invitation | LinkPurpose::EmailVerification | LinkPurpose::Registration => self.invitation_ttl,
            LinkPurpose::PasswordReset => self.reset_ttl,
        }
    }
}

/// Who may make an account for themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Nobody.
    Closed,
    /// Whoever has an e-mail address.
    Open,
    /// Whoever has an e-mail address in one of these domains.
    Domains(Vec<String>),
}

impl Registration {
    /// Whether someone with this address, in its folded form, may make an account.
    pub fn admits(&self, email: &str) -> bool {
        match self {
            Self::Closed => false,
            Self::Open => true,
            Self::Domains(domains) => {
                email.rsplit_once('@').is_some_and(|(_, domain)| domains.iter().any(|allowed| allowed == domain))
            }
        }
    }
}

/// Closed, open, or domains with commas between.
fn registration(text: &str) -> Result<Registration, &'static str> {
    let is_domain = |domain: &str| {
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        domain.contains('.') && domain.bytes().all(is_part)
    };
    match text {
        "closed" | "" => Ok(Registration::Closed),
        "open" => Ok(Registration::Open),
        _ => {
            let domains: Vec<_> = text.split(',').map(|domain| domain.trim().to_ascii_lowercase()).collect();
            let mend = "must be closed, open, or domains with commas between, such as example.com,example.org";
            if domains.iter().all(|domain| is_domain(domain)) { Ok(Registration::Domains(domains)) } else { Err(mend) }
        }
    }
}

/// Mail.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Mail")]
pub struct MailSettings {
    /// The server that takes mail: `smtps://USER:PASSWORD@HOST`, or `smtp://USER:PASSWORD@HOST` for STARTTLS
    ///
    /// Without it no mail is sent, and the routes that need mail answer 503. A server on this machine may be without TLS;
    /// for another one, `?tls=none` at the end says so. A needs %40 for an @ in the password.
    #[arg(long, env = "COUNTERSIGN_SMTP_URL", value_name = "URL")]
    #[arg(global = true, hide_env_values = true, value_parser = secret)]
    pub smtp_url: Option<SecretString>,

    /// The sender of mails, such as `Acme <auth@example.com>`
    #[arg(long, env = "COUNTERSIGN_MAIL_FROM", value_name = "ADDRESS")]
    #[arg(global = true)]
    pub mail_from: Option<String>,

    /// A folder with texts in place of ours: `en.txt` by sections, `mail.html`, or another language
    #[arg(long, env = "COUNTERSIGN_MAIL_TEMPLATES", value_name = "FOLDER")]
    #[arg(global = true, value_parser = path)]
    pub mail_templates: Option<PathBuf>,

    /// The language of mails: the name of a file of texts without its ending
    #[arg(long, env = "COUNTERSIGN_MAIL_LANGUAGE", default_value = "en", value_name = "LANGUAGE")]
    #[arg(global = true, value_parser = mail_language)]
    pub mail_language: String,

    /// Whether users are told by mail what happens to their account: on or off
    ///
    /// Another password or address, a new personal access token, a login from an address they have not logged in from before.
    #[arg(long, env = "COUNTERSIGN_MAIL_NOTICES", default_value = "on", value_name = "ON|OFF")]
    #[arg(global = true, value_parser = on_off, action = ArgAction::Set)]
    pub mail_notices: bool,

    /// Who may make an account for themselves by mail: closed, open, or domains with commas between
    #[arg(long, env = "COUNTERSIGN_REGISTRATION", default_value = "closed", value_name = "WHO")]
    #[arg(global = true, value_parser = registration)]
    pub registration: Registration,
}

/// What people see.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Pages")]
pub struct PageSettings {
    /// What the service is called on its pages and in its mails
    #[arg(long, env = "COUNTERSIGN_SERVICE_NAME", default_value = "Countersign", value_name = "NAME")]
    #[arg(global = true, value_parser = service_name)]
    pub service_name: String,

    /// A picture that its pages show in place of the name
    ///
    /// PNG, JPEG, WebP or SVG, at most 256 KiB.
    #[arg(long, env = "COUNTERSIGN_LOGO", value_name = "FILE")]
    #[arg(global = true, value_parser = path)]
    pub logo: Option<PathBuf>,

    /// The domain whose hosts share the sign-in, such as example.com
    ///
    /// For applications behind a proxy that asks `/verify`. Every host in the domain gets the cookie, so name none that others
    /// have hosts in. Without it the cookie is for this service alone.
    #[arg(long, env = "COUNTERSIGN_COOKIE_DOMAIN", value_name = "DOMAIN")]
    #[arg(global = true, value_parser = cookie_domain)]
    pub cookie_domain: Option<String>,

    /// Origins that browsers may go to after signing in, with commas between
    ///
    /// Such as `https://app.example.com`. `/verify` sends a browser without a session to sign in only for a page of one of them.
    #[arg(long, env = "COUNTERSIGN_RETURN_TO", default_value = "", value_name = "ORIGINS")]
    #[arg(global = true, value_parser = origins)]
    pub return_to: Origins,
}
