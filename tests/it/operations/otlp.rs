//! Traces and logs for a collector of OpenTelemetry, as Google's protobuf reads them.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::mail::server::certificate;
use crate::operations::telemetry::walk;
use crate::support::{
    Answer, Binary, Database, Killed, PASSWORD, basic, command, find_program, free_port, python_with,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector on a port of its own, and what it takes.
struct Collector {
    port: u16,
    taken: mpsc::Receiver<Value>,
    process: Killed,
}

impl Collector {
    /// With these arguments of `collector.py`. None when there is no library for it.
    fn start(args: &[&str]) -> Option<Self> {
        let python = python_with("opentelemetry.proto.collector.logs.v1.logs_service_pb2")?;
        let mut command = command(python);
        command.args(["-c", include_str!("collector.py")]).args(args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let process = Killed(child);
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let (sender, taken) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _nobody_waits = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { port, taken, process })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All that it has taken, now that the server has ended.
    fn all(self) -> Vec<Value> {
        drop(self.process);
        self.taken.iter().collect()
    }
}

#[track_caller]
fn find(all: &[Value], is_it: impl Fn(&Value) -> bool) -> &Value {
    all.iter().find(|value| is_it(value)).unwrap_or_else(|| panic!("not in {all:#?}"))
}

fn binary(database: &Database, url: &str) -> Binary {
    Binary::new(database.folder.path())
        .env("DATABASE_URL", &database.url)
        .env("COUNTERSIGN_ADMIN_USERNAME", "root")
        .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
        .env("COUNTERSIGN_OTLP_URL", url)
}

async fn get(url: &str, path: &str, flags: &str) -> Answer {
    let request = reqwest::Client::new().get(format!("{url}{path}")).header("authorization", basic("root", PASSWORD));
    let request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"));
    Answer::of(request.header("x-forwarded-for", "192.0.2.7")).await
}

#[tokio::test]
async fn a_request_is_a_span_of_the_trace_that_a_trusted_proxy_names_and_its_log_line_belongs_to_it() {
    let Some(collector) = Collector::start(&["take", "Bearer canary-of-the-collector"]) else { return };
    let database = Database::new().await;
    let server = binary(&database, &collector.url())
        .env("COUNTERSIGN_OTLP_HEADERS", "authorization=Bearer canary-of-the-collector")
        .env("COUNTERSIGN_TRUSTED_PROXIES", "127.0.0.1")
        .serve();
    let url = server.url();
    get(&url, "/me?token=canary-query", "01").await.expect(200);
    get(&url, "/canary-path", "01").await.expect(404);
    get(&url, "/link/canary-of-a-link", "01").await;
    let right = json!({"username": "root", "password": PASSWORD});
    Answer::of(reqwest::Client::new().post(format!("{url}/login")).json(&right)).await.expect(200);
    let wrong = json!({"username": "canary-name", "password": "canary-wrong"});
    Answer::of(reqwest::Client::new().post(format!("{url}/login")).json(&wrong)).await.expect(401);
    let ended = server.stop();
    assert!(ended.success);
    let all = collector.all();

    let span = find(&all, |value| value["span"] == "GET /me");
    assert_eq!((span["trace"].as_str(), span["parent"].as_str()), (Some(TRACE), Some(PARENT)), "{span}");
    assert_eq!((&span["kind"], &span["error"]), (&json!(2), &json!(false)), "a server's span: {span}");
    let said = &span["attributes"];
    assert_eq!(
        [&said["http.request.method"], &said["http.route"], &said["client.address"]],
        ["GET", "/me", "192.0.2.7"],
        "{span}"
    );
    assert_eq!(said["http.response.status_code"], 200);
    assert!(said["enduser.id"].is_string() && said["countersign.request_id"].is_string(), "{span}");
    assert_eq!(span["resource"]["service.name"], "countersign");
    find(&all, |value| value["span"] == "GET" && value["attributes"]["http.response.status_code"] == 404);
    find(&all, |value| value["span"] == "GET /link/{token}");

    let line = find(&all, |value| value["log"] == "request" && value["attributes"]["route"] == "/me");
    assert_eq!((&line["trace"], &line["span_id"]), (&span["trace"], &span["id"]), "{line}");
    assert_eq!(line["attributes"]["trace_id"], TRACE);
    assert!(
        ended.stdout.lines().any(|line| line.contains("route=\"/me\"") && line.contains(TRACE)),
        "{}",
        ended.stdout
    );
    // What a handler logs belongs to the trace, too, which is a new one without a traceparent.
    let login = |status: u16| {
        let is_it = |value: &Value| value["attributes"]["http.response.status_code"] == status;
        find(&all, |value| value["span"] == "POST /login" && is_it(value))
    };
    // The same holds for what a write says when it is done, in a task of its own.
    let succeeded = find(&all, |value| value["log"] == "audit" && value["attributes"]["event"] == "login.succeeded");
    let right = login(200);
    assert_eq!((&succeeded["trace"], &succeeded["span_id"]), (&right["trace"], &right["id"]), "{succeeded}");
    let login = login(401);
    let refused = find(&all, |value| value["log"] == "audit" && value["attributes"]["event"] == "login.failed");
    assert!(login["parent"] == "" && login["trace"] != TRACE && refused["trace"] == login["trace"], "{refused}");

    let text = serde_json::to_string(&all).unwrap();
    let secret = &basic("root", PASSWORD)["Basic ".len()..];
    assert!(!text.contains("canary") && !text.contains(PASSWORD) && !text.contains(secret), "{text}");
    assert!(!ended.stdout.contains("canary"), "{}", ended.stdout);
}

#[tokio::test]
async fn no_secret_is_sent_at_any_level() {
    let Some(collector) = Collector::start(&["take"]) else { return };
    let (_, secrets) = walk("text", &[("COUNTERSIGN_OTLP_URL", &collector.url())]).await;
    let all = collector.all();
    find(&all, |value| value["level"] == "DEBUG");
    find(&all, |value| value["span"] == "POST /login");
    for secret in &secrets {
        if let Some(value) = all.iter().find(|value| value.to_string().contains(secret.as_str())) {
            panic!("{secret} in {value}");
        }
    }
}

#[tokio::test]
async fn a_stranger_chooses_no_trace() {
    let Some(collector) = Collector::start(&["take"]) else { return };
    let database = Database::new().await;
    let server = binary(&database, &collector.url()).env("COUNTERSIGN_OTLP_SAMPLE", "0").serve();
    get(&server.url(), "/me", "01").await.expect(200);
    server.stop();
    let all = collector.all();
    let line = find(&all, |value| value["log"] == "request" && value["attributes"]["route"] == "/me");
    assert!(line["trace"] != TRACE && all.iter().all(|value| value["span"].is_null()), "{all:#?}");
}

#[tokio::test]
async fn a_trusted_proxy_decides_whether_its_trace_is_sent_and_the_share_about_all_others() {
    let Some(collector) = Collector::start(&["take"]) else { return };
    let database = Database::new().await;
    let server = binary(&database, &collector.url())
        .env("COUNTERSIGN_OTLP_SAMPLE", "0")
        .env("COUNTERSIGN_TRUSTED_PROXIES", "127.0.0.1")
        .serve();
    get(&server.url(), "/me", "01").await.expect(200);
    get(&server.url(), "/health", "00").await.expect(200);
    Answer::of(reqwest::Client::new().get(format!("{}/ready", server.url()))).await.expect(200);
    server.stop();
    let spans: Vec<_> = collector.all().into_iter().filter(|value| value["span"].is_string()).collect();
    assert!(spans.len() == 1 && spans[0]["span"] == "GET /me", "{spans:#?}");
}

#[tokio::test]
async fn a_collector_that_is_away_silent_or_unwilling_stops_nothing_and_is_told_of_once() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(unwilling) = Collector::start(&["refuse"]) else { return };
    let ports = [
        (free_port(), "Connection refused"),
        (silent.local_addr().unwrap().port(), "it does not answer within 5 seconds"),
        (unwilling.port, "it answers 503"),
    ];
    for (port, fault) in ports {
        let database = Database::new().await;
        let server = binary(&database, &format!("http://127.0.0.1:{port}")).serve();
        let (client, url) = (reqwest::Client::new(), format!("{}/health", server.url()));
        // More than a queue holds.
        for _ in 0..3000 {
            assert_eq!(Answer::of(client.get(&url)).await.status, 200);
        }
        let is_silent = port == silent.local_addr().unwrap().port();
        if is_silent {
            // It ends when the server has waited long enough.
            let (mut batch, _) = silent.accept().unwrap();
            batch.read_to_end(&mut Vec::new()).unwrap();
        }
        let begun = Instant::now();
        let ended = server.stop();
        assert!(ended.success && begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let told: Vec<_> = ended.stdout.lines().filter(|line| line.contains("the collector does not take")).collect();
        assert!(told.len() == 1 && told[0].contains(fault), "{told:?}");
        // What the library says when the end of the process has waited long enough for a queue.
        let mut errors = ended.stdout.lines().filter(|line| line.contains("ERROR"));
        assert!(errors.all(|line| is_silent && line.contains("Processor.Shutdown.Timeout")), "{}", ended.stdout);
    }
}

#[tokio::test]
async fn a_collector_is_reached_by_tls_when_this_machine_trusts_its_certificate() {
    let Some(_) = find_program("openssl") else { return };
    let folder = TempDir::new().unwrap();
    let [cert, key] = certificate(folder.path());
    for is_trusted in [true, false] {
        let Some(collector) = Collector::start(&["take", "", &cert, &key]) else { return };
        let database = Database::new().await;
        let roots = if is_trusted { &cert } else { "/etc/ssl/certs/ca-certificates.crt" };
        let server = binary(&database, &format!("https://localhost:{}/", collector.port)).env("SSL_CERT_FILE", roots);
        let server = server.serve();
        get(&server.url(), "/me", "01").await.expect(200);
        let log = server.stop().stdout;
        assert_eq!(collector.all().iter().any(|value| value["span"] == "GET /me"), is_trusted, "{log}");
    }
}
