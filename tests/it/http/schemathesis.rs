//! The API document from outside: Schemathesis makes requests from it, valid ones and invalid ones, and compares the answers.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{App, PASSWORD, bearer, python_with};

/// No 5xx, no answer that the document does not have, no credential that is ignored. Two checks are left out, since the document
/// does not say everything about a value: whether each valid request is accepted, and each invalid one refused.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,ignored_auth,use_after_free,missing_required_header,allow_header_conformance";

/// Runs Schemathesis with this credential, if any. The requests are the same in each run.
/// Nothing limits the tool, and there is mail, which nobody sends here: otherwise what needs it is 503.
const FLAGS: [&str; 12] = [
    "--limit-burst",
    "off",
    "--connections-per-address",
    "off",
    "--registration",
    "open",
    "--smtp-url",
    "smtp://localhost",
    "--mail-from",
    "auth@example.com",
    "--public-url",
    "http://localhost:5000",
];

fn finds_nothing(app: &App, authorization: Option<&str>) {
    let Some(python) = python_with("schemathesis") else { return };
    let folder = tempfile::TempDir::new().unwrap();
    let mut command = Command::new(python);
    command.args([
        "-m",
        "schemathesis.cli",
        "run",
        &format!("{}/openapi.json", app.url),
        "--no-color",
        "--warnings",
        "off",
    ]);
    command.args(["--generation-deterministic", "-n", "20", "--continue-on-failure", "-c", CHECKS]);
    if let Some(authorization) = authorization {
        command.args(["-H", &format!("Authorization: {authorization}")]);
    }
    let done = command.current_dir(&folder).stdin(Stdio::null()).output().unwrap();
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_to_an_administrator_are_those_of_the_document() {
    let app = App::start_with(&FLAGS).await;
    let token = app.personal_token("root", &json!({"name": "schemathesis"})).await;
    finds_nothing(&app, Some(&token));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_to_a_user_and_to_strangers_are_those_of_the_document() {
    let app = App::start_with(&FLAGS).await;
    app.create("sergio", &["user"]).await;
    let login =
        app.anon().post("/login", &json!({"username": "sergio", "password": PASSWORD})).await.expect(200).json();
    finds_nothing(&app, Some(&bearer(login["token"].as_str().unwrap())));
    finds_nothing(&app, None);
}
