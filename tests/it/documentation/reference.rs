//! `docs/reference/`: the lists of error codes, events and metrics, made from the code. With `UPDATE=1` these tests write
//! them anew.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::time::{Duration, Instant};

use countersign::http::KINDS;
use countersign::model::Event;

use crate::support::{Answer, Binary, PASSWORD, basic, free_port, on_postgres};

/// Compares a page with what the code says, or writes it.
fn check(name: &str, fresh: &str) {
    let file = format!("docs/reference/{name}.md");
    if env::var_os("UPDATE").is_some() {
        fs::write(&file, fresh).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == fresh, "{file} is stale: UPDATE=1 cargo test --test it -- reference");
}

#[test]
fn the_reference_of_error_codes_is_fresh() {
    let mut kinds: Vec<_> = KINDS.iter().collect();
    kinds.sort_by_key(|kind| (kind.status, kind.code));
    let mut text = "\
# Error codes

The last segment of `type` in an error; [Errors](../http.md#errors) explains the form. Codes are stable, titles and texts are not. Each has a page on every server, such as `/problems/invalid-token`. Generated from the code.

| status | code | title | what it means, and what to do |
| --- | --- | --- | --- |
"
    .to_owned();
    for kind in kinds {
        text += &format!("| {} | `{}` | {} | {} |\n", kind.status, kind.code, kind.title, kind.about);
    }
    check("errors", &text);
}

#[test]
fn the_reference_of_events_is_fresh() {
    let source = fs::read_to_string("src/model/audit/mod.rs").unwrap();
    let mut abouts = BTreeMap::new();
    let mut about = Vec::new();
    for line in source.split("\nevents! {").nth(1).unwrap().lines().map(str::trim).take_while(|line| *line != "}") {
        if let Some(doc) = line.strip_prefix("///") {
            about.push(doc.trim());
        } else if let Some((_, word)) = line.split_once(" = ") {
            abouts.insert(word.trim_matches(['"', ',']), std::mem::take(&mut about).join(" "));
        }
    }
    let mut text = "\
# Events

What the [audit trail](../http.md#the-audit-trail) records, and the log says in its lines `audit`. The words are stable. Generated from the code.

| event | when |
| --- | --- |
"
    .to_owned();
    for event in Event::ALL {
        text += &format!("| `{}` | {} |\n", event.as_str(), abouts[event.as_str()]);
    }
    check("events", &text);
}

/// On SQLite, which has every metric that PostgreSQL has.
#[tokio::test]
async fn the_reference_of_metrics_is_fresh() {
    if on_postgres().is_some() {
        return;
    }
    let (folder, port) = (tempfile::TempDir::new().unwrap(), free_port());
    let server = Binary::new(folder.path())
        .env("COUNTERSIGN_METRICS_LISTEN", &format!("127.0.0.1:{port}"))
        .env("COUNTERSIGN_ADMIN_USERNAME", "root")
        .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
        .serve();
    let client = reqwest::Client::new();
    let request = client.get(format!("{}/me", server.url())).header("authorization", basic("root", PASSWORD));
    Answer::of(request).await.expect(200);
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let asked = Instant::now();
    // What a request did is counted after its answer.
    let scraped = loop {
        let scraped = Answer::of(client.get(format!("http://127.0.0.1:{port}/metrics"))).await.expect(200).text;
        if scraped.contains("route=\"/me\"") {
            break scraped;
        }
        assert!(asked.elapsed() < Duration::from_secs(10), "{scraped}");
    };
    for series in scraped.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = series.split_once('{') else { continue };
        let names =
            rest.split('}').next().unwrap().split("\",").map(|label| label.split('=').next().unwrap().to_owned());
        labels.entry(name.to_owned()).or_default().extend(names.filter(|name| name != "le" && !name.is_empty()));
    }
    let mut rows = BTreeMap::new();
    let helps: BTreeMap<_, _> =
        scraped.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect();
    for (name, kind) in scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')) {
        let end = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let series = if kind == "histogram" { format!("{name}_bucket") } else { format!("{name}{end}") };
        let labels = labels.get(&series).into_iter().flatten().map(|label| format!("`{label}`")).collect::<Vec<_>>();
        let help = helps[name].trim_end_matches('.');
        rows.insert(name, format!("| `{name}{end}` | {kind} | {} | {help} |\n", labels.join(", ")));
    }
    let mut text = "\
# Metrics

What `/metrics` answers on the address of [`COUNTERSIGN_METRICS_LISTEN`](../settings.md#countersign_metrics_listen); [Metrics](../operations.md#metrics) in the operations guide says how to use them. A histogram has the series `_bucket`, `_sum` and `_count`. Generated from a running server; those of commits are there with SQLite alone.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
"
    .to_owned();
    text.extend(rows.into_values());
    check("metrics", &text);
}
