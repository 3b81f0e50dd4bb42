//! Startup: what the first start creates and prints, and that later or concurrent ones change nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Answer, App, Binary, Database, PASSWORD, basic, bearer, find_program, on_postgres};

fn modes(folder: &Path) -> Vec<(String, u32)> {
    let mut modes: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().permissions().mode() & 0o777))
        .collect();
    modes.sort();
    modes
}

#[tokio::test]
async fn the_first_start_creates_private_files_and_prints_the_next_steps() {
    let folder = TempDir::new().unwrap();
    let server = Binary::new(folder.path()).serve();
    for (file, mode) in modes(folder.path()) {
        assert_eq!(mode, 0o600, "{file}");
    }
    assert!(folder.path().join("countersign.db").exists() && folder.path().join("countersign.key").exists());
    for said in [
        "countersign.db",
        "countersign.key",
        &format!("http://localhost:{}/docs", server.port),
        "/openapi.json",
        &format!("    http://localhost:{}/setup#setup_", server.port),
        &format!("curl http://localhost:{}/admin/users -H \"Authorization: Bearer setup_", server.port),
    ] {
        assert!(server.welcome.contains(said), "{said}: {}", server.welcome);
    }

    // The printed command works as it is.
    let from = server.welcome.find("    curl").unwrap();
    if find_program("curl").is_some() {
        let done = Command::new("bash").args(["-c", &server.welcome[from..]]).output().unwrap();
        let user: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!((&user["username"], &user["roles"]), (&json!("admin"), &json!(["admin", "user"])));
    }
    let token = server.setup_token().to_owned();
    let first = server.stop();
    assert!(first.success && !first.stdout.contains(&token), "the log has no secret: {}", first.stdout);

    let key = fs::read(folder.path().join("countersign.key")).unwrap();
    let second = Binary::new(folder.path()).serve().stop();
    assert!(
        second.success && !second.stderr.contains("setup_") && !second.stderr.contains("First admin"),
        "{}",
        second.stderr
    );
    assert_eq!(fs::read(folder.path().join("countersign.key")).unwrap(), key);
}

#[tokio::test]
async fn a_second_start_shows_no_secret_and_keeps_the_first_setup_token() {
    let folder = TempDir::new().unwrap();
    let first = Binary::new(folder.path()).serve();
    let token = first.setup_token().to_owned();
    first.stop();
    let second = Binary::new(folder.path()).serve();
    assert!(
        !second.welcome.contains("setup_") && second.welcome.contains("shown at the first start"),
        "{}",
        second.welcome
    );
    let body = json!({"username": "root", "password": PASSWORD, "roles": ["admin"]});
    let request =
        reqwest::Client::new().post(format!("{}/admin/users", second.url())).header("authorization", bearer(&token));
    Answer::of(request.json(&body)).await.expect(201);
}

#[tokio::test]
async fn tokens_survive_a_restart() {
    let database = Database::new().await;
    let app = App::on(database.clone(), &[]).await;
    app.create("root", &["user", "admin"]).await;
    let (opaque, jwt) = app.tokens("root").await;
    drop(app);
    let again = App::on(database, &[]).await;
    for token in [opaque, jwt] {
        again.with(token).get("/me").await.expect(200);
    }
}

#[tokio::test]
async fn the_settings_create_the_first_admin() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("password"), "my-password\n").unwrap();
    let start = || {
        Binary::new(folder.path())
            .env("COUNTERSIGN_ADMIN_USERNAME", "root")
            .env("COUNTERSIGN_ADMIN_PASSWORD_FILE", "password")
            .serve()
    };
    for said in ["root was created", "there was one before"] {
        let server = start();
        assert!(server.welcome.contains(said), "{}", server.welcome);
        let request = reqwest::Client::new().get(format!("{}/admin/users", server.url()));
        let users = Answer::of(request.header("authorization", basic("root", PASSWORD))).await.expect(200).json();
        assert_eq!(users["items"].as_array().unwrap().len(), 1);
        server.stop();
    }
    fs::write(folder.path().join("password"), "another-password\n").unwrap();
    let server = start();
    let request = reqwest::Client::new().get(format!("{}/me", server.url()));
    Answer::of(request.header("authorization", basic("root", PASSWORD))).await.expect(200);
}

#[tokio::test]
async fn an_admin_username_taken_by_a_non_admin_stops_the_start() {
    let database = Database::new().await;
    drop(App::on(database.clone(), &[]).await.create("root", &["user"]).await);
    let done = Binary::new(database.folder.path())
        .env("DATABASE_URL", &database.url)
        .env("COUNTERSIGN_SECRET_KEY", &STANDARD.encode([7; 32]))
        .env("COUNTERSIGN_ADMIN_USERNAME", "root")
        .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
        .args(&["--listen", "127.0.0.1:0"])
        .output();
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.starts_with("countersign: COUNTERSIGN_ADMIN_USERNAME: this user exists"), "{text}");
}

#[tokio::test]
async fn the_env_file_is_read_and_the_environment_overrides_it() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(".env"), "DATABASE_URL=sqlite://other.db\nCOUNTERSIGN_ISSUER=https://from.file\n")
        .unwrap();
    let server = Binary::new(folder.path()).env("COUNTERSIGN_ISSUER", "https://from.environment").serve();
    assert!(folder.path().join("other.db").exists() && folder.path().join("other.key").exists());
    let created = reqwest::Client::new()
        .post(format!("{}/admin/users", server.url()))
        .header("authorization", bearer(server.setup_token()));
    Answer::of(created.json(&json!({"username": "root", "password": PASSWORD, "roles": ["admin"]}))).await.expect(201);
    let login =
        reqwest::Client::new().post(format!("{}/login", server.url())).header("authorization", basic("root", PASSWORD));
    let login = Answer::of(login).await.expect(200).json();
    assert_eq!(crate::support::claims_of(login["token"].as_str().unwrap())["iss"], "https://from.environment");
}

#[tokio::test]
async fn a_port_in_use_stops_the_start_before_any_file_is_created() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = TempDir::new().unwrap();
    let done = Binary::new(folder.path()).args(&["--listen", &taken.local_addr().unwrap().to_string()]).output();
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.starts_with("countersign: COUNTERSIGN_LISTEN: cannot listen on"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn without_its_key_file_a_database_with_keys_is_refused_and_no_key_is_created() {
    let folder = TempDir::new().unwrap();
    Binary::new(folder.path()).serve().stop();
    fs::remove_file(folder.path().join("countersign.key")).unwrap();
    let done = Binary::new(folder.path()).args(&["--listen", "127.0.0.1:0"]).output();
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.contains("countersign.key, which opens them, is missing"), "{text}");
    assert!(!folder.path().join("countersign.key").exists());
}

/// All servers share one database: each migration runs once, with one key and one setup token.
#[tokio::test]
async fn ten_concurrent_starts_on_an_empty_database_agree() {
    let database = Database::new().await;
    let servers: Vec<_> = (0..10)
        .map(|_| {
            let (url, folder) = (database.url.clone(), database.folder.path().to_owned());
            std::thread::spawn(move || Binary::new(&folder).env("DATABASE_URL", &url).serve())
        })
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    let tokens: Vec<_> = servers
        .iter()
        .filter(|server| server.welcome.contains("setup_"))
        .map(crate::support::Server::setup_token)
        .collect();
    assert_eq!(tokens.len(), 1, "one token was shown");
    let mut key_sets = std::collections::HashSet::new();
    for server in &servers {
        let request = reqwest::Client::new().get(format!("{}/.well-known/jwks.json", server.url()));
        key_sets.insert(Answer::of(request).await.expect(200).text);
    }
    assert_eq!(key_sets.len(), 1, "{key_sets:?}");
    let body = json!({"username": "root", "password": PASSWORD, "roles": ["user", "admin"]});
    let request = reqwest::Client::new()
        .post(format!("{}/admin/users", servers[3].url()))
        .header("authorization", bearer(tokens[0]));
    Answer::of(request.json(&body)).await.expect(201);
    let login = reqwest::Client::new()
        .post(format!("{}/login", servers[0].url()))
        .header("authorization", basic("root", PASSWORD));
    let login = Answer::of(login).await.expect(200).json();
    for server in &servers {
        for token in ["token", "opaque_token"] {
            let request = reqwest::Client::new().get(format!("{}/me", server.url()));
            Answer::of(request.header("authorization", bearer(login[token].as_str().unwrap()))).await.expect(200);
        }
    }
    let migrations = "SELECT CAST(count(*) AS TEXT) FROM _sqlx_migrations";
    assert_eq!(
        database.text(migrations).await,
        fs::read_dir("migrations").unwrap().filter(|e| e.as_ref().unwrap().path().is_file()).count().to_string()
    );
}

#[tokio::test]
async fn a_newer_or_changed_schema_stops_the_start() {
    for (change, said) in [
        (
            "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1",
            "migration 9999 of this database is not known",
        ),
        ("UPDATE _sqlx_migrations SET checksum = CAST('x' AS BLOB)", "migration 1 of this database is not the one"),
    ] {
        let database = Database::new().await;
        drop(App::on(database.clone(), &[]).await);
        let change =
            if on_postgres().is_some() { change.replace("CAST('x' AS BLOB)", "'x'::bytea") } else { change.into() };
        database.sql(&change).await;
        let done = Binary::new(database.folder.path())
            .env("DATABASE_URL", &database.url)
            .args(&["--listen", "127.0.0.1:0"])
            .output();
        let text = String::from_utf8(done.stderr).unwrap();
        assert!(text.starts_with("countersign: DATABASE_URL: ") && text.contains(said), "{text}");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_unchanged() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("countersign.db");
    let letter = "Dear diary, this is not a database. ".repeat(100);
    fs::write(&path, &letter).unwrap();
    let done = Binary::new(folder.path()).args(&["--listen", "127.0.0.1:0"]).output();
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.starts_with("countersign: DATABASE_URL: ") && text.contains("not a database"), "{text}");
    assert_eq!(fs::read_to_string(&path).unwrap(), letter);
    assert!(!folder.path().join("countersign.key").exists());
}

/// The server runs as a user who does not own the file, which only root can arrange.
#[test]
fn a_file_without_permission_to_write_stops_the_start_and_says_so() {
    const NOBODY: u32 = 65534;
    let folder = TempDir::new().unwrap();
    let (path, program) = (folder.path().join("countersign.db"), folder.path().join("countersign"));
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    // By a program of its own: a file that this process has open to write could not be run while another test forks.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_countersign")).arg(&program).status();
    assert!(copied.unwrap().success());
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new(program);
    command.env_clear().current_dir(folder.path()).args(["--listen", "127.0.0.1:0"]);
    if fs::metadata(&path).unwrap().uid() != 0 {
        return println!("NOT RUN: it needs root");
    }
    command.uid(NOBODY);
    let text = String::from_utf8(Binary(command).output().stderr).unwrap();
    assert!(text.starts_with("countersign: DATABASE_URL: "), "{text}");
    assert!(text.contains("let this user write to it"), "{text}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

/// The real sqlx-cli runs `sqlx migrate run` with the `DATABASE_URL` of `.env.example`. Then the server starts on it.
#[tokio::test]
async fn the_server_starts_on_a_schema_created_by_sqlx_migrate_run() {
    let Some(sqlx) = find_program("sqlx") else { return };
    let root = env!("CARGO_MANIFEST_DIR");
    let database = Database::new().await;
    let folder = database.folder.path();
    fs::copy(format!("{root}/.env.example"), folder.join(".env")).unwrap();
    let mut command = Command::new(sqlx);
    command.args(["migrate", "run", "--source"]).env_remove("DATABASE_URL").current_dir(folder);
    if on_postgres().is_some() {
        command.arg(format!("{root}/migrations/postgres")).env("DATABASE_URL", &database.url);
    } else {
        command.arg(format!("{root}/migrations"));
    }
    let done = command.output().unwrap();
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    let mut binary = Binary::new(folder);
    if on_postgres().is_some() {
        binary = binary.env("DATABASE_URL", &database.url);
    } else {
        assert!(folder.join("countersign.db").exists());
    }
    let server = binary.serve();
    if on_postgres().is_none() {
        let mode = fs::metadata(folder.join("countersign.db")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "files readable by others are made private");
    }
    let request = reqwest::Client::new().request(Method::GET, format!("{}/ready", server.url()));
    Answer::of(request).await.expect(200);
    assert!(server.stop().success);
}

#[tokio::test]
async fn during_startup_health_succeeds_and_ready_does_not() {
    if on_postgres().is_some() {
        return; // the test delays the start with the lock file beside a SQLite file
    }
    let folder = TempDir::new().unwrap();
    let lock = fs::File::create(folder.path().join("countersign.db.lock")).unwrap();
    lock.lock().unwrap();
    let port = crate::support::free_port();
    let _child = Binary::new(folder.path()).args(&["--listen", &format!("127.0.0.1:{port}")]).spawn();
    let client = reqwest::Client::new();
    let get = |path: &str| client.get(format!("http://127.0.0.1:{port}{path}"));
    while get("/health").send().await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Answer::of(get("/health")).await.expect(200);
    for path in ["/ready", "/me", "/login"] {
        let answer = Answer::of(get(path)).await.expect(503);
        assert_eq!((answer.problem().as_str(), answer.header("retry-after")), ("starting", "1"));
    }
    assert!(!folder.path().join("countersign.key").exists());
    lock.unlock().unwrap();
    while get("/ready").send().await.unwrap().status() != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    Answer::of(get("/me")).await.expect(401);
}

#[test]
fn a_key_file_readable_by_others_is_made_private() {
    let folder = TempDir::new().unwrap();
    Binary::new(folder.path()).serve().stop();
    let key = folder.path().join("countersign.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    Binary::new(folder.path()).serve().stop();
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Otherwise anyone with write access to the database could publish a key of their own.
#[tokio::test]
async fn a_public_key_that_does_not_match_its_kid_is_refused() {
    let database = Database::new().await;
    drop(App::on(database.clone(), &[]).await);
    database.sql(r#"UPDATE signing_keys SET public_jwk = replace(public_jwk, '"x":"', '"x":"A')"#).await;
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]);
    let binary =
        Binary::new(database.folder.path()).env("DATABASE_URL", &database.url).env("COUNTERSIGN_SECRET_KEY", &key);
    let done = binary.args(&["--listen", "127.0.0.1:0"]).output();
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.contains("is damaged; restore a backup"), "{text}");
}

#[tokio::test]
async fn a_setup_token_is_invalid_once_an_admin_exists() {
    let app = App::start().await;
    let token = "a-setup-token-of-the-tests";
    let hash = countersign::model::TokenHash::of(token.as_bytes());
    let hex: String = hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let literal = if on_postgres().is_some() { format!("'\\x{hex}'") } else { format!("X'{hex}'") };
    app.database
        .sql(&format!("INSERT INTO one_time_secrets (secret_hash, purpose, created_at) VALUES ({literal}, 'setup', 0)"))
        .await;
    let body = json!({"username": "eve", "password": PASSWORD, "roles": ["admin"]});
    assert_eq!(app.with(bearer(token)).post("/admin/users", &body).await.expect(401).problem(), "invalid-token");
}

#[test]
fn a_server_without_memory_for_its_hashes_does_not_start_and_says_so() {
    let Some(prlimit) = find_program("prlimit") else { return };
    let folder = TempDir::new().unwrap();
    let mut command = crate::support::command(prlimit);
    command.args(["--as=400000000", env!("CARGO_BIN_EXE_countersign"), "serve", "--listen", "127.0.0.1:0"]);
    command.args(["--argon2-memory-kib", "1000000", "--argon2-iterations", "1"]).current_dir(folder.path());
    let ended = Binary(command).output();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("COUNTERSIGN_HASH_WORKERS: there is no memory for"), "{said}");
}
