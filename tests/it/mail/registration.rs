//! Accounts that people make for themselves.

use reqwest::Method;
use serde_json::json;

use super::{Sink, create_ana, deliver, link_in, token_in};
use crate::support::{Answer, App, PASSWORD, basic};

async fn register(app: &App, email: &str) -> Answer {
    app.anon().post("/register", &json!({"email": email})).await
}

async fn complete(app: &App, token: &str, username: &str) -> Answer {
    let body = json!({"token": token, "username": username, "password": PASSWORD});
    app.anon().post("/register/complete", &body).await
}

#[tokio::test]
async fn a_person_registers_with_an_address_that_is_verified_by_it() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--registration", "open"]).await;
    register(&app, "Ana@example.com").await.expect(202);
    deliver(&app).await;
    let mail = sink.next();
    assert_eq!(mail["to"], json!(["Ana@example.com"]));
    let token = token_in(&mail);
    assert!(app.anon().get(&link_in(&mail)).await.expect(200).text.contains("ana@example.com"));
    for (username, code) in
        [("a:b", "username:malformed"), ("root@example.com", "username:malformed"), ("", "username:required")]
    {
        assert_eq!(complete(&app, &token, username).await.expect(422).field_errors(), [code]);
    }
    assert_eq!(complete(&app, &token, "root").await.expect(409).problem(), "username-taken");
    let user = complete(&app, &token, "Ana").await.expect(201).json();
    assert_eq!((&user["username"], &user["email"]), (&json!("ana"), &json!("ana@example.com")));
    assert_eq!((&user["email_verified"], &user["roles"]), (&json!(true), &json!(["user"])));
    complete(&app, &token, "ana2").await.expect(410);
    app.with(basic("ana@example.com", PASSWORD)).get("/me").await.expect(200);
    app.with(basic("ana", PASSWORD)).get("/admin/users").await.expect(403);
}

#[tokio::test]
async fn whoever_has_an_account_is_told_so_by_mail_and_the_answer_is_the_same() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--registration", "open"]).await;
    create_ana(&app, "ana@example.com").await;
    let known = register(&app, "ANA@example.com").await.expect(202);
    let unknown = register(&app, "ben@example.com").await.expect(202);
    assert_eq!(known.text, unknown.text);
    deliver(&app).await;
    let mut subjects = [sink.next(), sink.next()].map(|mail| mail["subject"].as_str().unwrap().to_owned());
    subjects.sort_unstable();
    assert_eq!(subjects, ["You have an account at Acmé & Co", "Your registration at Acmé & Co"]);
    // Nobody can have an address flooded.
    for email in ["ana@example.com", "ben@example.com", "ANA@example.com", "ben@example.com"] {
        register(&app, email).await.expect(202);
    }
    deliver(&app).await;
    sink.expect_none();
}

#[tokio::test]
async fn registration_is_for_the_domains_that_are_admitted() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--registration", "example.com, example.org"]).await;
    register(&app, "ana@EXAMPLE.org").await.expect(202);
    for other in ["ana@example.net", "ana@sub.example.com", "ana@example.com.evil.example"] {
        assert_eq!(register(&app, other).await.expect(422).field_errors(), ["email:not-allowed"]);
    }
    assert_eq!(register(&app, "no address").await.expect(422).field_errors(), ["email:malformed"]);
    deliver(&app).await;
    let token = token_in(&sink.next());
    app.service.auth().stop().await;
    let narrowed = App::on(app.database.clone(), &["--registration", "example.com"]).await;
    complete(&narrowed, &token, "ana").await.expect(410);
    let closed = sink.app(&[]).await;
    assert_eq!(register(&closed, "ana@example.com").await.expect(403).problem(), "registration-closed");
}

#[tokio::test]
async fn the_page_of_a_registration_makes_the_account() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--registration", "open"]).await;
    register(&app, "ana@example.com").await.expect(202);
    deliver(&app).await;
    let link = link_in(&sink.next());
    let send = async |username: &str| {
        let fields = [("username", username), ("new_password", PASSWORD), ("again", PASSWORD)];
        Answer::of(app.anon().request(Method::POST, &link).form(&fields)).await
    };
    let refused = send("root").await.expect(422);
    assert!(refused.text.contains("The username belongs to someone already"), "{}", refused.text);
    assert!(send("ana").await.expect(200).text.contains("Your account is ready"));
    app.with(basic("ana", PASSWORD)).get("/me").await.expect(200);
    sink.expect_none();
}

#[tokio::test]
async fn an_address_that_was_verified_meanwhile_makes_no_second_account() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--registration", "open"]).await;
    register(&app, "ana@example.com").await.expect(202);
    deliver(&app).await;
    let token = token_in(&sink.next());
    create_ana(&app, "ana@example.com").await;
    assert_eq!(complete(&app, &token, "second").await.expect(409).problem(), "email-taken");
}
