//! A service of the thread's own, without a network: requests go straight to the router.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, Request, Uri};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::Parser;
use countersign::cli::serve;
use countersign::config::Cli;
use countersign::http::{self, Access};
use countersign::model::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

/// The secret that JWTs are signed with.
pub const JWT_SECRET: &str = "a secret that is longer than 32 bytes";
/// The time, which does not go on: 2026-01-01.
pub const NOW_SECONDS: i64 = 1_767_225_600;
/// The shortest password. Hardly an input has one, and wrong logins are soon limited, so that hashes take no time from the rest.
const MIN_PASSWORD: usize = 128;
const SCOPES: [&str; 5] = ["profile", "users:read", "tokens", "introspect", "admin"];

struct Service {
    runtime: Runtime,
    router: Router,
    /// The `Authorization` header of a personal token with all scopes.
    admin: String,
    /// The id of a user who is nobody's caller.
    other_user: String,
    /// The claims of a JWT of a live session.
    session: Value,
    _folder: TempDir,
}

thread_local! {
    static SERVICE: Service = Service::start();
}

/// Runs a future of the service.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    SERVICE.with(|service| service.runtime.block_on(future))
}

/// The status and the body of an answer. Input that is no request is not sent: 400.
pub fn send(method: Method, path: &str, headers: &[(&'static str, &[u8])], body: &[u8]) -> (u16, Vec<u8>) {
    SERVICE.with(|service| service.send(method, path, headers, body.to_vec()))
}

/// See [`Service::admin`].
pub fn admin() -> String {
    SERVICE.with(|service| service.admin.clone())
}

/// See [`Service::other_user`].
pub fn other_user() -> String {
    SERVICE.with(|service| service.other_user.clone())
}

/// See [`Service::session`].
pub fn session() -> Value {
    SERVICE.with(|service| service.session.clone())
}

impl Service {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        // In memory where that is possible: millions of inputs are written.
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a folder");
        let database = format!("sqlite://{}/countersign.db", folder.path().display());
        let (key, password) = (STANDARD.encode([7; 32]), "a long password ".repeat(MIN_PASSWORD / 16 + 1));
        let min_password = MIN_PASSWORD.to_string();
        let flags = [
            ("--database-url", database.as_str()),
            ("--secret-key", &key),
            ("--jwt-algorithm", "HS256"),
            ("--jwt-secret", JWT_SECRET),
            ("--argon2-memory-kib", "8"),
            ("--argon2-iterations", "1"),
            ("--password-min-length", &min_password),
            // Nobody sends what is queued.
            ("--smtp-url", "smtp://localhost"),
            ("--mail-from", "auth@example.com"),
            ("--public-url", "http://localhost:5000"),
            ("--registration", "open"),
            ("--admin-username", "root"),
            ("--admin-password", &password),
        ];
        let flags = ["countersign"].into_iter().chain(flags.into_iter().flat_map(|(flag, value)| [flag, value]));
        let config = Cli::try_parse_from(flags).expect("settings").config;
        let clock = Clock::Manual(Arc::new(AtomicI64::new(NOW_SECONDS * 1000)));
        let (auth, _) = runtime.block_on(serve::open(&config, clock)).expect("the service starts");
        let router = http::router(http::App::new(auth, Access::default()));
        let (admin, other_user, session) = (String::new(), String::new(), Value::Null);
        let mut service = Self { runtime, router, admin, other_user, session, _folder: folder };

        let basic = format!("Basic {}", STANDARD.encode(format!("root:{password}")));
        let post = |path, body: Value| {
            let credential = ("authorization", basic.as_bytes());
            let headers = [("content-type", b"application/json".as_slice()), credential];
            // A login has its credential in the body.
            let headers = if path == "/login" { headers.get(..1).unwrap_or_default() } else { &headers };
            let (_, answer) = service.send(Method::POST, path, headers, body.to_string().into_bytes());
            serde_json::from_slice::<Value>(&answer).expect("JSON")
        };
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        let login = post("/login", json!({"username": "root", "password": password}));
        let other = post("/admin/users", json!({"username": "mara", "password": password, "roles": ["user"]}));
        let token = post("/me/tokens", json!({"name": "fuzz", "scopes": SCOPES, "expires_in": "never"}));
        let claims =
            text(&login["token"]).split('.').nth(1).map(|claims| URL_SAFE_NO_PAD.decode(claims).expect("base64"));
        let session = serde_json::from_slice(&claims.unwrap_or_default()).expect("JSON");
        (service.admin, service.other_user) = (format!("Bearer {}", text(&token["token"])), text(&other["id"]));
        service.session = session;
        service
    }

    fn send(&self, method: Method, path: &str, headers: &[(&'static str, &[u8])], body: Vec<u8>) -> (u16, Vec<u8>) {
        let refused = || (400, json!({"type": "not sent", "status": 400}).to_string().into_bytes());
        let Ok(uri) = path.parse::<Uri>() else { return refused() };
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            let Ok(value) = HeaderValue::from_bytes(value) else { return refused() };
            request = request.header(*name, value);
        }
        let Ok(request) = request.body(Body::from(body)) else { return refused() };
        self.runtime.block_on(async {
            let answer = match self.router.clone().oneshot(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            };
            let status = answer.status().as_u16();
            let body = to_bytes(answer.into_body(), usize::MAX).await.expect("a whole body");
            (status, body.to_vec())
        })
    }
}
