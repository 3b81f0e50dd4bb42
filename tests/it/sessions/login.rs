//! `/login`: starting a session.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, App, PASSWORD, basic, bearer, claims_of, header_of, on_postgres};

#[tokio::test]
async fn login_returns_two_tokens_of_one_session() {
    let app = App::start().await;
    let id = app.create("sergio", &["user", "billing:read"]).await;
    let answer = app.anon().post("/login", &json!({"username": "sergio", "password": PASSWORD})).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let login = answer.json();
    let (jwt, opaque) = (login["token"].as_str().unwrap(), login["opaque_token"].as_str().unwrap());
    assert_eq!(
        login,
        json!({
            "token": jwt, "token_type": "Bearer", "expires_in": 1800, "opaque_token": opaque,
            "opaque_expires_in": 2_592_000,
            "user": {"id": id, "username": "sergio", "name": "sergio", "roles": ["billing:read", "user"]},
        })
    );
    let uuid = uuid::Uuid::parse_str(opaque).unwrap();
    assert_eq!((uuid.get_version_num(), uuid.to_string().as_str()), (4, opaque));

    let (header, claims) = (header_of(jwt), claims_of(jwt));
    assert_eq!(header, json!({"typ": "at+jwt", "alg": "ES256", "kid": header["kid"]}));
    let now = app.now_seconds();
    assert_eq!(
        claims,
        json!({
            "iss": "http://localhost:5000", "sub": id, "aud": "countersign", "exp": now + 1800, "nbf": now, "iat": now,
            "jti": claims["jti"], "sid": claims["sid"], "name": "sergio", "preferred_username": "sergio",
            "roles": ["billing:read", "user"], "scope": "profile users:read tokens", "status": claims["status"],
        })
    );
    for token in [jwt, opaque] {
        assert_eq!(app.with(bearer(token)).get("/me").await.expect(200).json()["session_id"], claims["sid"]);
    }
}

#[tokio::test]
async fn login_accepts_json_a_form_and_basic() {
    let app = App::start().await;
    app.create("sérgio", &["user"]).await;
    let form = [("username", "sérgio"), ("password", PASSWORD)];
    Answer::of(app.anon().request(Method::POST, "/login").form(&form)).await.expect(200);
    app.with(basic("sérgio", PASSWORD)).send(Method::POST, "/login").await.expect(200);
    let charset = app.anon().request(Method::POST, "/login").header("content-type", "Application/JSON; charset=utf-8");
    let body = json!({"username": "sérgio", "password": PASSWORD}).to_string();
    Answer::of(charset.body(body)).await.expect(200);
}

#[tokio::test]
async fn login_ignores_an_old_bearer_token() {
    let app = App::start().await;
    let body = json!({"username": "root", "password": PASSWORD});
    app.with(bearer("an-old-token")).post("/login", &body).await.expect(200);
}

#[tokio::test]
async fn each_malformed_login_gets_a_specific_problem() {
    let app = App::start().await;
    let anon = app.anon();
    let raw = |content_type: &'static str, body: &'static str| {
        Answer::of(anon.request(Method::POST, "/login").header("content-type", content_type).body(body))
    };
    assert_eq!(raw("application/json", "{").await.expect(400).problem(), "malformed-json");
    assert_eq!(raw("application/json", "").await.expect(400).problem(), "malformed-json");
    assert_eq!(
        raw("application/json", r#"{"username":"a","password":"b"} x"#).await.expect(400).problem(),
        "malformed-json"
    );
    assert_eq!(raw("application/json", r#"["root", "my-password"]"#).await.expect(400).problem(), "malformed-json");
    assert_eq!(raw("text/plain", "x").await.expect(415).problem(), "unsupported-media-type");
    assert_eq!(anon.send(Method::POST, "/login").await.expect(415).problem(), "unsupported-media-type");
    assert_eq!(raw("application/json", r#"{"username":"a"}"#).await.expect(422).field_errors(), ["password:required"]);
    assert_eq!(
        raw("application/json", r#"{"username":"a","username":"b","password":"c"}"#).await.expect(422).field_errors(),
        ["username:duplicate"]
    );
    assert_eq!(
        raw("application/x-www-form-urlencoded", "username=a").await.expect(422).field_errors(),
        ["password:required"]
    );
    assert_eq!(
        raw("application/x-www-form-urlencoded", "username=a&password=b&x=1").await.expect(422).field_errors(),
        ["x:unknown"]
    );
    let looks_like_json =
        raw("application/x-www-form-urlencoded", r#"{"username": "a", "password": "b"}"#).await.expect(415);
    assert!(looks_like_json.text.contains("Send application/json"), "{looks_like_json:?}");
    let both =
        app.with(basic("root", PASSWORD)).post("/login", &json!({"username": "root", "password": PASSWORD})).await;
    assert_eq!(both.expect(400).problem(), "ambiguous-credential");
    assert_eq!(anon.get("/login").await.expect(405).header("allow"), "POST");
}

#[tokio::test]
async fn unknown_name_wrong_password_and_disabled_user_get_the_same_response() {
    let app = App::start().await;
    app.create("disabled", &["user"]).await;
    app.disable("disabled").await;
    let mut answers = Vec::new();
    for (name, password) in [
        ("nobody", PASSWORD),
        ("root", "wrong-password"),
        ("disabled", PASSWORD),
        ("disabled", "wrong"),
        ("", ""),
        ("a b:c", "x"),
    ] {
        for answer in [
            app.anon().post("/login", &json!({"username": name, "password": password})).await,
            Answer::of(app.anon().request(Method::POST, "/login").form(&[("username", name), ("password", password)]))
                .await,
            app.with(basic(name, password)).send(Method::POST, "/login").await,
            app.with(basic(name, password)).get("/me").await,
        ] {
            let mut answer = answer.expect(401);
            let mut body = answer.json();
            body["request_id"] = json!("");
            for name in ["x-request-id", "date"] {
                answer.headers.remove(name);
            }
            answers.push((body, format!("{:?}", answer.headers)));
        }
    }
    for answer in &answers {
        assert_eq!(answer, &answers[0]);
    }
    assert_eq!(answers[0].0["type"], "/problems/invalid-credentials");
}

/// Nor does the response time reveal it: the work is that for an unknown user. `scripts/timing-oracle` measures it.
#[tokio::test]
async fn the_correct_password_of_a_disabled_user_does_not_upgrade_the_hash() {
    let app = App::start().await;
    app.create("gone", &["user"]).await;
    app.disable("gone").await;
    let stored = "SELECT password_hash FROM users WHERE username = 'gone'";
    let hash = app.database.text(stored).await;
    let dearer = App::on(app.database.clone(), &["--argon2-iterations", "2"]).await;
    dearer.with(basic("gone", PASSWORD)).send(Method::POST, "/login").await.expect(401);
    dearer.with(basic("gone", PASSWORD)).get("/me").await.expect(401);
    assert_eq!(app.database.text(stored).await, hash, "only active users' hashes are upgraded");
}

#[tokio::test]
async fn a_weaker_hash_is_upgraded_at_login() {
    let app = App::start().await;
    let stored = "SELECT password_hash FROM users WHERE username = 'sergio'";
    for by_login in [true, false] {
        app.database.sql("DELETE FROM sessions").await;
        app.database.sql("DELETE FROM users WHERE username = 'sergio'").await;
        app.create("sergio", &["user"]).await;
        let strong = App::on(app.database.clone(), &["--argon2-iterations", "2"]).await;
        let weak = app.database.text(stored).await;
        assert!(weak.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{weak}");
        if by_login {
            strong.login("sergio").await;
        } else {
            strong.with(basic("sergio", PASSWORD)).get("/me").await.expect(200);
        }
        let upgraded = app.database.text(stored).await;
        assert!(upgraded.starts_with("$argon2id$v=19$m=8,t=2,p=1$"), "{upgraded}");
        strong.login("sergio").await;
        assert_eq!(app.database.text(stored).await, upgraded, "it is replaced once");
    }
}

#[tokio::test]
async fn concurrent_logins_succeed_during_a_hash_upgrade() {
    let app = App::start().await;
    for i in 0..5 {
        let name = format!("user-{i}");
        app.create(&name, &["user"]).await;
        let strong = App::on(app.database.clone(), &["--argon2-iterations", "2"]).await;
        let anon = strong.anon();
        let body = json!({"username": name, "password": PASSWORD});
        let logins = (0..4).map(|_| anon.post("/login", &body));
        for answer in futures_util::future::join_all(logins).await {
            answer.expect(200);
        }
    }
}

/// A commit that fails takes an upgrade back. Others may have seen it by then, and met the old hash again.
#[tokio::test]
async fn a_right_password_whose_hash_is_replaced_during_each_check_is_503_and_not_401() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let put_back = match on_postgres() {
        Some(_) => {
            "CREATE FUNCTION put_back() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.password_hash = OLD.password_hash; \
             RETURN NEW; END'; \
             CREATE TRIGGER put_back BEFORE UPDATE OF password_hash ON users FOR EACH ROW EXECUTE FUNCTION put_back()"
        }
        None => {
            "CREATE TRIGGER put_back AFTER UPDATE OF password_hash ON users BEGIN \
             UPDATE users SET password_hash = OLD.password_hash WHERE id = OLD.id; END"
        }
    };
    app.database.sql(put_back).await;
    let strong = App::on(app.database.clone(), &["--argon2-iterations", "2"]).await;
    let sergio = strong.with(basic("sergio", PASSWORD));
    assert_eq!(sergio.send(Method::POST, "/login").await.expect(503).problem(), "unavailable");
    assert_eq!(sergio.get("/me").await.expect(503).problem(), "unavailable");
    strong.with(basic("sergio", "another-password")).get("/me").await.expect(401);
    app.login("sergio").await;
}

#[tokio::test]
async fn passwords_are_compared_in_unicode_nfc() {
    let app = App::start().await;
    let body = json!({"username": "sergio", "password": "contraseñá"});
    app.admin().post("/admin/users", &body).await.expect(201);
    app.anon().post("/login", &json!({"username": "sergio", "password": "contrasen\u{303}a\u{301}"})).await.expect(200);
}

#[tokio::test]
async fn a_password_over_the_limit_is_refused_without_a_hash() {
    let app = App::start().await;
    // 1,026 bytes as typed, 684 in NFC. The limit applies to NFC, here and at login.
    app.admin()
        .post("/admin/users", &json!({"username": "long", "password": "e\u{301}".repeat(342)}))
        .await
        .expect(201);
    app.anon().post("/login", &json!({"username": "long", "password": "e\u{301}".repeat(342)})).await.expect(200);
    let long = "x".repeat(1025);
    assert_eq!(
        app.anon().post("/login", &json!({"username": "root", "password": long})).await.expect(401).problem(),
        "invalid-credentials"
    );
}

#[tokio::test]
async fn the_settings_limit_token_lifetimes() {
    let app = App::start_with(&["--jwt-ttl", "1m", "--token-ttl", "2m"]).await;
    let (opaque, jwt) = app.tokens("root").await;
    app.advance_clock(Duration::from_millis(59_999));
    app.with(&jwt).get("/me").await.expect(200);
    app.advance_clock(Duration::from_millis(1));
    assert_eq!(app.with(&jwt).get("/me").await.expect(401).problem(), "invalid-token");
    app.advance_clock(Duration::from_millis(59_999));
    app.with(&opaque).get("/me").await.expect(200);
    app.advance_clock(Duration::from_millis(1));
    assert_eq!(app.with(&opaque).get("/me").await.expect(401).problem(), "invalid-token");
}

#[tokio::test]
async fn a_jwt_does_not_outlive_its_session() {
    let app = App::start_with(&["--jwt-ttl", "1h", "--token-ttl", "1m"]).await;
    let login = app.login("root").await;
    assert_eq!((login["expires_in"].as_u64(), login["opaque_expires_in"].as_u64()), (Some(60), Some(60)));
}
