//! The files for Prometheus and Grafana, with a real Prometheus that asks a real server.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::{Answer, Binary, Database, Killed, PASSWORD, basic, command, find_program, free_port};

/// The queries of the dashboard, as Grafana would fill them in.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string("deploy/grafana/countersign.json").unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let query = |target: &Value| target["expr"].as_str().unwrap().to_owned();
    targets.map(query).map(|query| query.replace("$job", "countersign").replace("$__rate_interval", "10s")).collect()
}

#[tokio::test]
async fn prometheus_accepts_the_alerts_and_finds_figures_for_the_whole_dashboard() {
    let (Some(prometheus), Some(promtool)) = (find_program("prometheus"), find_program("promtool")) else { return };
    let (database, metrics, port) = (Database::new().await, free_port(), free_port());
    let folder = database.folder.path();
    let done = command(promtool).args(["check", "config", "deploy/prometheus/prometheus.yml"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let server = Binary::new(folder)
        .env("DATABASE_URL", &database.url)
        .env("COUNTERSIGN_METRICS_LISTEN", &format!("127.0.0.1:{metrics}"))
        .env("COUNTERSIGN_ADMIN_USERNAME", "root")
        .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
        .serve();
    let config = fs::read_to_string("deploy/prometheus/prometheus.yml").unwrap();
    let config = config.replace("127.0.0.1:5001", &format!("127.0.0.1:{metrics}"));
    fs::write(folder.join("prometheus.yml"), format!("global:\n  scrape_interval: 200ms\n{config}")).unwrap();
    fs::copy("deploy/prometheus/alerts.yml", folder.join("alerts.yml")).unwrap();
    let mut running = command(prometheus);
    running
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _running = Killed(running.spawn().unwrap());

    let client = Client::new();
    let login = async |password: &str| {
        let login = client.post(format!("{}/login", server.url())).header("authorization", basic("root", password));
        Answer::of(login).await.status.as_u16()
    };
    let work = async || {
        assert_eq!(login(PASSWORD).await, 200);
        for _ in 0..2 {
            let me = client.get(format!("{}/me", server.url())).header("authorization", basic("root", PASSWORD));
            Answer::of(me).await.expect(200);
        }
    };
    assert_eq!(login("a wrong password").await, 401);
    let ask = async |path: &str, query: &[(&str, &str)]| {
        let url = format!("http://127.0.0.1:{port}{path}");
        let request = if query.is_empty() { client.get(url) } else { client.post(url).form(query) };
        // Until it is ready, its answer is a text.
        request.send().await.ok()?.json::<Value>().await.ok()
    };
    let rules = fs::read_to_string("deploy/prometheus/alerts.yml").unwrap().matches("- alert:").count();
    let begun = Instant::now();
    // Rates need several samples, in which something has happened.
    let missing = loop {
        work().await;
        let mut missing = Vec::new();
        for query in dashboard_queries() {
            let Some(answer) = ask("/api/v1/query", &[("query", &query)]).await else {
                missing.push(query);
                continue;
            };
            assert_eq!(answer["status"], json!("success"), "{query}: {answer}");
            let results = answer["data"]["result"].as_array().unwrap();
            if results.is_empty() || results.iter().any(|result| result["value"][1] == json!("NaN")) {
                missing.push(query);
            }
        }
        if missing.is_empty() || begun.elapsed() > Duration::from_secs(60) {
            break missing;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(missing.is_empty(), "{missing:#?}");
    let groups = ask("/api/v1/rules", &[]).await.unwrap();
    let loaded = groups["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(loaded.len() == rules && rules >= 9, "{groups}");
    for rule in loaded {
        assert_ne!(rule["health"], json!("err"), "{rule}");
        let answer = ask("/api/v1/query", &[("query", rule["query"].as_str().unwrap())]).await.unwrap();
        assert_eq!(answer["data"]["result"], json!([]), "nothing is wrong: {rule}");
        // Each names metrics that are there: without the comparison it has a value.
        let (left, _) = rule["query"].as_str().unwrap().rsplit_once([' ', '>', '=']).unwrap();
        // Of answers that there were.
        let left = left.trim_end_matches(['>', '=', ' ']).replace("5xx", "2xx");
        let answer = ask("/api/v1/query", &[("query", &left)]).await.unwrap();
        assert_ne!(answer["data"]["result"], json!([]), "{left}");
    }
}
