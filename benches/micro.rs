//! Microbenchmarks of the parts of a request: `cargo bench`. `scripts/bench` reads the time of one argon2id from here.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark that cannot run should panic")]

use std::hint::black_box;
use std::net::Ipv4Addr;

use argon2::{Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use countersign::auth::{Actor, Auth, Credential, Login, LoginOutcome};
use countersign::cli::serve;
use countersign::config::Cli;
use countersign::model::{Client, Clock, NewToken, OpaqueToken, Origin, PersonalSecret};
use criterion::{Criterion, criterion_group, criterion_main};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

const USERNAME: &str = "root";
const PASSWORD: &str = "my-password";

/// The service on a new database, with one user and a credential of each kind.
struct Service {
    runtime: Runtime,
    auth: Auth,
    login: Box<Login>,
    headers: [(&'static str, String); 4],
    _folder: TempDir,
}

fn origin() -> Origin {
    Origin { address: Ipv4Addr::LOCALHOST.into(), request_id: Uuid::nil() }
}

impl Service {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let database = format!("sqlite://{}", folder.path().join("countersign.db").display());
        let flags = ["--database-url", &database, "--admin-username", USERNAME, "--admin-password", PASSWORD];
        let cli = Cli::try_parse_from(["countersign"].into_iter().chain(flags)).unwrap();
        let runtime = Runtime::new().unwrap();
        let basic = format!("Basic {}", STANDARD.encode(format!("{USERNAME}:{PASSWORD}")));
        let (auth, login, personal) = runtime.block_on(async {
            let (auth, _) = serve::open(&cli.config, Clock::System).await.unwrap();
            let client = Client { origin: origin(), user_agent: None };
            let LoginOutcome::Session(login) = auth.login(USERNAME, &PASSWORD.into(), client).await.unwrap() else {
                unreachable!("the user of this benchmark has no pending step");
            };
            let principal = auth.authenticate(basic.as_bytes(), origin()).await.unwrap();
            let token = NewToken { name: "bench".to_owned(), scopes: principal.scopes, expires_in: None };
            let actor = Actor::caller(&principal, origin(), principal.grant(None, None));
            let (_, personal) = auth.create_token(&principal, actor, token, None).await.unwrap();
            (auth, login, personal)
        });
        let headers = [
            ("opaque", format!("Bearer {}", login.opaque.reveal())),
            ("jwt", format!("Bearer {}", login.jwt.token)),
            ("personal", format!("Bearer {}", personal.reveal())),
            ("basic", basic),
        ];
        Self { runtime, auth, login, headers, _folder: folder }
    }
}

/// Parses the header into an unchecked credential.
fn parse(criterion: &mut Criterion, service: &Service) {
    let mut group = criterion.benchmark_group("parse");
    for (kind, header) in &service.headers {
        group.bench_function(*kind, |bench| bench.iter(|| drop(Credential::parse(black_box(header.as_bytes())))));
    }
}

/// Hashes a token, as a lookup does.
fn hash(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash");
    let (opaque, personal) = (OpaqueToken::new([7; 16]), PersonalSecret::new([7; 32]));
    group.bench_function("opaque", |bench| bench.iter(|| black_box(&opaque).hash()));
    group.bench_function("personal", |bench| bench.iter(|| black_box(&personal).hash()));
}

/// Verifies one signature, without the claims.
fn signature(criterion: &mut Criterion, service: &Service) {
    let keys: JwkSet = serde_json::from_str(&service.auth.jwks().json).unwrap();
    let key = DecodingKey::from_jwk(&keys.keys[0]).unwrap();
    let (message, signature) = service.login.jwt.token.rsplit_once('.').unwrap();
    criterion.bench_function("signature/es256", |bench| {
        bench.iter(|| jsonwebtoken::crypto::verify(signature, black_box(message.as_bytes()), &key, Algorithm::ES256));
    });
}

/// One argon2id hash with the default cost, in memory that is already allocated.
fn argon2id(criterion: &mut Criterion) {
    let cost = Cli::try_parse_from(["countersign"]).unwrap().config.settings.passwords.cost();
    let params = Params::new(cost.memory_kib, cost.iterations, 1, None).unwrap();
    let mut memory = vec![Block::new(); params.block_count()];
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, Version::V0x13, params);
    let mut group = criterion.benchmark_group("argon2id");
    group.sample_size(20).bench_function("default", |bench| {
        bench.iter(|| {
            let mut output = [0; 32];
            argon2
                .hash_password_into_with_memory(black_box(PASSWORD.as_bytes()), &[7; 16], &mut output, &mut memory)
                .unwrap();
            output
        });
    });
}

/// The whole check, from the header to the principal.
fn authenticate(criterion: &mut Criterion, service: &Service) {
    let mut group = criterion.benchmark_group("authenticate");
    group.sample_size(20);
    for (kind, header) in &service.headers {
        group.bench_function(*kind, |bench| {
            bench
                .to_async(&service.runtime)
                .iter(async || service.auth.authenticate(black_box(header.as_bytes()), origin()).await.unwrap());
        });
    }
}

fn all(criterion: &mut Criterion) {
    argon2id(criterion);
    hash(criterion);
    let service = Service::start();
    parse(criterion, &service);
    signature(criterion, &service);
    authenticate(criterion, &service);
}

criterion_group!(benches, all);
criterion_main!(benches);
