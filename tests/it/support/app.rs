//! The service on a real port, in this process, with a clock that the test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use countersign::cli::serve::{self, settings};
use countersign::config::{Cli, Config};
use countersign::error::StartError;
use countersign::http;
use countersign::model::Clock;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{Answer, Database};

/// The password of all users in the tests.
pub const PASSWORD: &str = "my-password";
/// 2026-01-01, the time at which every test starts.
const START: i64 = 1_767_225_600_000;

pub struct App {
    pub url: String,
    pub address: String,
    pub database: Database,
    pub service: http::App,
    clock: Arc<AtomicI64>,
    flags: Vec<String>,
    client: Client,
    _shutdown: oneshot::Sender<()>,
}

/// A client with one credential or none.
pub struct Caller<'a> {
    app: &'a App,
    authorization: Option<String>,
}

impl App {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts the service with these flags, and creates an admin `root`.
    pub async fn start_with(flags: &[&str]) -> Self {
        let app = Self::on(Database::new().await, flags).await;
        app.create("root", &["user", "admin"]).await;
        app
    }

    /// As [`App::start_with`], on this port, for tests that must know the address before the start.
    pub async fn start_at(port: u16, flags: &[&str]) -> Self {
        let app = Self::listening(port, Database::new().await, flags).await;
        app.create("root", &["user", "admin"]).await;
        app
    }

    /// As [`App::on`], on this port.
    pub async fn empty_at(port: u16, database: Database, flags: &[&str]) -> Self {
        Self::listening(port, database, flags).await
    }

    /// Starts the service on a database that may have users already. Creates no admin.
    pub async fn on(database: Database, flags: &[&str]) -> Self {
        Self::listening(0, database, flags).await
    }

    /// Stops the service, and starts another one with the same clock and flags on the same database.
    pub async fn restarted(self) -> Self {
        self.service.auth().stop().await;
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        Self::try_listening(0, self.database.clone(), &flags, Arc::clone(&self.clock)).await.unwrap()
    }

    /// As [`App::on`], on a database with which the service may refuse to start.
    pub async fn try_on(database: Database) -> Result<Self, StartError> {
        Self::try_listening(0, database, &[], Arc::new(AtomicI64::new(START))).await
    }

    /// As [`App::on`], with flags with which the service may refuse to start.
    pub async fn try_with(database: Database, flags: &[&str]) -> Result<Self, StartError> {
        Self::try_listening(0, database, flags, Arc::new(AtomicI64::new(START))).await
    }

    async fn listening(port: u16, database: Database, flags: &[&str]) -> Self {
        Self::try_listening(port, database, flags, Arc::new(AtomicI64::new(START))).await.unwrap()
    }

    async fn try_listening(
        port: u16,
        database: Database,
        flags: &[&str],
        clock: Arc<AtomicI64>,
    ) -> Result<Self, StartError> {
        let config = config(&database, flags);
        let (auth, _) = serve::open(&config, Clock::Manual(Arc::clone(&clock))).await?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (shutdown, ended) = oneshot::channel::<()>();
        database.serve(auth.clone());
        let service = http::App::new(auth.clone(), settings::access(&config).unwrap());
        let serving = service.clone();
        tokio::spawn(async move {
            http::serve(listener, serving, async { drop(ended.await) }).await;
            auth.stop().await;
        });
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let (url, flags) = (format!("http://{address}"), flags.iter().map(ToString::to_string).collect());
        Ok(Self { url, address, database, service, clock, flags, client, _shutdown: shutdown })
    }

    pub fn advance_clock(&self, by: Duration) {
        self.clock.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub fn set_clock_back(&self, by: Duration) {
        self.clock.fetch_sub(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    pub fn now_seconds(&self) -> i64 {
        self.clock.load(Ordering::Relaxed) / 1000
    }

    /// A client without a credential.
    pub fn anon(&self) -> Caller<'_> {
        Caller { app: self, authorization: None }
    }

    /// A client with this `Authorization` header.
    pub fn with(&self, authorization: impl Into<String>) -> Caller<'_> {
        Caller { app: self, authorization: Some(authorization.into()) }
    }

    /// The admin `root`, with Basic authentication.
    pub fn admin(&self) -> Caller<'_> {
        self.with(basic("root", PASSWORD))
    }

    /// Creates a user with the role `user` who uses Basic authentication.
    pub async fn user(&self, username: &str) -> Caller<'_> {
        self.create(username, &["user"]).await;
        self.with(basic(username, PASSWORD))
    }

    /// Creates a user without HTTP. Returns the id.
    pub async fn create(&self, username: &str, roles: &[&str]) -> String {
        let roles = roles.iter().map(ToString::to_string).collect();
        let new = countersign::model::NewUser {
            username: username.into(),
            name: None,
            email: None,
            roles,
            must_change_password: false,
        };
        let creator = countersign::auth::Creator::Operator;
        let text = PASSWORD.into();
        let password = countersign::auth::Password::Given(&text);
        let (user, _) = self.service.auth().create_user(creator, new, password, None).await.unwrap();
        user.id.to_string()
    }

    /// Logs a user in. Returns the response body.
    pub async fn login(&self, username: &str) -> Value {
        let body = json!({"username": username, "password": PASSWORD});
        self.anon().post("/login", &body).await.expect(200).json()
    }

    /// Starts a session. Returns its opaque token and its JWT as `Authorization` headers.
    pub async fn tokens(&self, username: &str) -> (String, String) {
        let login = self.login(username).await;
        (bearer(login["opaque_token"].as_str().unwrap()), bearer(login["token"].as_str().unwrap()))
    }

    /// Creates a personal access token, with all scopes of the user unless `about` says otherwise. Returns it as an
    /// `Authorization` header.
    pub async fn personal_token(&self, username: &str, about: &Value) -> String {
        let owner = self.with(basic(username, PASSWORD));
        let mut about = about.clone();
        if about.get("scopes").is_none() {
            about["scopes"] = owner.get("/me").await.expect(200).json()["scopes"].clone();
        }
        bearer(owner.post("/me/tokens", &about).await.expect(201).json()["token"].as_str().unwrap())
    }

    pub async fn disable(&self, username: &str) {
        self.database.sql(&format!("UPDATE users SET status = 'disabled' WHERE username = '{username}'")).await;
    }
}

/// The secret key of every server and command here.
pub fn secret_key() -> String {
    STANDARD.encode([7; 32])
}

/// The settings of a test, with cheap hashes.
fn config(database: &Database, flags: &[&str]) -> Config {
    let mut args = vec!["countersign", "--database-url", &database.url];
    let key = secret_key();
    args.extend(["--secret-key", &key, "--argon2-memory-kib", "8", "--argon2-iterations", "1"]);
    args.extend(flags);
    Cli::try_parse_from(args).unwrap().config
}

impl Caller<'_> {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.app.client.request(method, format!("{}{path}", self.app.url));
        match &self.authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PATCH, path).json(body)).await
    }

    /// Sends a request without a body.
    pub async fn send(&self, method: Method, path: &str) -> Answer {
        Answer::of(self.request(method, path)).await
    }
}

pub fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}

pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}
