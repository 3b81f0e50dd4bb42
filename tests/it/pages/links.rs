//! The pages that one-time links open.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::assert_page;
use crate::mail::{Sink, deliver};
use crate::support::{Answer, App, PASSWORD, basic, find_program, free_port, node};

/// A name that is markup where a page forgets to escape it.
const NAME: &str = "<b>\"Ana\"</b> & 'Co'";

/// Creates the invited user `ana`. Returns the path of the link.
async fn invite(app: &App) -> String {
    let body = json!({"username": "ana", "name": NAME, "email": "ana@example.com", "invite": true});
    let created = app.admin().post("/admin/users", &body).await.expect(201).json();
    let url = created["url"].as_str().unwrap();
    url[url.find("/link/").unwrap()..].to_owned()
}

fn form(app: &App, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
    app.anon().request(Method::POST, path).form(fields)
}

#[tokio::test]
async fn opening_a_link_uses_nothing_up_and_its_form_does() {
    let app = App::start().await;
    let link = invite(&app).await;
    for _ in 0..3 {
        let page = app.anon().get(&link).await.expect(200);
        assert_page(&page);
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        assert!(!page.text.contains("<b>") && page.text.contains("&lt;b&gt;"), "{}", page.text);
        app.anon().send(Method::HEAD, &link).await.expect(200);
    }
    let chosen = [("username", "ana"), ("new_password", "my choice it is"), ("again", "my choice it is")];
    let done = Answer::of(form(&app, &link, &chosen)).await.expect(200);
    assert_page(&done);
    assert!(done.text.contains("ana") && !done.text.contains("my choice it is"));
    app.with(basic("ana", "my choice it is")).get("/me").await.expect(200);
    for again in [app.anon().request(Method::GET, &link), form(&app, &link, &chosen)] {
        let spent = Answer::of(again).await.expect(410);
        assert_page(&spent);
        assert!(spent.text.contains("a newer one replaces it"), "{}", spent.text);
    }
}

#[tokio::test]
async fn a_form_that_is_refused_says_why_and_shows_no_password() {
    let app = App::start().await;
    let link = invite(&app).await;
    for (password, again, reason) in [
        ("one-password-here", "another-one-here", "is not the same twice"),
        ("tiny", "tiny", "must have at least 8 characters"),
        ("password123", "password123", "is a common password"),
    ] {
        let answer = Answer::of(form(&app, &link, &[("new_password", password), ("again", again)])).await.expect(422);
        assert_page(&answer);
        assert!(answer.text.contains(reason), "{}", answer.text);
        assert!(!answer.text.contains(password) && !answer.text.contains(again), "{}", answer.text);
    }
    // Whatever is no form, a person reads as a page, too.
    let no_form = app.anon().request(Method::POST, &link).json(&json!({"new_password": PASSWORD}));
    assert_page(&Answer::of(no_form).await.expect(415));
    assert_page(&Answer::of(form(&app, &link, &[("new_password", PASSWORD)])).await.expect(422));
    assert_page(&app.anon().send(Method::DELETE, &link).await.expect(405));
    assert_page(&app.anon().get("/link/x/y").await.expect(404));
    app.anon().get(&link).await.expect(200);
}

#[tokio::test]
async fn pages_bear_the_name_and_the_logo_of_whoever_runs_the_service() {
    let folder = tempfile::TempDir::new().unwrap();
    let logo = folder.path().join("logo.svg");
    std::fs::write(&logo, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"/>").unwrap();
    let app = App::start_with(&["--service-name", "Acme & Co", "--logo", logo.to_str().unwrap()]).await;
    let page = app.anon().get("/link/x").await.expect(410);
    assert!(page.text.contains("Acme &amp; Co") && page.text.contains("../assets/logo"), "{}", page.text);
    let served = app.anon().get("/assets/logo").await.expect(200);
    assert_eq!(served.header("content-type"), "image/svg+xml");
    assert!(served.header("content-security-policy").ends_with("sandbox"), "{served:?}");
    for file in ["style.css", "password.js"] {
        app.anon().get(&format!("/assets/{file}")).await.expect(200);
    }
    app.anon().get("/assets/..%2fstyle.css").await.expect(404);
}

#[tokio::test]
async fn a_person_chooses_a_password_in_a_browser_with_and_without_scripts() {
    let (Some(chromium), Some(node), Some(sink)) = (find_program("chromium"), node(), Sink::start()) else { return };
    let port = free_port();
    let (url, smtp) = (format!("http://localhost:{port}"), format!("smtp://127.0.0.1:{}", sink.port));
    let flags = ["--public-url", &url, "--smtp-url", &smtp, "--mail-from", "auth@example.com"];
    let app = App::start_at(port, &flags).await;
    for scripts in ["on", "off"] {
        let body =
            json!({"username": "ana", "name": NAME, "email": "ana@example.com", "invite": true, "deliver": true});
        app.admin().post("/admin/users", &body).await.expect(201);
        deliver(&app).await;
        let mail = sink.next();
        let link = mail["text"].as_str().unwrap().lines().find(|line| line.starts_with(&url)).unwrap().to_owned();
        let profile = tempfile::TempDir::new().unwrap();
        let (chromium, folder) = (chromium.display().to_string(), profile.path().display().to_string());
        let script = include_str!("link_in_a_browser.mjs");
        let mut browser = node.script(script, &[&chromium, &folder, &link, scripts]);
        let done = tokio::task::spawn_blocking(move || browser.output().unwrap()).await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let found: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(found["complaints"], json!([]), "the policy of the page");
        assert_eq!(found["elsewhere"], json!([]), "requests to other hosts");
        let rules = if scripts == "on" { json!(["met", "met", "", "broken"]) } else { json!(["", "", "", ""]) };
        assert_eq!(found["rules"], rules, "{found}");
        assert!(found["refused"].as_str().unwrap().contains("not the same twice"), "{found}");
        assert_eq!(found["title"], "Your password is set");
        assert!(found["again"].as_str().unwrap().contains("Link not valid any more"), "{found}");
        app.with(basic("ana", "chosen in a browser")).get("/me").await.expect(200);
        let id = app.with(basic("ana", "chosen in a browser")).get("/me").await.json()["user"]["id"].clone();
        app.admin().send(Method::DELETE, &format!("/admin/users/{}", id.as_str().unwrap())).await.expect(204);
    }
}
