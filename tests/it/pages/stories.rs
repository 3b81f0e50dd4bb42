//! Stories told in a real browser. Each `.mjs` file is one; `browser.mjs` is what they have in common.

use serde_json::{Value, json};

use crate::support::{App, Binary, Database, PASSWORD, Server, find_program, free_port, node};

/// Runs a story in Chromium. Returns what was seen; none where a program is missing.
pub async fn tell(story: &str, folder: &std::path::Path, given: &Value) -> Option<Value> {
    let (chromium, node) = (find_program("chromium")?, node()?);
    let script = [include_str!("browser.mjs"), story].concat();
    let (chromium, folder) = (chromium.display().to_string(), folder.display().to_string());
    let mut browser = node.script(&script, &[&chromium, &folder, &given.to_string()]);
    let done = tokio::task::spawn_blocking(move || browser.output().unwrap()).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(serde_json::from_slice(&done.stdout).unwrap())
}

/// Asserts that no page broke its own policy, asked for something elsewhere, or keeps people out.
#[track_caller]
pub fn assert_clean(seen: &Value) {
    assert_eq!(*seen, json!({"complaints": [], "elsewhere": [], "axe": []}), "{seen:#}");
}

/// A service without an administrator, on a port that is known before.
async fn empty_app() -> (App, String) {
    let port = free_port();
    let url = format!("http://localhost:{port}");
    let flags = ["--public-url", &url, "--setup-token", "setup_of-the-tests"];
    (App::empty_at(port, Database::new().await, &flags).await, url)
}

#[tokio::test]
async fn an_administrator_who_is_no_programmer_needs_the_address_alone() {
    let (app, url) = empty_app().await;
    let folder = tempfile::TempDir::new().unwrap();
    let given = json!({"url": url, "setupToken": "setup_of-the-tests"});
    let Some(seen) = tell(include_str!("administrator.mjs"), folder.path(), &given).await else { return };
    assert_clean(&seen);
    drop(app);
}

#[tokio::test]
async fn a_user_gets_from_an_invitation_to_a_token_and_past_a_lost_laptop() {
    let port = free_port();
    let url = format!("http://localhost:{port}");
    let app = App::start_at(port, &["--public-url", &url]).await;
    // Markup, a mark that turns the direction of what follows, and a name that is as long as one may be.
    let name = "<img src=x onerror=alert(1)> \u{5d0}\u{5d1} ".to_owned() + &"W".repeat(200);
    let body = json!({"username": "ana", "name": name, "invite": true});
    let link = app.admin().post("/admin/users", &body).await.expect(201).json()["url"].clone();
    let expired = json!({"username": "ben", "password": "handed-over-once", "must_change_password": true});
    app.admin().post("/admin/users", &expired).await.expect(201);
    let folder = tempfile::TempDir::new().unwrap();
    let given = json!({"url": url, "link": link, "name": name});
    let Some(seen) = tell(include_str!("user.mjs"), folder.path(), &given).await else { return };
    assert_clean(&seen);
}

#[tokio::test]
async fn a_restart_of_the_server_leaves_browsers_signed_in() {
    let place = tempfile::TempDir::new().unwrap();
    let port = free_port();
    let url = format!("http://localhost:{port}");
    let serve = || -> Server { Binary::new(place.path()).serve_at(port) };
    let first = serve();
    let token = first.setup_token().to_owned();
    let folder = tempfile::TempDir::new().unwrap();
    let mut given = json!({"url": url, "setupToken": token, "is_first": true});
    let story = include_str!("restart.mjs");
    let Some(seen) = tell(story, folder.path(), &given).await else { return };
    assert_clean(&seen);
    assert!(first.stop().success);
    let second = serve();
    given["is_first"] = json!(false);
    assert_clean(&tell(story, folder.path(), &given).await.unwrap());
    assert!(second.stop().success);
}

#[tokio::test]
async fn someone_who_writes_a_client_finds_and_tries_the_login_in_the_api_document() {
    let port = free_port();
    let url = format!("http://localhost:{port}");
    let app = App::empty_at(port, Database::new().await, &["--public-url", &url]).await;
    app.create("sergio", &["user"]).await;
    let folder = tempfile::TempDir::new().unwrap();
    let given = json!({"url": url, "password": PASSWORD});
    let Some(seen) = tell(include_str!("api.mjs"), folder.path(), &given).await else { return };
    assert_clean(&seen);
    drop(app);
}
