use std::time::Duration;

use reqwest::Method;
use reqwest::header::SET_COOKIE;
use serde_json::json;

use super::{Browser, assert_page};
use crate::mail::{Sink, deliver};
use crate::support::{Answer, App, PASSWORD, bearer};

#[tokio::test]
async fn a_browser_signs_in_is_known_to_pages_and_signs_out_at_once() {
    let app = App::start().await;
    app.create("ana", &["user"]).await;
    let mut browser = Browser::new(&app);
    assert_page(&browser.get("/signin").await.expect(200));
    let begun = browser.sign_in("ANA", PASSWORD).await.expect(303);
    assert_eq!(begun.header("location"), "./account");
    let set = begun.header("set-cookie");
    assert!(set.contains("; HttpOnly; SameSite=Lax") && set.contains("; Path=/"), "{set}");
    assert!(!set.contains("Domain=") && !set.contains("Secure"), "the public address is http: {set}");
    let page = browser.get("/").await.expect(200);
    assert_page(&page);
    assert!(page.text.contains("You are signed in as"), "{}", page.text);
    browser.submit("/signout", "/signout", &[]).await.expect(303);
    assert!(browser.cookie.is_none());

    // The session is one like any other: it is listed, and it is gone with the cookie.
    let mut browser = Browser::of(&app, "ana").await;
    let kept = browser.cookie.clone();
    let sessions = app.with(crate::support::basic("ana", PASSWORD)).get("/me/sessions").await.json();
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1);
    browser.submit("/account", "/signout", &[]).await.expect(303);
    browser.cookie = kept;
    browser.get("/account").await.expect(303);
    let sessions = app.with(crate::support::basic("ana", PASSWORD)).get("/me/sessions").await.json();
    assert!(sessions["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_wrong_password_comes_back_with_the_name_and_counts_as_at_login() {
    let app = App::start_with(&["--limit-burst", "3"]).await;
    app.create("ana", &["user"]).await;
    let mut browser = Browser::new(&app);
    let mut texts = Vec::new();
    for (username, password) in [("ana", "wrong-one-1"), ("nobody", "wrong-one-2")] {
        let answer = browser.sign_in(username, password).await.expect(422);
        assert_page(&answer);
        assert!(answer.headers.get(SET_COOKIE).is_none());
        assert!(answer.text.contains("No active account has this name and this password"), "{}", answer.text);
        assert!(!answer.text.contains(password), "{}", answer.text);
        texts.push(answer.text.replace(username, ""));
    }
    assert_eq!(texts[0], texts[1], "whether there is such a user is not told");
    browser.sign_in("ana", "wrong-one-3").await.expect(422);
    let refused = browser.sign_in("ana", PASSWORD).await.expect(429);
    assert_page(&refused);
    assert!(!refused.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_password_that_must_be_changed_is_changed_at_sign_in() {
    let app = App::start().await;
    let id = app.create("ana", &["user"]).await;
    let set = json!({"password": "handed-over-once", "must_change_password": true});
    let path = format!("/admin/users/{id}/password");
    Answer::of(app.admin().request(Method::PUT, &path).json(&set)).await.expect(204);
    let mut browser = Browser::new(&app);
    let step = browser.sign_in("ana", "handed-over-once").await.expect(200);
    assert_page(&step);
    assert!(browser.cookie.is_none() && step.text.contains("name=\"new_password\""), "{}", step.text);
    let change = |current, new, again| {
        [("username", "ana"), ("password", current), ("new_password", new), ("again", again)].to_vec()
    };
    for (current, new, again, why) in [
        ("handed-over-once", "a-new-password-1", "a-new-password-2", "is not the same twice"),
        ("handed-over-once", "handed-over-once", "handed-over-once", "must differ from the current password"),
        ("handed-over-once", "short", "short", "must have at least 8 characters"),
        ("another-current", "a-new-password-1", "a-new-password-1", "The current password is not right"),
    ] {
        let refused = browser.post("/signin", &change(current, new, again)).await.expect(422);
        assert!(refused.text.contains(why), "{}", refused.text);
        assert!(browser.cookie.is_none());
    }
    let new = "a-new-password-1";
    browser.post("/signin", &change("handed-over-once", new, new)).await.expect(303);
    browser.get("/account").await.expect(200);
    // Whoever has nothing to change does it on the page of the account.
    let mut other = Browser::new(&app);
    other.post("/signin", &change(new, "yet-another-one", "yet-another-one")).await.expect(422);
    other.sign_in("ana", new).await.expect(303);
}

#[tokio::test]
async fn signing_in_goes_on_to_our_pages_and_to_named_origins_only() {
    let app = App::start_with(&["--return-to", "https://app.example.com"]).await;
    let mut browser = Browser::new(&app);
    for (return_to, location) in [
        ("/admin/console/users?q=a", "./admin/console/users?q=a"),
        ("https://app.example.com/a?b=c", "https://app.example.com/a?b=c"),
        ("https://evil.example/", "./admin"),
        ("//evil.example/", "./admin"),
        ("/\\evil.example", "./admin"),
        ("https://app.example.com@evil.example/", "./admin"),
        ("", "./admin"),
    ] {
        let form = [("username", "root"), ("password", PASSWORD), ("return_to", return_to)];
        let begun = browser.post("/signin", &form).await.expect(303);
        assert_eq!(begun.header("location"), location, "{return_to}");
    }
    // Browsers ask the policy of the page with the form for where the answer leads.
    let fresh = Browser::new(&app);
    let page = fresh.get("/signin?return_to=https://app.example.com/a").await.expect(200);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("form-action 'self' https://app.example.com;"), "{policy}");
    assert!(page.text.contains("https:&#x2f;&#x2f;app.example.com"), "{}", page.text);
    let page = fresh.get("/signin?return_to=https://evil.example/").await.expect(200);
    assert!(!page.text.contains("evil"), "{}", page.text);
    assert_page(&page);
    // Whoever is signed in already is not sent on by itself, which could make a loop.
    let page = browser.get("/signin?return_to=https://app.example.com/a").await.expect(200);
    assert!(page.text.contains("Go on to https:&#x2f;&#x2f;app.example.com"), "{}", page.text);
}

#[tokio::test]
async fn signing_in_again_ends_the_session_that_the_browser_had() {
    let app = App::start().await;
    app.create("ana", &["user"]).await;
    let mut browser = Browser::of(&app, "ana").await;
    let before = browser.cookie.clone();
    browser.sign_in("root", PASSWORD).await.expect(303);
    let old = Browser { cookie: before, ..Browser::new(&app) };
    old.get("/account").await.expect(303);
    browser.get("/admin").await.expect(200);
}

#[tokio::test]
async fn the_cookie_counts_for_no_route_of_the_api_and_holds_a_session_only() {
    let app = App::start().await;
    let browser = Browser::of(&app, "root").await;
    for path in ["/me", "/admin/users", "/me/sessions", "/users", "/admin/export", "/admin/audit"] {
        assert_eq!(browser.get(path).await.expect(401).problem(), "authentication-required", "{path}");
    }
    for path in ["/logout", "/refresh", "/me/tokens", "/admin/users", "/admin/keys/rotate"] {
        Answer::of(browser.request(Method::POST, path).json(&json!({}))).await.expect(401);
    }
    // A JWT or a personal token in the cookie is nothing.
    let login = app.login("root").await;
    let personal = app.personal_token("root", &json!({"name": "a"})).await;
    for token in [login["token"].as_str().unwrap(), personal.trim_start_matches("Bearer "), "", "x", "a.b.c"] {
        let other = Browser { cookie: Some(format!("countersign={token}")), ..Browser::new(&app) };
        other.get("/account").await.expect(303);
        other.get("/verify").await.expect(401);
    }
    let opaque = login["opaque_token"].as_str().unwrap();
    let other = Browser { cookie: Some(format!("countersign={opaque}")), ..Browser::new(&app) };
    other.get("/account").await.expect(200);
    // Of two cookies nobody knows which is ours.
    let two = Browser { cookie: Some(format!("countersign={opaque}; countersign={opaque}")), ..Browser::new(&app) };
    two.get("/account").await.expect(303);
    app.with(bearer(opaque)).send(Method::POST, "/logout").await.expect(204);
    other.get("/account").await.expect(303);
}

#[tokio::test]
async fn a_session_that_ended_in_any_way_is_refused_on_the_next_page() {
    let app = App::start().await;
    for ended_by in ["disable", "password", "delete", "expiry", "sessions"] {
        let id = app.create("ana", &["user"]).await;
        let mut browser = Browser::of(&app, "ana").await;
        let token = super::form_token(&browser.get("/account").await.expect(200));
        let user = format!("/admin/users/{id}");
        match ended_by {
            "disable" => drop(app.admin().patch(&user, &json!({"status": "disabled"})).await.expect(200)),
            "password" => {
                let set = json!({"password": "another-password-now"});
                let set = app.admin().request(Method::PUT, &format!("{user}/password")).json(&set);
                Answer::of(set).await.expect(204);
            }
            "delete" => drop(app.admin().send(Method::DELETE, &user).await.expect(204)),
            "expiry" => app.advance_clock(Duration::from_secs(31 * 24 * 60 * 60)),
            _ => drop(app.admin().send(Method::DELETE, &format!("{user}/sessions")).await.expect(204)),
        }
        let answer = browser.get("/account").await.expect(303);
        assert_eq!(answer.header("location"), "./signin?return_to=%2Faccount", "{ended_by}");
        let answer = browser.post("/account/name", &[("name", "Eve"), ("form_token", &token)]).await.expect(303);
        assert!(answer.header("location").contains("signin?return_to=%2Faccount"), "{ended_by}: {answer:?}");
        browser.get("/verify").await.expect(401);
        if ended_by != "delete" {
            app.admin().send(Method::DELETE, &user).await.expect(204);
        }
    }
}

#[tokio::test]
async fn a_forgotten_password_is_asked_for_on_a_page_that_tells_nobody_who_exists() {
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
    let body = json!({"username": "ana", "password": PASSWORD, "email": "ana@example.com"});
    app.admin().post("/admin/users", &body).await.expect(201);
    app.database.sql("UPDATE users SET email_verified = TRUE WHERE username = 'ana'").await;
    let mut browser = Browser::new(&app);
    assert!(browser.get("/forgot").await.expect(200).text.contains("name=\"login\""));
    let (known, unknown) =
        (browser.post("/forgot", &[("login", "ana")]).await, browser.post("/forgot", &[("login", "x")]).await);
    assert_page(&known);
    assert_eq!((known.status, &known.text), (unknown.status, &unknown.text));
    deliver(&app).await;
    assert!(sink.next()["text"].as_str().unwrap().contains("/link/"));
    // Without mail the page says whom to ask.
    let app = App::start().await;
    let page = Browser::new(&app).get("/forgot").await.expect(200);
    assert!(page.text.contains("Ask an administrator") && !page.text.contains("<form"), "{}", page.text);
    Browser::new(&app).post("/forgot", &[("login", "ana")]).await.expect(503);
}

#[tokio::test]
async fn whoever_may_make_an_account_begins_on_a_page() {
    let Some(sink) = Sink::start() else { return };
    let smtp = format!("smtp://127.0.0.1:{}", sink.port);
    let mail = ["--public-url", "http://localhost:5000", "--smtp-url", &smtp, "--mail-from", "auth@example.com"];
    let app = App::start_with(&[&mail[..], &["--registration", "example.com"]].concat()).await;
    let mut browser = Browser::new(&app);
    assert!(browser.get("/signin").await.expect(200).text.contains("Make an account"));
    let refused = browser.post("/signup", &[("email", "ana@elsewhere.example")]).await.expect(422);
    assert!(refused.text.contains("must be in one of the domains") && refused.text.contains("ana@elsewhere.example"));
    assert_page(&browser.post("/signup", &[("email", "ana@example.com")]).await.expect(200));
    deliver(&app).await;
    let mail = sink.next();
    let text = mail["text"].as_str().unwrap();
    let link = text.lines().find(|line| line.contains("/link/")).unwrap();
    let path = &link[link.find("/link/").unwrap()..];
    let form = [("username", "ana"), ("new_password", "chosen-by-ana"), ("again", "chosen-by-ana")];
    browser.post(path, &form).await.expect(200);
    browser.sign_in("ana", "chosen-by-ana").await.expect(303);
    // Elsewhere nobody is led there.
    let app = App::start().await;
    let browser = Browser::new(&app);
    assert!(!browser.get("/signin").await.expect(200).text.contains("Make an account"));
    assert!(browser.get("/signup").await.expect(200).text.contains("Ask for an invitation"));
}

#[tokio::test]
async fn pages_ask_for_as_many_characters_as_the_setting_does() {
    let flags = ["--setup-token", "a-setup-token-of-the-tests", "--password-min-length", "13"];
    let app = App::on(crate::support::Database::new().await, &flags).await;
    let page = Browser::new(&app).get("/setup").await.expect(200).text;
    assert!(page.contains(r#"minlength="13""#), "{page}");
}

#[tokio::test]
async fn the_setup_page_makes_one_administrator_and_signs_them_in() {
    let token = "a-setup-token-of-the-tests";
    let app = App::on(crate::support::Database::new().await, &["--setup-token", token]).await;
    let mut browser = Browser::new(&app);
    assert!(browser.get("/").await.expect(200).text.contains("Make the first administrator"));
    assert_page(&browser.get("/setup").await.expect(200));
    let form = |token, username, again| {
        [("token", token), ("username", username), ("new_password", "first-of-all-1"), ("again", again)].to_vec()
    };
    for (sent, why) in [
        (form("another-token-that-is-wrong", "maria", "first-of-all-1"), "Setup token is not the one"),
        (form(token, "maria", "first-of-all-2"), "Password is not the same twice"),
        (form(token, "", "first-of-all-1"), "Username must not be empty"),
    ] {
        let refused = browser.post("/setup", &sent).await.expect(422);
        assert!(refused.text.contains(why), "{}", refused.text);
        assert!(!refused.text.contains("first-of-all"), "{}", refused.text);
    }
    let begun = browser.post("/setup", &form(token, "maria", "first-of-all-1")).await.expect(303);
    assert_eq!(begun.header("location"), "./admin");
    browser.get("/admin").await.expect(200);
    Browser::new(&app).post("/setup", &form(token, "eve", "first-of-all-1")).await.expect(422);
    assert!(browser.get("/setup").await.expect(200).text.contains("There is an administrator already"));
}

#[tokio::test]
async fn the_cookie_has_the_attributes_that_its_address_takes() {
    let app = App::start_with(&["--public-url", "https://auth.example.com"]).await;
    let begun = Browser::new(&app).sign_in("root", PASSWORD).await.expect(303);
    let set = begun.header("set-cookie");
    assert!(set.starts_with("__Host-countersign=") && set.contains("; Secure") && !set.contains("Domain"), "{set}");
    let shared = ["--public-url", "https://auth.example.com", "--cookie-domain", "example.com"];
    let app = App::start_with(&shared).await;
    let begun = Browser::new(&app).sign_in("root", PASSWORD).await.expect(303);
    let set = begun.header("set-cookie");
    assert!(set.starts_with("countersign=") && set.contains("; Secure; Domain=example.com"), "{set}");
    // A cookie from before it was shared would be a second one of that name, and neither would count.
    let sets: Vec<_> = begun.headers.get_all(SET_COOKIE).iter().map(|set| set.to_str().unwrap()).collect();
    assert_eq!(sets[1..], ["countersign=; Max-Age=0; Path=/"]);
}

#[tokio::test]
async fn whoever_has_two_cookies_is_told_and_signs_out_of_both() {
    let app = App::start().await;
    let two = Browser { cookie: Some("countersign=a; countersign=b".to_owned()), ..Browser::new(&app) };
    assert!(two.get("/signin").await.expect(200).text.contains("Your browser has two cookies"));
    let page = two.get("/signout").await.expect(200);
    assert!(page.header("set-cookie").starts_with("countersign=; Max-Age=0"), "{page:?}");
    let known = Browser::of(&app, "root").await.get("/signout").await.expect(200);
    assert!(known.headers.get(SET_COOKIE).is_none(), "to open a page ends no session");
}

#[tokio::test]
async fn a_mistyped_address_is_a_page_for_people_and_a_problem_for_programs() {
    let app = App::start().await;
    let browser = app.anon().request(Method::GET, "/acount/x").header("accept", "text/html,application/xhtml+xml");
    let page = Answer::of(browser).await.expect(404);
    assert_page(&page);
    assert!(page.text.contains("There is nothing here") && page.text.contains("href=\"../\""), "{}", page.text);
    assert_eq!(app.anon().get("/acount").await.expect(404).problem(), "not-found");
    // A route stays one, whoever asks.
    let route = app.anon().request(Method::GET, "/me").header("accept", "text/html");
    assert_eq!(Answer::of(route).await.expect(401).problem(), "authentication-required");
}
