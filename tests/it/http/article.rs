//! Commands of the documentation, run by the real curl against the real binary: those of the article that Countersign
//! grew from, word for word, and those of the README as written.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Binary, Database, PASSWORD, bearer, find_program};

/// Runs a line in a shell, with the port 5000 replaced by that of the test. Returns its output.
fn shell(folder: &Path, port: u16, line: &str) -> String {
    let line = line.replace("localhost:5000", &format!("localhost:{port}"));
    let done = Command::new("bash").args(["-euo", "pipefail", "-c", &line]).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "{line}\n{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test]
async fn the_commands_of_the_article_work_word_for_word() {
    if find_program("curl").is_none() {
        return;
    }
    let database = Database::new().await;
    let folder = database.folder.path();
    let server = Binary::new(folder).env("DATABASE_URL", &database.url).serve();
    let create = reqwest::Client::new().post(format!("{}/admin/users", server.url()));
    let create = create.header("authorization", bearer(server.setup_token()));
    Answer::of(create.json(&json!({"username": "sergio", "password": PASSWORD, "roles": ["user", "admin"]})))
        .await
        .expect(201);

    let curl = |line: &str| -> Value {
        let output = shell(folder, server.port, line);
        serde_json::from_str(&output).unwrap_or_else(|_| panic!("{line}: {output}"))
    };
    assert_eq!(curl("curl localhost:5000/health"), json!({"status": "ok"}));
    assert_eq!(curl("curl localhost:5000/users")["status"], 401);
    let directory = curl(r#"curl localhost:5000/users/ -u "sergio:my-password""#);
    assert_eq!(directory[0]["name"], "sergio");
    assert_eq!(curl(r#"curl localhost:5000/users/ -H "Authorization: Basic c2VyZ2lvOm15LXBhc3N3b3Jk""#), directory);
    let login = curl(
        r#"curl localhost:5000/login -H "content-type: application/json" -d '{"username": "sergio", "password": "my-password"}'"#,
    );
    assert!(login["token"].as_str().unwrap().starts_with("eyJ"));
    for token in ["opaque_token", "token"] {
        let token = login[token].as_str().unwrap();
        assert_eq!(curl(&format!(r#"curl localhost:5000/users -H "Authorization: Bearer {token}""#)), directory);
    }
}

/// Runs every `sh` block of the README that calls the server, in order and in one shell.
#[tokio::test]
async fn the_commands_of_the_readme_work_as_written() {
    if find_program("curl").is_none() {
        return;
    }
    let readme = include_str!("../../../README.md");
    let blocks: Vec<_> = readme.split("```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert_eq!(blocks[0], "cargo run --release", "the first command runs it");
    assert_eq!(blocks[1], "scripts/test", "the second tests it");
    let folder = TempDir::new().unwrap();
    let server = Binary::new(folder.path()).serve();
    let walk: Vec<_> = blocks[2..].iter().filter(|block| block.contains("localhost:5000")).copied().collect();
    assert!(walk.len() >= 3, "{walk:?}");
    let script = walk.join("\necho\n").replace("setup_…", server.setup_token());
    let printed = shell(folder.path(), server.port, &script);
    // Each call returns JSON, and none a problem.
    let answers: Vec<Value> = printed
        .lines()
        .filter(|line| line.starts_with(['{', '[']))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(answers.len() >= 5, "{printed}");
    for answer in &answers {
        assert!(answer["type"].is_null(), "{answer}");
    }
    let methods: Vec<_> = answers.iter().filter_map(|answer| answer["method"].as_str()).collect();
    assert_eq!(methods, ["basic", "opaque", "jwt"], "each of the three credentials was used");
}
