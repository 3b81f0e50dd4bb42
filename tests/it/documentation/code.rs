//! The programs in the guides, each run against a real server, or compared with the example that it is part of.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{blocks, guide};
use crate::support::{Answer, Binary, Killed, PASSWORD, Server, basic, bearer, command, free_port, node, python_with};

/// The block of a guide that is in this language and contains this text.
fn block(name: &str, language: &str, contains: &str) -> String {
    let is_it = |block: &super::Block| block.language == language && block.text.contains(contains);
    let found: Vec<_> = blocks(&guide(name)).into_iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{name} has one block of {language} with {contains}");
    found.into_iter().next().unwrap().text
}

/// A server with the user `sergio`, and its folder.
async fn serve() -> (Server, TempDir) {
    let folder = TempDir::new().unwrap();
    let server = Binary::new(folder.path())
        .env("COUNTERSIGN_ADMIN_USERNAME", "root")
        .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
        .env("COUNTERSIGN_CORS_ORIGINS", "https://app.example.com")
        .serve();
    let create = reqwest::Client::new().post(format!("{}/admin/users", server.url()));
    let create = create.header("authorization", basic("root", PASSWORD));
    Answer::of(create.json(&json!({"username": "sergio", "password": PASSWORD}))).await.expect(201);
    (server, folder)
}

async fn login(server: &Server) -> Value {
    let request = reqwest::Client::new().post(format!("{}/login", server.url()));
    Answer::of(request.header("authorization", basic("sergio", PASSWORD))).await.expect(200).json()
}

/// What a service that asks Countersign must do: let each credential in, nobody else, and nobody when it cannot ask.
async fn check_asking(server: Server, mut service: Command, port: u16) {
    let _service = Killed(service.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let client = reqwest::Client::new();
    let hello = |credential: Option<String>| {
        let request = client.get(format!("http://127.0.0.1:{port}/hello"));
        match credential {
            Some(value) => request.header("authorization", value),
            None => request,
        }
    };
    let begun = Instant::now();
    while hello(None).send().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the service did not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let login = login(&server).await;
    let tokens = ["token", "opaque_token"].map(|name| bearer(login[name].as_str().unwrap()));
    for credential in tokens.iter().cloned().chain([basic("sergio", PASSWORD)]) {
        let answer = Answer::of(hello(Some(credential))).await.expect(200).json();
        assert_eq!((&answer["id"], &answer["roles"]), (&login["user"]["id"], &json!(["user"])));
    }
    for wrong in [None, Some(basic("sergio", "wrong")), Some(bearer("nonsense"))] {
        let challenge = Answer::of(hello(wrong)).await.expect(401);
        assert!(challenge.header("www-authenticate").contains("Bearer"), "{challenge:?}");
    }
    let twice = hello(Some(basic("sergio", PASSWORD))).header("authorization", basic("root", PASSWORD));
    let answer = Answer::of(twice).await;
    assert!(answer.status == 400 || answer.status == 401, "{answer:?}");
    let logout = client.post(format!("{}/logout", server.url())).header("authorization", &tokens[0]);
    Answer::of(logout).await.expect(204);
    Answer::of(hello(Some(tokens[0].clone()))).await.expect(401);
    server.stop();
    Answer::of(hello(Some(basic("sergio", PASSWORD)))).await.expect(503);
}

#[tokio::test]
async fn the_flask_service_of_the_guide_asks_for_each_request() {
    let Some(python) = python_with("flask, requests") else { return };
    let ((server, folder), port) = (serve().await, free_port());
    let text =
        block("in-your-code", "python", "from flask").replace("localhost:5000", &format!("127.0.0.1:{}", server.port));
    fs::write(folder.path().join("app.py"), text).unwrap();
    let mut service = Command::new(python);
    service.args(["-B", "-m", "flask", "run", "--port", &port.to_string()]).current_dir(folder.path());
    check_asking(server, service, port).await;
}

#[tokio::test]
async fn the_express_service_of_the_guide_asks_for_each_request() {
    let Some(node) = node() else { return };
    let ((server, folder), port) = (serve().await, free_port());
    let text = block("in-your-code", "js", "import express")
        .replace("localhost:5000", &format!("127.0.0.1:{}", server.port))
        .replace("8000", &port.to_string());
    fs::write(folder.path().join("server.mjs"), text).unwrap();
    std::os::unix::fs::symlink(node.packages.join("node_modules"), folder.path().join("node_modules")).unwrap();
    let mut service = Command::new(&node.program);
    service.arg("server.mjs").current_dir(folder.path());
    check_asking(server, service, port).await;
}

#[tokio::test]
async fn the_lines_for_offline_verification_verify() {
    let (server, folder) = serve().await;
    let token = login(&server).await["token"].as_str().unwrap().to_owned();
    // The issuer of a test's server is that of the document; where the keys are is not.
    let keys = format!("localhost:{}/.well-known", server.port);
    let verifies = |mut command: Command, name: &str, text: String| {
        fs::write(folder.path().join(name), text.replace("localhost:5000/.well-known", &keys)).unwrap();
        command.arg(name).current_dir(folder.path()).output().unwrap()
    };
    // The last part is the signature.
    let forged = token.rsplit_once('.').map(|(signed, _)| format!("{signed}.{}", "A".repeat(86))).unwrap();
    if let Some(python) = python_with("jwt, cryptography") {
        for (token, is_valid) in [(&token, true), (&forged, false)] {
            let text = format!(
                "token = '{token}'\n{}\nprint(claims['name'])\n",
                block("in-your-code", "python", "import jwt")
            );
            let done = verifies(Command::new(&python), "verify.py", text);
            assert_eq!(String::from_utf8_lossy(&done.stdout).trim() == "sergio", is_valid, "{done:?}");
        }
    }
    if let Some(node) = node() {
        std::os::unix::fs::symlink(node.packages.join("node_modules"), folder.path().join("node_modules")).unwrap();
        for (token, is_valid) in [(&token, true), (&forged, false)] {
            let text = block("in-your-code", "js", "createRemoteJWKSet");
            let text = format!("const token = '{token}';\n{text}\nconsole.log(payload.name);\n");
            let done = verifies(Command::new(&node.program), "verify.mjs", text);
            assert_eq!(String::from_utf8_lossy(&done.stdout).trim() == "sergio", is_valid, "{done:?}");
        }
    }
}

#[test]
fn the_lines_of_go_and_rust_are_those_of_the_examples() {
    for (language, file) in [("go", "examples/go/main.go"), ("rust", "examples/axum/main.rs")] {
        let example = fs::read_to_string(file).unwrap();
        for block in blocks(&guide("in-your-code")).iter().filter(|block| block.language == language) {
            for line in block.text.lines() {
                assert!(example.contains(line), "{file} lacks {line}");
            }
        }
    }
}

/// What a browser has and Node.js lacks.
const BROWSER: &str = "
const kept = new Map();
globalThis.localStorage = {
  getItem: (name) => kept.get(name) ?? null,
  setItem: (name, value) => kept.set(name, value),
  removeItem: (name) => kept.delete(name),
};
let last = Promise.resolve();
Object.defineProperty(globalThis, 'navigator', {
  value: { locks: { request: (name, work) => (last = last.then(work, work)) } }, configurable: true,
});
const { login, call, logout } = await import('./session.mjs');
const COUNTERSIGN = process.env.COUNTERSIGN_URL;
const me = async () => (await call(`${COUNTERSIGN}/me`)).status;
const say = [];
say.push(await me());
say.push(await login('sergio', 'wrong').catch((error) => error.message));
await login('sergio', 'my-password');
say.push(await me());
// Another tab has no JWT yet, and several requests ask for one at the same time.
const tab = await import('./session.mjs?tab');
const statuses = await Promise.all([1, 2, 3].map(() => tab.call(`${COUNTERSIGN}/me`)));
say.push(...statuses.map((answer) => answer.status));
say.push(await me());
await tab.logout();
say.push(kept.size, await me());
console.log(JSON.stringify(say));
";

#[tokio::test]
async fn the_module_for_single_page_apps_logs_in_refreshes_and_logs_out() {
    let Some(node) = node() else { return };
    let (server, folder) = serve().await;
    let text = block("single-page-apps", "js", "// session.js").replace("http://localhost:5000", &server.url());
    fs::write(folder.path().join("session.mjs"), text).unwrap();
    fs::write(folder.path().join("page.mjs"), BROWSER).unwrap();
    let mut page = command(&node.program);
    page.arg("page.mjs").env("COUNTERSIGN_URL", server.url()).current_dir(folder.path());
    let done = page.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let wrong = "No active user has this username and this password. Check both.";
    let expected = json!([401, wrong, 200, 200, 200, 200, 200, 0, 401]).to_string();
    assert_eq!(said.trim(), expected, "{}", String::from_utf8_lossy(&done.stderr));
}
