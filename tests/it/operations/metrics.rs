//! Metrics: a separate listener in the OpenMetrics format.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Answer, Binary, Database, PASSWORD, Server, basic, bearer, free_port, on_postgres, python_with};

struct Counted {
    server: Server,
    metrics: String,
    client: Client,
    _database: Database,
}

impl Counted {
    async fn start() -> Self {
        let (database, port) = (Database::new().await, free_port());
        let server = Binary::new(database.folder.path())
            .env("DATABASE_URL", &database.url)
            .env("COUNTERSIGN_METRICS_LISTEN", &format!("127.0.0.1:{port}"))
            .env("COUNTERSIGN_ADMIN_USERNAME", "canary")
            .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
            .args(&["--hash-workers", "1", "--hash-queue", "1", "--argon2-memory-kib", "19456"])
            .serve();
        Self { server, metrics: format!("http://127.0.0.1:{port}"), client: Client::new(), _database: database }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.server.url()))
    }

    async fn login(&self) -> Answer {
        let login = self.client.post(format!("{}/login", self.server.url()));
        Answer::of(login.header("authorization", basic("canary", PASSWORD))).await
    }

    async fn scrape(&self) -> Answer {
        Answer::of(self.client.get(format!("{}/metrics", self.metrics))).await.expect(200)
    }
}

/// Parses the value of each series.
fn series(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, value)| (name, value.parse().unwrap())).collect()
}

#[tokio::test]
async fn metrics_count_requests_hashes_and_commits_without_names() {
    let counted = Counted::start().await;
    let login: Value = counted.login().await.expect(200).json();
    let token = bearer(login["opaque_token"].as_str().unwrap());
    for path in ["/me", "/me", "/users?canary=canary", "/admin/users/0198b7a2-0000-7000-8000-0000000000ca"] {
        Answer::of(counted.get(path).header("authorization", &token)).await;
    }
    Answer::of(counted.get("/canary")).await.expect(404);
    let made_up = reqwest::Method::from_bytes(b"CANARY").unwrap();
    Answer::of(counted.client.request(made_up, format!("{}/me", counted.server.url()))).await.expect(405);
    let storm = futures_util::future::join_all((0..12).map(|_| counted.login())).await;
    let refused = storm.iter().filter(|answer| answer.status == 503).count();
    assert!(refused > 0);

    // A hash is answered first and counted then. The start hashed the admin's password.
    let hashed = (12 - refused + 2) as f64;
    let mut scraped = counted.scrape().await;
    for _ in 0..500 {
        if series(&scraped.text)["countersign_hash_run_seconds_count"] >= hashed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        scraped = counted.scrape().await;
    }
    assert_eq!(scraped.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(!scraped.text.to_lowercase().contains("canary") && !scraped.text.contains("0198b7a2"), "{}", scraped.text);
    let series = series(&scraped.text);
    let requests =
        |labels: &str| series[format!("countersign_http_request_duration_seconds_count{{{labels}}}").as_str()];
    assert_eq!(requests(r#"method="GET",route="/me",status="2xx""#), 2.0);
    assert_eq!(requests(r#"method="GET",route="/users",status="4xx""#), 1.0);
    assert_eq!(requests(r#"method="GET",route="/admin/users/{id}",status="4xx""#), 1.0);
    assert_eq!(requests(r#"method="GET",route="-",status="4xx""#), 1.0);
    assert_eq!(requests(r#"method="other",route="/me",status="4xx""#), 1.0);
    assert_eq!(requests(r#"method="POST",route="/login",status="5xx""#), refused as f64);
    assert_eq!(series["countersign_hash_refused_total"], refused as f64);
    assert_eq!(series["countersign_hash_queue_length"], 0.0);
    assert_eq!(series["countersign_hash_run_seconds_count"], hashed);
    assert_eq!(series["countersign_hash_wait_seconds_count"], hashed);
    assert_eq!(series[concat!("countersign_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}")], 1.0);
    // Some that were used for the figures may not be back in the pool yet.
    assert!(series[r#"countersign_database_connections_in_use{pool="read"}"#] <= 3.0);
    assert!(series[r#"countersign_database_connections_max{pool="read"}"#] >= 2.0);
    assert_eq!(series[r#"countersign_change_polls_total{outcome="failed"}"#], 0.0);
    let is_asked = series[r#"countersign_change_polls_total{outcome="answered"}"#] > 0.0;
    assert_eq!(is_asked, on_postgres().is_some(), "other servers are asked about on PostgreSQL");
    if on_postgres().is_none() {
        assert!(series["countersign_commit_members_sum"] >= hashed);
        assert!(series["countersign_commit_duration_seconds_count"] <= series["countersign_commit_members_sum"]);
    }
}

#[tokio::test]
async fn metrics_have_a_separate_listener_that_stops_with_the_server() {
    let counted = Counted::start().await;
    Answer::of(counted.get("/metrics")).await.expect(404);
    Answer::of(counted.client.get(format!("{}/health", counted.metrics))).await.expect(404);
    counted.scrape().await;
    let Counted { server, metrics, client, .. } = counted;
    assert!(server.stop().success);
    assert!(client.get(format!("{metrics}/metrics")).send().await.is_err());
}

/// Prometheus's own parser accepts the output, and the documentation explains each metric.
#[tokio::test]
async fn prometheus_parses_the_metrics_and_the_docs_list_each() {
    let counted = Counted::start().await;
    counted.login().await.expect(200);
    let text = counted.scrape().await.text;
    let documented = fs::read_to_string("docs/operations.md").unwrap();
    let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(families.len() >= 7);
    for family in families {
        let name = family.split(' ').next().unwrap();
        assert!(documented.contains(&format!("`{name}`")), "docs/operations.md lacks {name}");
    }
    let Some(python) = python_with("prometheus_client") else { return };
    let script = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
print(json.dumps({f.name: f.type for f in text_string_to_metric_families(sys.argv[1])}))
";
    let done = std::process::Command::new(python).args(["-c", script, &text]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let read: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(read["countersign_http_request_duration_seconds"], json!("histogram"));
    assert_eq!(read["countersign_hash_refused"], json!("counter"));
}
