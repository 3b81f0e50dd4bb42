use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::{Browser, assert_page};
use crate::mail::{Sink, deliver};
use crate::support::{Answer, App, PASSWORD, basic, bearer};

#[tokio::test]
async fn users_change_their_name_and_address() {
    let app = App::start().await;
    app.create("ana", &["user"]).await;
    let mut browser = Browser::of(&app, "ana").await;
    let saved = browser.submit("/account", "/account/name", &[("name", " Ana <b> ")]).await.expect(303);
    assert_eq!(saved.header("location"), "../account?said=name-saved");
    let page = browser.get("/account?said=name-saved").await.expect(200);
    assert_page(&page);
    assert!(page.text.contains("Your name is saved.") && page.text.contains("Ana &lt;b&gt;"), "{}", page.text);
    browser.submit("/account", "/account/email", &[("email", "ana@example.com")]).await.expect(303);
    let me = app.with(basic("ana", PASSWORD)).get("/me").await.json();
    assert_eq!((&me["user"]["name"], &me["user"]["email"]), (&json!("Ana <b>"), &json!("ana@example.com")));
    let refused = browser.submit("/account", "/account/email", &[("email", "no address")]).await.expect(422);
    assert_page(&refused);
    let said = "E-mail address must be an e-mail address.";
    assert!(refused.text.contains(said) && refused.text.contains("value=\"no address\""), "{}", refused.text);
}

#[tokio::test]
async fn with_mail_an_address_is_confirmed_by_its_owner() {
    let Some(sink) = Sink::start() else { return };
    let smtp = format!("smtp://127.0.0.1:{}", sink.port);
    let app = App::start_with(&[
        "--public-url",
        "http://localhost:5000",
        "--smtp-url",
        &smtp,
        "--mail-from",
        "auth@example.com",
    ])
    .await;
    app.create("ana", &["user"]).await;
    let mut browser = Browser::of(&app, "ana").await;
    let form = |password| [("email", "ana@example.com"), ("current_password", password)].to_vec();
    let refused = browser.submit("/account", "/account/email", &form("wrong-password")).await.expect(422);
    assert!(refused.text.contains("Your password is not right."), "{}", refused.text);
    browser.submit("/account", "/account/email", &form(PASSWORD)).await.expect(303);
    deliver(&app).await;
    let mail = sink.next();
    let text = mail["text"].as_str().unwrap();
    let link = text.lines().find(|line| line.contains("/link/")).unwrap();
    let path = &link[link.find("/link/").unwrap()..];
    browser.post(path, &[]).await.expect(200);
    let page = browser.get("/account").await.expect(200);
    assert!(page.text.contains("value=\"ana@example.com\"") && page.text.contains(">confirmed<"), "{}", page.text);
}

#[tokio::test]
async fn a_changed_password_keeps_this_browser_signed_in_and_no_other() {
    let app = App::start().await;
    app.create("ana", &["user"]).await;
    let (mut here, there) = (Browser::of(&app, "ana").await, Browser::of(&app, "ana").await);
    let form = |current, new, again| [("current_password", current), ("new_password", new), ("again", again)].to_vec();
    for (sent, why) in [
        (form("wrong-password", "chosen-anew-1", "chosen-anew-1"), "Current password is not right."),
        (form(PASSWORD, "chosen-anew-1", "chosen-anew-2"), "New password is not the same twice."),
        (form(PASSWORD, "short", "short"), "New password must have at least 8 characters."),
        (form(PASSWORD, PASSWORD, PASSWORD), "New password must differ from the current password."),
    ] {
        let refused = here.submit("/account", "/account/password", &sent).await.expect(422);
        assert!(refused.text.contains(why) && !refused.text.contains("chosen-anew"), "{why}: {}", refused.text);
    }
    here.submit("/account", "/account/password", &form(PASSWORD, "chosen-anew-1", "chosen-anew-1")).await.expect(303);
    here.get("/account").await.expect(200);
    there.get("/account").await.expect(303);
    app.with(basic("ana", "chosen-anew-1")).get("/me").await.expect(200);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_and_only_ones_own() {
    let app = App::start().await;
    app.create("ana", &["user"]).await;
    let mut here = Browser::of(&app, "ana").await;
    app.advance_clock(Duration::from_secs(1));
    let there = Browser::of(&app, "ana").await;
    let others = app.login("root").await;
    let page = here.get("/account").await.expect(200);
    assert_eq!(page.text.matches("this device").count(), 1, "{}", page.text);
    let ids = |sessions: &serde_json::Value| -> Vec<String> {
        let items = sessions["items"].as_array().unwrap().iter();
        items.map(|session| session["id"].as_str().unwrap().to_owned()).collect()
    };
    let own = ids(&app.with(basic("ana", PASSWORD)).get("/me/sessions").await.json());
    assert!(own.iter().all(|id| !page.text.contains(id) || page.text.matches(id.as_str()).count() == 1));
    let foreign = ids(&app.admin().get("/me/sessions").await.json());
    here.submit("/account", "/account/end-session", &[("id", &foreign[0])]).await.expect(303);
    app.with(bearer(others["opaque_token"].as_str().unwrap())).get("/me").await.expect(200);
    // In another tab it was ended already: that is as good.
    for _ in 0..2 {
        here.submit("/account", "/account/end-session", &[("id", &own[0])]).await.expect(303);
    }
    there.get("/account").await.expect(303);
    let again = Browser::of(&app, "ana").await;
    here.submit("/account", "/account/end-other-sessions", &[]).await.expect(303);
    again.get("/account").await.expect(303);
    here.get("/account").await.expect(200);
}

#[tokio::test]
async fn a_personal_token_is_made_shown_once_and_revoked() {
    let app = App::start().await;
    app.create("ana", &["user"]).await;
    let mut browser = Browser::of(&app, "ana").await;
    let form = [("name", "backup <script>"), ("scope", "profile"), ("scope", "tokens"), ("days", "30")];
    let made = browser.submit("/account", "/account/create-token", &form).await.expect(200);
    assert_page(&made);
    assert!(made.text.contains("backup &lt;script&gt;"), "{}", made.text);
    let (_, rest) = made.text.split_once("<code id=\"new-token\">").unwrap();
    let token = rest.split('<').next().unwrap().to_owned();
    let me = app.with(bearer(&token)).get("/me").await.expect(200).json();
    assert_eq!(me["scopes"], json!(["profile", "tokens"]));
    assert!(!browser.get("/account").await.expect(200).text.contains(&token));
    for (fields, why) in [
        (&[("name", "a"), ("scope", "admin"), ("days", "30")][..], "The scopes must be among those that are allowed"),
        (&[("name", ""), ("scope", "profile"), ("days", "30")], "The name must not be empty"),
        (&[("name", "a"), ("scope", "profile"), ("days", "0")], "This must be from 1 to 3650 days"),
        (&[("name", "a"), ("scope", "x"), ("days", "1")], "The scopes are not known"),
    ] {
        let refused = browser.submit("/account", "/account/create-token", fields).await.expect(422);
        assert!(refused.text.contains(why), "{why}: {}", refused.text);
    }
    let listed = app.with(basic("ana", PASSWORD)).get("/me/tokens").await.json();
    let id = listed["items"][0]["id"].as_str().unwrap().to_owned();
    browser.submit("/account", "/account/revoke-token", &[("id", &id)]).await.expect(303);
    app.with(bearer(&token)).get("/me").await.expect(401);
}

#[tokio::test]
async fn a_user_without_the_scope_of_the_page_is_told_whom_to_ask() {
    let app = App::start().await;
    app.create("bot", &["editor"]).await;
    let browser = Browser::of(&app, "bot").await;
    assert_page(&browser.get("/").await.expect(200));
    for path in ["/account", "/admin", "/admin/console/users"] {
        let refused = browser.get(path).await.expect(403);
        assert_page(&refused);
        assert!(refused.text.contains("Your account may not open this page."), "{}", refused.text);
    }
    Answer::of(browser.request(Method::POST, "/admin/console/keys").header("origin", &app.url)).await.expect(403);
}

#[tokio::test]
async fn what_a_stranger_writes_is_text_on_every_page() {
    let app = App::start().await;
    let markup = "\"><img src=x onerror=alert(1)><script>alert(2)</script>";
    let long = "a".repeat(256);
    let id = app.create("ana", &["user"]).await;
    let agent = format!("{markup} {} \u{202e}gnp.exe", "b".repeat(9_000));
    let login = app.anon().request(Method::POST, "/login").header("user-agent", agent.as_bytes());
    Answer::of(login.json(&json!({"username": "ana", "password": PASSWORD}))).await.expect(200);
    let mut ana = Browser::of(&app, "ana").await;
    ana.submit("/account", "/account/name", &[("name", markup)]).await.expect(303);
    let form = [("name", markup), ("scope", "profile"), ("days", "never")];
    ana.submit("/account", "/account/create-token", &form).await.expect(200);
    let other = json!({"username": "\"><b>", "name": long, "password": PASSWORD, "email": "a@example.com"});
    app.admin().post("/admin/users", &other).await.expect(201);
    let root = Browser::of(&app, "root").await;
    for (browser, path) in [
        (&ana, "/account"),
        (&ana, "/"),
        (&root, "/admin"),
        (&root, "/admin/console/users"),
        (&root, "/admin/console/tokens"),
        (&root, "/admin/console/audit"),
        (&root, &format!("/admin/console/users/{id}")),
        (&root, "/admin/console/users?q=%22%3E%3Cimg"),
        (&root, "/admin/console/audit?user=%22%3E%3Cimg"),
    ] {
        let page = browser.get(path).await.expect(200);
        assert_page(&page);
        assert!(!page.text.contains("<img") && !page.text.contains("<b>"), "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn users_see_where_they_acted_themselves_and_not_where_administrators_did() {
    let app = App::start_with(&["--trusted-proxies", "127.0.0.1"]).await;
    let id = app.create("ana", &["user"]).await;
    let patch =
        app.admin().request(Method::PATCH, &format!("/admin/users/{id}")).header("x-forwarded-for", "192.0.2.77");
    Answer::of(patch.json(&json!({"name": "Ana"}))).await.expect(200);
    let login = app.anon().request(Method::POST, "/login").header("x-forwarded-for", "192.0.2.88");
    Answer::of(login.json(&json!({"username": "ana", "password": PASSWORD}))).await.expect(200);
    let page = Browser::of(&app, "ana").await.get("/account").await.expect(200);
    let (_, recent) = page.text.split_once("What has happened</h2>").unwrap();
    assert!(recent.contains("changed") && recent.contains("192.0.2.88") && !recent.contains("192.0.2.77"), "{recent}");
    let root = Browser::of(&app, "root").await.get(&format!("/admin/console/users/{id}")).await.expect(200);
    assert!(root.text.contains("192.0.2.77"), "{}", root.text);
}
