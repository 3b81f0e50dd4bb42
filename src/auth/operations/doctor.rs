//! Diagnosis of an installation: what would stop a server or weakens it, each with a remedy.
//!
//! Rule: it is read-only: it creates no file, changes no mode and runs no migration. Threat: an insecure installation
//! that works, so that nobody notices.

use std::fmt::Display;
use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::auth::keys::Keys;
use crate::auth::keys::sealing::SecretKey;
use crate::auth::users::first_admin;
use crate::auth::{Auth, Settings};
use crate::error::StartError;
use crate::mail::Mailer;
use crate::model::{Clock, Timestamp};
use crate::private_file;
use crate::store::{Conn, Location, Store};

/// The tolerated difference between clocks.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of the check.
    pub check: &'static str,
    /// The severity.
    pub verdict: Verdict,
    /// What the check found, as a sentence.
    pub found: String,
    /// The remedy, unless `found` includes it.
    pub mend: Option<String>,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is wrong.
    Ok,
    /// It works, but should be improved.
    Warning,
    /// A person has to fix it.
    Failed,
}

impl Verdict {
    /// The word used in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

impl Finding {
    /// Creates a finding without a problem.
    pub fn ok(check: &'static str, found: impl Display) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.to_string(), mend: None }
    }

    /// Creates a warning with its remedy.
    pub fn warning(check: &'static str, found: impl Display, remedy: impl Display) -> Self {
        Self { check, verdict: Verdict::Warning, found: found.to_string(), mend: Some(remedy.to_string()) }
    }

    /// Creates a failure with its remedy.
    pub fn failed(check: &'static str, found: impl Display, remedy: impl Display) -> Self {
        Self { mend: Some(remedy.to_string()), ..Self::error(check, found) }
    }

    /// Creates a failure from an error that states its remedy.
    pub fn error(check: &'static str, error: impl Display) -> Self {
        Self { check, verdict: Verdict::Failed, found: error.to_string(), mend: None }
    }
}

/// Checks the settings and returns the errors that would stop a server before it opens the database.
pub fn examine_settings(settings: &Settings, setup_token: Option<&SecretString>) -> Vec<StartError> {
    let location = settings.database.database_url.expose_secret().parse::<Location>().map(drop);
    let secret_key =
        settings.database.secret_key.as_ref().map_or(Ok(()), |key| SecretKey::parse(key.expose_secret()).map(drop));
    let setup_token = setup_token.map_or(Ok(()), |token| first_admin::check_given(token.expose_secret()));
    let mail = Mailer::new(settings).map(drop);
    let checks = [location, secret_key, settings.check(), setup_token, mail];
    checks.into_iter().filter_map(Result::err).collect()
}

/// What the checks found when they last ran in this server.
#[derive(Clone, Debug, Default)]
pub struct Examination {
    /// Whether they are running now.
    pub is_running: bool,
    /// When they last came to an end.
    pub ended_at: Option<Timestamp>,
    /// What they found then.
    pub findings: Vec<Finding>,
}

/// The checks of a server, while they run.
struct Running(Auth);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.last_examination().is_running = false;
    }
}

impl Auth {
    fn last_examination(&self) -> MutexGuard<'_, Examination> {
        self.examination.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the checks found when they last ran in this server.
    pub fn examination(&self) -> Examination {
        self.last_examination().clone()
    }

    /// Begins to check the files and the contents of the database, unless that is being done. On a large one it takes minutes, so
    /// nobody waits for it.
    pub fn begin_examination(&self) {
        if std::mem::replace(&mut self.last_examination().is_running, true) {
            return;
        }
        let running = Running(self.clone());
        tokio::spawn(async move {
            let auth = &running.0;
            let findings = examine(&auth.clock, &auth.settings).await;
            let mut last = auth.last_examination();
            (last.ended_at, last.findings) = (Some(auth.clock.now()), findings);
        });
    }
}

/// Checks the files and the contents of the database. The settings must be valid for a server.
pub async fn examine(clock: &Clock, settings: &Settings) -> Vec<Finding> {
    let location: Location = match settings.database.database_url.expose_secret().parse() {
        Ok(location) => location,
        Err(error) => return vec![Finding::error("database", error)],
    };
    let mut findings: Vec<_> = location.files().iter().filter_map(|file| mode(file)).collect();
    if settings.database.secret_key.is_none() {
        findings.extend(mode(&location.key_file()));
    }
    match Store::open_read_only(&location).await {
        Err(error) => findings.push(Finding::error("database", error)),
        Ok(None) if settings.database.secret_key.is_none() && location.key_file().exists() => {
            let found = format!("{location} is missing, though its key file is there");
            findings.push(Finding::failed(
                "database",
                found,
                "bring it back, restore a backup, or correct DATABASE_URL",
            ));
        }
        Ok(None) => {
            let found = format!("{location} does not exist yet");
            findings.push(Finding::warning("database", found, "a server creates it at its first start"));
        }
        Ok(Some(store)) => {
            match store.read().await {
                Ok(mut conn) => findings.extend(examine_database(&mut conn, &location, clock.now(), settings).await),
                Err(error) => findings.push(Finding::error("database", StartError::from(error))),
            }
            store.close().await;
        }
    }
    findings.push(mail_server(settings).await);
    findings
}

/// Connects to the mail server, and sends nothing.
async fn mail_server(settings: &Settings) -> Finding {
    match Mailer::new(settings) {
        Ok(None) => Finding::ok("mail", "there is no mail server; links are handed over by hand"),
        Ok(Some(mailer)) => match mailer.try_server().await {
            Ok(()) => Finding::ok("mail", "the mail server answers; countersign mail test ADDRESS sends a mail"),
            Err(error) => Finding::failed(
                "mail",
                error,
                "correct COUNTERSIGN_SMTP_URL, or start the mail server; mails wait for a day",
            ),
        },
        Err(error) => Finding::error("mail", error),
    }
}

/// Checks that only its owner can access a file. Returns `None` if the file does not exist.
pub fn mode(file: &Path) -> Option<Finding> {
    let open_mode = private_file::open_mode(file).ok()?;
    let file = file.display();
    Some(match open_mode {
        None => Finding::ok("file mode", format!("only its owner can access {file}")),
        Some(mode) => {
            let found = format!("{file} is open to others, with mode {mode:o}");
            Finding::failed("file mode", found, format!("chmod 600 {file}"))
        }
    })
}

async fn examine_database(conn: &mut Conn, location: &Location, now: Timestamp, settings: &Settings) -> Vec<Finding> {
    let database = match conn.integrity_error().await {
        Ok(None) => Finding::ok("database", format!("{location} opens and is intact")),
        Ok(Some(damage)) => {
            let found = format!("{location} is damaged: {damage}");
            return vec![Finding::failed("database", found, "move it away and restore a backup")];
        }
        Err(error) => return vec![Finding::error("database", StartError::from(error))],
    };
    let (schema, is_up_to_date) = schema(conn).await;
    let mut findings = vec![database, schema];
    if is_up_to_date {
        findings.push(times(conn, now).await);
        findings.push(admin(conn).await);
        findings.push(signing_key(conn, location, now, settings).await);
        findings.push(addresses(conn).await);
    }
    findings
}

/// Checks the migrations. Returns also whether the schema is up to date, so that it can be queried.
async fn schema(conn: &mut Conn) -> (Finding, bool) {
    let remedy = "start a server or run countersign migrate, then run the doctor again";
    match conn.schema().await {
        Err(error) => (Finding::error("schema", error), false),
        Ok(schema) => match (schema.last, schema.pending.len()) {
            (Some(last), 0) => (Finding::ok("schema", format!("up to date, at migration {last}")), true),
            (None, _) => (Finding::warning("schema", "there is none yet", remedy), false),
            (Some(last), pending) => {
                (Finding::warning("schema", format!("at migration {last}, {pending} behind"), remedy), false)
            }
        },
    }
}

async fn times(conn: &mut Conn, now: Timestamp) -> Finding {
    let remedy = "synchronize the clocks of all machines (NTP)";
    let (latest, server) = match (conn.latest_timestamp().await, conn.server_time().await) {
        (Ok(latest), Ok(server)) => (latest, server),
        (Err(error), _) | (_, Err(error)) => return Finding::error("clock", StartError::from(error)),
    };
    if let Some(server) =
        server.filter(|server| server.after(MAX_CLOCK_SKEW) < now || now.after(MAX_CLOCK_SKEW) < *server)
    {
        return Finding::failed("clock", format!("it is {now} here, and {server} where PostgreSQL runs"), remedy);
    }
    match latest.filter(|latest| now.after(MAX_CLOCK_SKEW) < *latest) {
        Some(latest) => {
            Finding::failed("clock", format!("it is {now} here, and the database knows of {latest}"), remedy)
        }
        None => Finding::ok("clock", format!("it is {now}, and nothing in the database is later")),
    }
}

async fn admin(conn: &mut Conn) -> Finding {
    let remedy = "countersign user create NAME --role admin --role user, or the setup token of the first start";
    match conn.has_admin().await {
        Ok(true) => Finding::ok("admin", "there is an active admin"),
        Ok(false) => Finding::failed("admin", "there is no active admin", remedy),
        Err(error) => Finding::error("admin", StartError::from(error)),
    }
}

/// Checks for e-mail addresses of more than one user. Before addresses were verified, nothing kept users from that.
async fn addresses(conn: &mut Conn) -> Finding {
    match conn.shared_emails().await {
        Ok((0, _)) => Finding::ok("e-mail", "no two users have the same address"),
        Ok((count, example)) => {
            let found =
                format!("{count} addresses belong to several users each, such as {}", example.unwrap_or_default());
            let remedy = "only one of them can verify it; countersign user list ADDRESS shows them";
            Finding::warning("e-mail", found, remedy)
        }
        Err(error) => Finding::error("e-mail", StartError::from(error)),
    }
}

async fn signing_key(conn: &mut Conn, location: &Location, now: Timestamp, settings: &Settings) -> Finding {
    let sealed = match conn.signing_keys(now).await {
        Ok(sealed) if sealed.is_empty() => {
            return Finding::ok("signing key", "there is none to decrypt; a server creates what it needs");
        }
        Ok(sealed) => sealed,
        Err(error) => return Finding::error("signing key", StartError::from(error)),
    };
    let secret = match &settings.database.secret_key {
        Some(given) => SecretKey::parse(given.expose_secret()),
        None => SecretKey::read(&location.key_file()),
    };
    match secret.and_then(|secret| Keys::open(&sealed, &secret, settings)) {
        Ok(_) => Finding::ok("signing key", format!("all {} can be decrypted with the secret key", sealed.len())),
        Err(error) => Finding::error("signing key", error),
    }
}
