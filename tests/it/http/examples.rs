//! `examples/`: each client is started as its README says, and accepts the users of Countersign.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Answer, Binary, Database, Killed, PASSWORD, Server, basic, bearer, command, free_port, node, optional_program,
    python_with,
};

/// The `ttl` of status lists in these tests, in seconds.
const TTL: u64 = 1;

/// A server process with an admin `root` and a user `sergio`.
struct Countersign {
    server: Server,
    _database: Database,
}

impl Countersign {
    async fn start() -> Self {
        let database = Database::new().await;
        let server = Binary::new(database.folder.path())
            .env("DATABASE_URL", &database.url)
            .env("COUNTERSIGN_ADMIN_USERNAME", "root")
            .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
            .env("COUNTERSIGN_STATUS_TTL", &format!("{TTL}s"))
            .serve();
        let this = Self { server, _database: database };
        let sergio = json!({"username": "sergio", "password": PASSWORD, "roles": ["user", "editor"]});
        Answer::of(this.request(Method::POST, "/admin/users", &basic("root", PASSWORD)).json(&sergio))
            .await
            .expect(201);
        this
    }

    fn request(&self, method: Method, path: &str, authorization: &str) -> RequestBuilder {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.server.url()));
        request.header("authorization", authorization)
    }

    async fn login(&self, username: &str) -> Value {
        Answer::of(self.request(Method::POST, "/login", &basic(username, PASSWORD))).await.expect(200).json()
    }

    async fn jwt(&self, username: &str) -> String {
        bearer(self.login(username).await["token"].as_str().unwrap())
    }
}

/// A running example.
struct Client {
    url: String,
    _process: Killed,
}

impl Client {
    /// Starts the example and waits until it prints its address.
    fn start(mut command: Command, countersign: &Countersign) -> Self {
        let port = free_port();
        command.env("COUNTERSIGN_URL", countersign.server.url()).env("PORT", port.to_string());
        let mut process = Killed(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let (said, heard) = std::sync::mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(process.0.stdout.take().unwrap()), Box::new(process.0.stderr.take().unwrap())];
        for stream in streams {
            let said = said.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _nobody_listens = said.send(line);
                }
            });
        }
        drop(said);
        let mut all = String::new();
        loop {
            let line =
                heard.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("it did not start: {all}"));
            all += &(line + "\n");
            if all.contains(&format!("http://127.0.0.1:{port}")) {
                return Self { url: format!("http://127.0.0.1:{port}"), _process: process };
            }
        }
    }

    async fn get(&self, path: &str, authorization: Option<&str>) -> Answer {
        let request = reqwest::Client::new().get(format!("{}{path}", self.url));
        Answer::of(match authorization {
            Some(value) => request.header("authorization", value),
            None => request,
        })
        .await
    }

    /// Retries until the status is this one, for at most the `ttl` of a status list plus two seconds.
    async fn wait_for_status(&self, authorization: &str, status: u16) {
        let asked = Instant::now();
        let mut answer = self.get("/hello", Some(authorization)).await;
        while answer.status != status {
            assert!(asked.elapsed() < Duration::from_secs(TTL + 2), "it should be {status}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            answer = self.get("/hello", Some(authorization)).await;
        }
    }
}

/// Checks a client that verifies tokens offline.
async fn check_offline_client(countersign: Countersign, client: Client) {
    client.get("/", None).await.expect(200);
    assert_eq!(client.get("/hello", None).await.expect(401).challenges().len(), 1);
    let (jwt, roots) = (countersign.jwt("sergio").await, countersign.jwt("root").await);
    let hello = client.get("/hello", Some(&jwt)).await.expect(200).json();
    assert_eq!((&hello["name"], &hello["roles"]), (&json!("sergio"), &json!(["editor", "user"])));
    client.get("/admin", Some(&jwt)).await.expect(403);
    client.get("/admin", Some(&roots)).await.expect(200);
    let opaque = bearer(countersign.login("sergio").await["opaque_token"].as_str().unwrap());
    let list = crate::support::claims_of(&jwt["Bearer ".len()..])["status"]["status_list"]["uri"].clone();
    let path = list.as_str().unwrap().strip_prefix("http://localhost:5000").unwrap().to_owned();
    let list = Answer::of(countersign.request(Method::GET, &path, "")).await.expect(200).text;
    let changed =
        format!("{}{}", &jwt[..jwt.len() - 8], if jwt.ends_with("AAAAAAAA") { "BBBBBBBB" } else { "AAAAAAAA" });
    for wrong in [&opaque, &changed, &bearer(&list), &bearer("a.b.c"), &bearer("")] {
        let challenge = client.get("/hello", Some(wrong)).await.expect(401);
        assert!(challenge.header("www-authenticate").starts_with("Bearer"), "{challenge:?}");
    }

    let logout = countersign.request(Method::POST, "/logout", &jwt);
    Answer::of(logout).await.expect(204);
    client.wait_for_status(&jwt, 401).await;
    client.get("/hello", Some(&roots)).await.expect(200);

    // Without Countersign, a cached list is valid for its `ttl`. After that every token gets a 503, never a 401.
    countersign.server.stop();
    client.wait_for_status(&roots, 503).await;
    assert_eq!(client.get("/hello", Some(&roots)).await.header("retry-after"), "1");
}

#[tokio::test]
async fn the_axum_layer_verifies_offline_and_sees_a_logout_within_the_ttl() {
    // `cargo test` builds the example, too.
    let deps = std::env::current_exe().unwrap();
    let example = deps.parent().unwrap().parent().unwrap().join("examples/axum");
    assert!(example.exists(), "build it: cargo build --example axum");
    let countersign = Countersign::start().await;
    let client = Client::start(Command::new(example), &countersign);
    check_offline_client(countersign, client).await;
}

#[tokio::test]
async fn the_express_service_verifies_offline_and_sees_a_logout_within_the_ttl() {
    let Some(node) = node() else { return };
    let folder = TempDir::new().unwrap();
    for file in fs::read_dir("examples/express").unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "js" || extension == "json") {
            fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
    }
    std::os::unix::fs::symlink(node.packages.join("node_modules"), folder.path().join("node_modules")).unwrap();
    let countersign = Countersign::start().await;
    let mut command = Command::new(&node.program);
    command.arg("server.js").current_dir(folder.path());
    let client = Client::start(command, &countersign);
    check_offline_client(countersign, client).await;
}

/// Checks a client that calls Countersign on each request.
async fn check_asking_client(countersign: Countersign, client: Client) {
    client.get("/", None).await.expect(200);
    assert_eq!(client.get("/hello", None).await.expect(401).challenges().len(), 2);
    let login = countersign.login("sergio").await;
    let (jwt, opaque) = (bearer(login["token"].as_str().unwrap()), bearer(login["opaque_token"].as_str().unwrap()));
    let password = basic("sergio", PASSWORD);
    let made =
        countersign.request(Method::POST, "/me/tokens", &password).json(&json!({"name": "a", "scopes": ["profile"]}));
    let personal = bearer(Answer::of(made).await.expect(201).json()["token"].as_str().unwrap());
    for (credential, method) in [(&jwt, "jwt"), (&opaque, "opaque"), (&personal, "personal"), (&password, "basic")] {
        let hello = client.get("/hello", Some(credential)).await.expect(200).json();
        assert_eq!((&hello["name"], &hello["method"]), (&json!("sergio"), &json!(method)));
        client.get("/admin", Some(credential)).await.expect(403);
    }
    client.get("/admin", Some(&basic("root", PASSWORD))).await.expect(200);
    for wrong in [&basic("sergio", "wrong"), &bearer("nonsense"), &bearer("a.b.c")] {
        client.get("/hello", Some(wrong)).await.expect(401);
    }
    Answer::of(countersign.request(Method::POST, "/logout", &jwt)).await.expect(204);
    for ended in [&jwt, &opaque] {
        client.get("/hello", Some(ended)).await.expect(401);
    }
    countersign.server.stop();
    assert_eq!(client.get("/hello", Some(&password)).await.expect(503).header("retry-after"), "1");
}

#[tokio::test]
async fn the_flask_app_accepts_all_four_credentials_and_sees_a_logout_at_once() {
    let Some(python) = python_with("flask, flask_httpauth, requests") else { return };
    let countersign = Countersign::start().await;
    let mut flask = Command::new(python);
    flask.args(["-B", "app.py"]).current_dir(PathBuf::from("examples/flask").canonicalize().unwrap());
    let client = Client::start(flask, &countersign);
    check_asking_client(countersign, client).await;
}

#[tokio::test]
async fn the_go_service_accepts_all_four_credentials_and_sees_a_logout_at_once() {
    let Some(go) = optional_program("go") else { return };
    let folder = TempDir::new().unwrap();
    let service = folder.path().join("hello");
    let mut build = command(go);
    build.args(["build", "-o"]).arg(&service).arg(".").current_dir("examples/go");
    // Compiled once for all runs, and without the network.
    build
        .env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go"))
        .env("GOPATH", folder.path())
        .env("GOPROXY", "off");
    let built = build.env("GOFLAGS", "-buildvcs=false").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let countersign = Countersign::start().await;
    let client = Client::start(Command::new(service), &countersign);
    check_asking_client(countersign, client).await;
}
