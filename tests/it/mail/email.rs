//! Addresses that count: verification, uniqueness, and login with them.

use std::time::Duration;

use serde_json::json;

use super::{Sink, create_ana, deliver, link_in, token_in};
use crate::support::{Answer, App, PASSWORD, basic, claims_of};

async fn verify(app: &App, token: &str) -> Answer {
    app.anon().post("/email/verify", &json!({"token": token})).await
}

#[tokio::test]
async fn an_address_counts_once_its_user_has_followed_the_link() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    create_ana(&app, "old@example.com").await;
    let ana = app.with(basic("ana", PASSWORD));
    ana.post("/me/email", &json!({"email": "no address", "current_password": PASSWORD})).await.expect(422);
    ana.post("/me/email", &json!({"email": "New@example.com", "current_password": PASSWORD})).await.expect(202);
    deliver(&app).await;
    let mail = sink.next();
    assert_eq!(mail["to"], json!(["New@example.com"]));
    assert_eq!(ana.get("/me").await.json()["user"]["email"], "old@example.com");
    let page = app.anon().get(&link_in(&mail)).await.expect(200);
    assert!(page.text.contains("New@example.com") && page.text.contains("confirm"), "{}", page.text);
    app.with(basic("new@example.com", PASSWORD)).get("/me").await.expect(401);

    let token = token_in(&mail);
    let reset = json!({"token": token, "new_password": "another-password"});
    app.anon().post("/password/reset", &reset).await.expect(410);
    verify(&app, &token).await.expect(204);
    verify(&app, &token).await.expect(410);
    let user = ana.get("/me").await.json()["user"].clone();
    assert_eq!((&user["email"], &user["email_verified"]), (&json!("New@example.com"), &json!(true)));
    app.with(basic("NEW@example.com", PASSWORD)).get("/me").await.expect(200);
    deliver(&app).await;
    let told = sink.next();
    assert_eq!(
        (&told["to"], &told["subject"]),
        (&json!(["old@example.com"]), &json!("Your address at Acmé & Co was changed"))
    );
    sink.expect_none();
}

#[tokio::test]
async fn the_page_of_a_link_confirms_an_address() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    let ana = app.user("ana").await;
    ana.post("/me/email", &json!({"email": "ana@example.com", "current_password": PASSWORD})).await.expect(202);
    deliver(&app).await;
    let link = link_in(&sink.next());
    let done = Answer::of(app.anon().request(reqwest::Method::POST, &link).form(&[("x", "")])).await.expect(200);
    assert!(done.text.contains("Your address is confirmed"), "{}", done.text);
    app.with(basic("ana@example.com", PASSWORD)).get("/me").await.expect(200);
    sink.expect_none();
}

#[tokio::test]
async fn of_a_verified_address_there_is_one_user_and_only_its_owner_learns_that() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    create_ana(&app, "ana@example.com").await;
    let ben = app.user("ben").await;
    // Unverified, many may have it.
    ben.patch("/me", &json!({"email": "ANA@example.com"})).await.expect(200);
    ben.post("/me/email", &json!({"email": "ANA@example.com", "current_password": PASSWORD})).await.expect(202);
    deliver(&app).await;
    let mail = sink.next();
    assert_eq!(verify(&app, &token_in(&mail)).await.expect(409).problem(), "email-taken");
    app.with(basic("ana@example.com", PASSWORD)).get("/me").await.expect(200);
    let page = Answer::of(app.anon().request(reqwest::Method::POST, &link_in(&mail)).form(&[("x", "")])).await;
    assert!(page.expect(409).text.contains("Another user"));
    // Once it is free, the same link works.
    app.with(basic("ana", PASSWORD)).patch("/me", &json!({"email": null})).await.expect(200);
    verify(&app, &token_in(&mail)).await.expect(204);
    app.with(basic("ana@example.com", PASSWORD)).get("/me").await.expect(200);
}

#[tokio::test]
async fn of_two_users_who_verify_one_address_at_once_one_gets_it() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--limit-burst", "off"]).await;
    for round in 0..5 {
        app.advance_clock(Duration::from_secs(600));
        let email = format!("shared{round}@example.com");
        let mut tokens = Vec::new();
        for i in 0..4 {
            let user = app.user(&format!("user-{round}-{i}")).await;
            user.post("/me/email", &json!({"email": email, "current_password": PASSWORD})).await.expect(202);
            deliver(&app).await;
            tokens.push(token_in(&sink.next()));
        }
        let answers = futures_util::future::join_all(tokens.iter().map(|token| verify(&app, token))).await;
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409, 409, 409]);
    }
}

#[tokio::test]
async fn a_username_goes_before_an_address() {
    let other = App::start().await;
    create_ana(&other, "ben@example.com").await;
    other.create("ben@example.com", &["user"]).await;
    let me = other.with(basic("ben@example.com", PASSWORD)).get("/me").await.expect(200).json();
    assert_eq!(me["user"]["username"], "ben@example.com");
}

/// One limit for both would tell a stranger whose address it is: a wrong password that was tried before takes no slot.
#[tokio::test]
async fn wrong_passwords_do_not_tell_which_user_has_an_address() {
    let app = App::start_with(&["--limit-burst", "3"]).await;
    create_ana(&app, "ana@example.com").await;
    app.create("ben", &["user"]).await;
    for name in ["ana", "ben"] {
        app.advance_clock(Duration::from_secs(3600));
        let try_it =
            async |name: &str, password: &str| app.with(basic(name, password)).get("/me").await.status.as_u16();
        let [first, second] = [1, 2].map(|i| format!("wrong {i} of {name}"));
        for password in [&first, &second] {
            assert_eq!(try_it("ana@example.com", password).await, 401);
        }
        assert_eq!(try_it(name, &first).await, 401);
        assert_eq!(try_it("nobody", &first).await, 429, "{name} has used up the last slot of the network");
    }
}

#[tokio::test]
async fn whoever_has_a_token_or_a_session_but_no_password_takes_no_account_over_by_mail() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&[]).await;
    create_ana(&app, "ana@example.com").await;
    let token = app.personal_token("ana", &json!({"name": "x", "scopes": ["profile"]})).await;
    deliver(&app).await;
    sink.next();
    let (opaque, _) = app.tokens("ana").await;
    for credential in [token, opaque] {
        let thief = app.with(credential);
        thief.post("/me/email", &json!({"email": "thief@example.com"})).await.expect(422);
        let body = json!({"email": "thief@example.com", "current_password": "guessed"});
        thief.post("/me/email", &body).await.expect(401);
    }
    deliver(&app).await;
    sink.expect_none();
}

/// `ß` folds to `ss`, and `ı` to `i`: the addresses of two people must not be one.
#[tokio::test]
async fn an_address_that_is_not_ascii_is_verified_and_mailed_by_nobody() {
    let Some(sink) = Sink::start() else { return };
    let app = sink.app(&["--registration", "strasse.de"]).await;
    create_ana(&app, "ana@strasse.de").await;
    let ben = app.user("ben").await;
    let body = json!({"email": "ana@stra\u{df}e.de", "current_password": PASSWORD});
    assert_eq!(ben.post("/me/email", &body).await.expect(422).field_errors(), ["email:not-ascii"]);
    for (email, code) in [("ben@stra\u{df}e.de", "not-ascii"), ("bo\u{131}@strasse.de", "malformed")] {
        let refused = app.anon().post("/register", &json!({"email": email})).await.expect(422);
        assert_eq!(refused.field_errors(), [format!("email:{code}")]);
    }
    // Whoever types it so means nobody else, either: the mail goes to the address that was verified.
    app.anon().post("/password/forgot", &json!({"login": "ana@stra\u{df}e.de"})).await.expect(202);
    deliver(&app).await;
    assert_eq!(sink.next()["to"], json!(["ana@strasse.de"]));
    for literal in ["a@\0[1.1.1.1]", "a@x\r\ny[1.1.1.1]", "a@[127.0.0.1]"] {
        app.with(basic(literal, PASSWORD)).get("/me").await.expect(401);
        app.anon().post("/login", &json!({"username": literal, "password": PASSWORD})).await.expect(401);
        app.anon().post("/password/forgot", &json!({"login": literal})).await.expect(202);
        ben.patch("/me", &json!({"email": literal})).await.expect(422);
    }
    deliver(&app).await;
    assert_eq!(app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM outbox").await, "0");
    sink.expect_none();
}

#[tokio::test]
async fn login_with_an_address_can_be_off() {
    let app = App::start_with(&["--email-login", "off"]).await;
    create_ana(&app, "ana@example.com").await;
    app.with(basic("ana@example.com", PASSWORD)).get("/me").await.expect(401);
    app.with(basic("ana", PASSWORD)).get("/me").await.expect(200);
}

#[tokio::test]
async fn another_address_is_not_verified_and_the_same_one_stays_so() {
    let app = App::start().await;
    create_ana(&app, "ana@example.com").await;
    let ana = app.with(basic("ana", PASSWORD));
    let patch = async |body| ana.patch("/me", &body).await.expect(200).json()["email_verified"].clone();
    assert_eq!(patch(json!({"name": "Ana"})).await, true);
    assert_eq!(patch(json!({"email": "ana@example.com"})).await, true);
    assert_eq!(patch(json!({"email": "other@example.com"})).await, false);
    assert_eq!(patch(json!({"email": "ana@example.com"})).await, false);
}

#[tokio::test]
async fn a_jwt_has_the_address_with_the_scope_email_alone() {
    let app = App::start().await;
    create_ana(&app, "ana@example.com").await;
    let claims = async || claims_of(app.login("ana").await["token"].as_str().unwrap());
    let without = claims().await;
    assert!(without.get("email").is_none() && without.get("email_verified").is_none(), "{without}");
    app.database.sql("UPDATE users SET roles = 'email user' WHERE username = 'ana'").await;
    let with = claims().await;
    assert_eq!((&with["email"], &with["email_verified"]), (&json!("ana@example.com"), &json!(true)));
    assert!(with["scope"].as_str().unwrap().ends_with(" email"), "{with}");
}

#[tokio::test]
async fn verified_addresses_are_exported_and_imported_one_user_each() {
    let app = App::start().await;
    create_ana(&app, "ana@example.com").await;
    let exported = app.admin().get("/admin/export").await.expect(200).text;
    assert!(exported.lines().any(|row| row.contains("ana@example.com\",\"email_verified\":true")), "{exported}");
    let other = App::start().await;
    other.user("taken").await.patch("/me", &json!({"email": "taken@example.com"})).await.expect(200);
    other.database.sql("UPDATE users SET email_verified = (username = 'taken')").await;
    let import = async |query: &str, rows: &str| {
        let request = other.admin().request(reqwest::Method::POST, &format!("/admin/import{query}"));
        Answer::of(request.header("content-type", "application/x-ndjson").body(rows.to_owned())).await.expect(200).text
    };
    import("", &exported).await;
    let row = |name: &str, email: &str| {
        json!({"username": name, "email": email, "email_verified": true, "password_hash": "!"}).to_string()
    };
    let rows = [
        row("a", "TWIN@example.com"),
        row("b", "twin@example.com"),
        row("c", "Taken@example.com"),
        row("d", "d@example.com"),
    ];
    let report = import("", &rows.join("\n")).await;
    assert!(report.contains("\"created\":4"), "{report}");
    let report =
        import("?on_conflict=update", &[row("b", "Ana@example.com"), row("c", "c@example.com")].join("\n")).await;
    assert!(report.contains("\"updated\":2"), "{report}");
    let verified = async |name: &str| {
        let users = other.admin().get(&format!("/admin/users?q={name}")).await.expect(200).json();
        users["items"][0]["email_verified"].clone()
    };
    for (name, is_verified) in [("ana", true), ("a", true), ("b", false), ("c", true), ("d", true), ("taken", true)] {
        assert_eq!(verified(name).await, is_verified, "{name}");
    }
}
