//! Three servers on one PostgreSQL behind nginx: what a client sees while they are restarted and killed, and while they lose
//! their PostgreSQL.

use std::fs;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    App, Binary, Cluster, Database, Killed, Line, PASSWORD, Server, find_program, free_port, on_postgres, secret_key,
};

/// Clients that ask at a time.
const CLIENTS: usize = 4;

/// Starts a server of this database on this port.
fn serve(database: &Database, port: u16) -> Server {
    Binary::new(database.folder.path())
        .env("DATABASE_URL", &database.url)
        .env("COUNTERSIGN_SECRET_KEY", &secret_key())
        .env("COUNTERSIGN_ADMIN_USERNAME", "root")
        .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
        .args(&["--public-url", "http://localhost:5000", "--drain-time", "2s", "--sessions-per-user", "1000"])
        .serve_at(port)
}

/// nginx with the file of the repository, on this port and before the servers on these.
fn balance(folder: &TempDir, port: u16, servers: [u16; 3]) -> Option<Killed> {
    let nginx = find_program("nginx")?;
    let mut text = fs::read_to_string("deploy/nginx/servers.conf").unwrap();
    let [first, second, third] = servers.map(|port| format!("server 127.0.0.1:{port}"));
    let listen = format!("listen 127.0.0.1:{port}");
    for (shown, put) in [
        ("listen 8000", listen),
        ("server auth-1:5000", first),
        ("server auth-2:5000", second),
        ("server auth-3:5000", third),
    ] {
        assert!(text.contains(shown), "{shown} is in the file");
        text = text.replace(shown, &put);
    }
    fs::write(folder.path().join("servers.conf"), text).unwrap();
    let frame = "master_process off; pid nginx.pid; error_log stderr error; events {} http { access_log off; \
                 client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; \
                 scgi_temp_path scgi; include servers.conf; }";
    fs::write(folder.path().join("nginx.conf"), frame).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf")).args([
        "-e",
        "stderr",
        "-g",
        "daemon off;",
    ]);
    let process = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(process);
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("nginx does not listen");
}

/// Clients that go on asking, and what they were answered.
struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    /// Clients that read with a token, and log in and out in between.
    fn on(url: &str, token: &str) -> Self {
        let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |_| {
            let (url, token) = (url.to_owned(), token.to_owned());
            let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
            tokio::spawn(async move {
                let (client, mut failed) = (Client::new(), Vec::new());
                for round in 0.. {
                    // Seldom enough that the session of the token is not one too many.
                    let request = match round % 64 {
                        0 => {
                            client.post(format!("{url}/login")).json(&json!({"username": "root", "password": PASSWORD}))
                        }
                        _ => client.get(format!("{url}/me")).bearer_auth(&token),
                    };
                    match request.send().await {
                        Ok(answer) if answer.status() == 200 => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Ok(answer) => failed.push(answer.status().to_string()),
                        Err(fault) => failed.push(fault.to_string()),
                    }
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                }
                failed
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { is_over, answered, clients }
    }

    /// Waits until so many more requests were answered.
    async fn go_on(&self, more: usize) {
        let (until, begun) = (self.answered.load(Ordering::Relaxed) + more, Instant::now());
        while self.answered.load(Ordering::Relaxed) < until {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing is answered any more");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it. Returns how many were answered, and what went wrong.
    async fn end(self) -> (usize, Vec<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for client in self.clients {
            failed.extend(client.await.unwrap());
        }
        (self.answered.load(Ordering::Relaxed), failed)
    }
}

async fn login(url: &str) -> String {
    let body = json!({"username": "root", "password": PASSWORD});
    let login: Value =
        Client::new().post(format!("{url}/login")).json(&body).send().await.unwrap().json().await.unwrap();
    login["opaque_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_are_restarted_one_by_one_and_no_request_fails() {
    if on_postgres().is_none() {
        return; // SQLite is one server
    }
    let (database, folder, port) = (Database::new().await, TempDir::new().unwrap(), free_port());
    let ports = [free_port(), free_port(), free_port()];
    let mut servers: Vec<_> = ports.iter().map(|port| serve(&database, *port)).collect();
    let Some(_nginx) = balance(&folder, port, ports) else { return };
    let url = format!("http://127.0.0.1:{port}");
    let token = login(&url).await;

    let load = Load::on(&url, &token);
    for (i, port) in ports.into_iter().enumerate() {
        load.go_on(200).await;
        let old = servers.remove(0);
        assert!(
            tokio::task::spawn_blocking(move || old.stop()).await.unwrap().success,
            "server {i} ends in good order"
        );
        load.go_on(200).await;
        let database = database.clone();
        servers.push(tokio::task::spawn_blocking(move || serve(&database, port)).await.unwrap());
    }
    load.go_on(200).await;
    let (answered, failed) = load.end().await;
    assert!(failed.is_empty(), "{} of {answered} failed: {:?}", failed.len(), &failed[..failed.len().min(20)]);

    what_one_ended_all_refuse(&servers).await;

    // Killed: at most what was in flight on it fails, and the others go on.
    let load = Load::on(&url, &login(&url).await);
    load.go_on(200).await;
    drop(servers.remove(0));
    load.go_on(400).await;
    let (answered, failed) = load.end().await;
    assert!(failed.len() <= CLIENTS, "{} of {answered} failed: {failed:?}", failed.len());
}

/// Logged in on one, known to another, ended on the third, refused everywhere.
async fn what_one_ended_all_refuse(servers: &[Server]) {
    let of = |server: &Server, path: &str| format!("{}{path}", server.url());
    let token = login(&servers[0].url()).await;
    let client = Client::new();
    for server in servers {
        let known = client.get(of(server, "/me")).bearer_auth(&token).send().await.unwrap();
        assert_eq!(known.status(), 200);
    }
    let ended = client.post(of(&servers[2], "/logout")).bearer_auth(&token).send().await.unwrap();
    assert_eq!(ended.status(), 204);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for server in servers {
        let refused = client.get(of(server, "/me")).bearer_auth(&token).send().await.unwrap();
        assert_eq!(refused.status(), 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_outlive_cut_lines_and_a_restart_of_their_postgresql() {
    if on_postgres().is_none() {
        return; // SQLite is one server
    }
    let Some(cluster) = Cluster::start() else { return };
    let database = Database::new().await.at(cluster.url());
    let lines = [(); 3].map(|()| Line::to(&database));
    let ports = [free_port(), free_port(), free_port()];
    let mut servers = Vec::new();
    for (line, port) in lines.iter().zip(ports) {
        let database = database.at(line.url.clone());
        servers.push(tokio::task::spawn_blocking(move || serve(&database, port)).await.unwrap());
    }
    let (folder, port) = (TempDir::new().unwrap(), free_port());
    let Some(_nginx) = balance(&folder, port, ports) else { return };
    let url = format!("http://127.0.0.1:{port}");

    let load = Load::on(&url, &login(&url).await);
    load.go_on(200).await;
    for line in &lines {
        line.cut();
        load.go_on(400).await;
    }
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.restart();
        cluster
    });
    let cluster = cluster.await.unwrap();
    load.go_on(400).await;
    let (answered, failed) = load.end().await;
    // "Not now" is the only wrong answer: nobody is told that they are not who they are, and nothing hangs.
    let others: Vec<_> = failed.iter().filter(|failed| !failed.starts_with("503 ")).collect();
    assert!(others.is_empty(), "{answered} answered, {} not now, {others:?}", failed.len());
    what_one_ended_all_refuse(&servers).await;
    drop((servers, cluster));
}

#[tokio::test]
async fn a_server_that_signs_otherwise_does_not_start_beside_another() {
    if on_postgres().is_none() {
        return; // servers on one file are on one machine
    }
    let database = Database::new().await;
    let start = async |flags: &[&str]| App::try_with(database.clone(), flags).await;
    let refused = async |flags: &[&str]| start(flags).await.err().unwrap().to_string();
    let first = App::on(database.clone(), &[]).await;
    let why = refused(&["--issuer", "https://other.example"]).await;
    assert!(why.starts_with("COUNTERSIGN_PUBLIC_URL: another server runs on this database"), "{why}");
    assert!(why.contains("issued by http") && why.contains("ours would be by https://other.example"), "{why}");
    let why = refused(&["--audience", "other"]).await;
    assert!(why.starts_with("COUNTERSIGN_AUDIENCE: ") && why.contains("for countersign, and ours would be for other"));
    let shared = |secret| ["--jwt-algorithm", "HS256", "--jwt-secret", secret];
    let [one, other] = ["a-secret-of-32-bytes-or-more-one!", "a-secret-of-32-bytes-or-more-other!"];
    assert!(refused(&shared(one)).await.starts_with("COUNTERSIGN_JWT_SECRET: "));

    // Beside one that has stopped, or has said nothing for a while, it does.
    first.service.auth().stop().await;
    let _second = start(&shared(one)).await.unwrap();
    assert!(refused(&shared(other)).await.starts_with("COUNTERSIGN_JWT_SECRET: "));
    start(&shared(one)).await.unwrap();
    database.sql("UPDATE servers SET seen_at = seen_at - 16000").await;
    start(&shared(other)).await.unwrap();
}

#[tokio::test]
async fn a_server_that_stops_forgets_itself_and_those_that_were_silent_for_an_hour() {
    if on_postgres().is_none() {
        return; // servers on one file are on one machine
    }
    let app = App::on(Database::new().await, &[]).await;
    let now = app.now_seconds() * 1000;
    for silent in [3_600_000, 3_600_001] {
        let columns = "id, issuer, audience, secret_tag, seen_at";
        let other =
            format!("SELECT gen_random_uuid(), issuer, audience, secret_tag, {} FROM servers LIMIT 1", now - silent);
        app.database.sql(&format!("INSERT INTO servers ({columns}) {other}")).await;
    }
    app.service.auth().stop().await;
    let left = app.database.text("SELECT string_agg(CAST(seen_at AS TEXT), ' ') FROM servers").await;
    assert_eq!(left, (now - 3_600_000).to_string());
}
