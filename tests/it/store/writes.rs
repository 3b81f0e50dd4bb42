//! Writes: an acknowledged write is durable and independent of concurrent ones.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Client, Method};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Answer, App, Binary, Database, PASSWORD, basic, bearer, find_program, on_postgres};

#[tokio::test]
async fn concurrent_writes_are_committed_before_the_response_and_a_failed_one_undoes_no_other() {
    let app = App::start_with(&["--hash-queue", "1000"]).await;
    let (opaque, _) = app.tokens("root").await;
    let answers = join_all((0..60).map(|i| {
        let (app, opaque) = (&app, &opaque);
        async move {
            // Two requests ask for each name.
            let name = format!("user-{}", i / 2);
            let body = json!({"username": name, "password": PASSWORD});
            let answer = app.with(opaque).post("/admin/users", &body).await;
            let found = format!("SELECT CAST(count(*) AS TEXT) FROM users WHERE username = '{name}'");
            (answer.status.as_u16(), app.database.text(&found).await)
        }
    }));
    for twice in answers.await.chunks(2) {
        let mut statuses = [twice[0].0, twice[1].0];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409]);
        let told = twice.iter().find(|(status, _)| *status == 201).unwrap();
        assert_eq!(told.1, "1");
    }
}

/// The server is killed under load. Every login that it acknowledged has a session after the restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_the_process_is_killed() {
    let database = Database::new().await;
    let start = || {
        Binary::new(database.folder.path())
            .args(&["--sessions-per-user", "1000", "--hash-queue", "1000"])
            .env("DATABASE_URL", &database.url)
            .env("COUNTERSIGN_ADMIN_USERNAME", "root")
            .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
            .serve()
    };
    let mut server = start();
    for _ in 0..3 {
        let (url, acknowledged): (Arc<str>, _) = (server.url().into(), Arc::new(AtomicU32::new(0)));
        let clients: Vec<_> = (0..16)
            .map(|_| {
                let (url, acknowledged) = (Arc::clone(&url), Arc::clone(&acknowledged));
                tokio::spawn(async move {
                    let (client, mut tokens) = (Client::new(), Vec::new());
                    loop {
                        let login =
                            client.post(format!("{url}/login")).header("authorization", basic("root", PASSWORD));
                        let Ok(answer) = login.send().await else { break };
                        if answer.status() != 200 {
                            continue;
                        }
                        let Ok(text) = answer.text().await else { break };
                        let body: serde_json::Value = serde_json::from_str(&text).unwrap();
                        tokens.push(bearer(body["opaque_token"].as_str().unwrap()));
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    tokens
                })
            })
            .collect();
        while acknowledged.load(Ordering::Relaxed) < 50 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.child.kill().unwrap();
        server = start();
        for tokens in join_all(clients).await {
            for token in tokens.unwrap() {
                let asked = Client::new().get(format!("{}/me", server.url())).header("authorization", token);
                Answer::of(asked).await.expect(200);
            }
        }
    }
}

/// A file size limit simulates a full disk, and is then lifted.
#[tokio::test]
async fn on_a_full_disk_writes_get_503_checks_continue_and_writes_recover() {
    if on_postgres().is_some() {
        return; // its files belong to another process
    }
    let (Some(prlimit), Some(bash)) = (find_program("prlimit"), find_program("bash")) else { return };
    let folder = TempDir::new().unwrap();
    let mut command = crate::support::command(bash);
    // SIGXFSZ comes with the error and would end the process.
    command.args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#, env!("CARGO_BIN_EXE_countersign")]);
    command.env_clear().current_dir(folder.path()).stdin(Stdio::null());
    let binary = Binary(command).env("COUNTERSIGN_ADMIN_USERNAME", "root").env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD);
    let server = binary.serve();
    let allow = |bytes: &str| {
        let pid = server.child.id().to_string();
        let done = Command::new(&prlimit).args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
        assert!(done.unwrap().success());
    };
    let client = Client::new();
    let send = async |method: Method, path: &str, authorization: &str| {
        let request = client.request(method, format!("{}{path}", server.url()));
        Answer::of(request.header("authorization", authorization)).await
    };
    let login = async || send(Method::POST, "/login", &basic("root", PASSWORD)).await;
    let token = bearer(login().await.expect(200).json()["opaque_token"].as_str().unwrap());
    allow(&fs::metadata(folder.path().join("countersign.db-wal")).unwrap().len().to_string());
    for _ in 0..3 {
        for answer in join_all((0..5).map(|_| login())).await {
            assert_eq!(answer.expect(503).problem(), "unavailable");
        }
        send(Method::GET, "/me", &token).await.expect(200);
    }
    allow("unlimited");
    let token = bearer(login().await.expect(200).json()["opaque_token"].as_str().unwrap());
    send(Method::GET, "/me", &token).await.expect(200);
    send(Method::POST, "/logout", &token).await.expect(204);
}

#[tokio::test]
async fn a_repeated_logout_is_answered_only_after_the_first_is_committed() {
    let app = App::start().await;
    for _ in 0..10 {
        let (opaque, _) = app.tokens("root").await;
        let logouts = join_all((0..8).map(|_| {
            let (app, opaque) = (&app, &opaque);
            async move {
                let status = app.with(opaque).send(Method::POST, "/logout").await.status.as_u16();
                let live =
                    app.database.text("SELECT CAST(count(*) AS TEXT) FROM sessions WHERE ended_at IS NULL").await;
                (status, live)
            }
        }));
        for (status, live) in logouts.await {
            assert!([204, 401].contains(&status) && live == "0", "{status} {live}");
        }
    }
}
