//! `/me/tokens`: personal access tokens.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{App, bearer, on_postgres};

#[tokio::test]
async fn a_token_is_shown_once_with_its_properties() {
    let app = App::start().await;
    let user = app.user("sergio").await;
    let about = json!({"name": "backup", "scopes": ["profile"], "expires_in": 3600});
    let made = user.post("/me/tokens", &about).await.expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json();
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("cst_") && token.len() == 52, "{token}");
    assert_eq!((&made["scopes"], &made["expires_at"]), (&json!(["profile"]), &json!("2026-01-01T01:00:00.000Z")));

    let me = app.with(bearer(token)).get("/me").await.expect(200).json();
    assert_eq!((&me["method"], &me["scopes"]), (&json!("personal"), &json!(["profile"])));
    assert_eq!((&me["session_id"], &me["expires_at"]), (&Value::Null, &made["expires_at"]));

    let list = user.get("/me/tokens").await.expect(200);
    assert!(!list.text.contains("cst_"), "{}", list.text);
    let listed = &list.json()["items"][0];
    assert_eq!((&listed["id"], &listed["name"]), (&made["id"], &json!("backup")));
    app.service.auth().write_activity().await.unwrap();
    assert_eq!(user.get("/me/tokens").await.json()["items"][0]["last_used_at"], "2026-01-01T00:00:00.000Z");

    app.advance_clock(Duration::from_secs(3600));
    assert_eq!(app.with(bearer(token)).get("/me").await.expect(401).problem(), "invalid-token");
    assert_eq!(user.get("/me/tokens").await.json(), json!({"items": []}));
    app.advance_clock(Duration::from_secs(1));
    assert_eq!(app.service.auth().delete_expired().await.unwrap(), 1);
}

#[tokio::test]
async fn a_token_may_never_expire_and_may_have_no_scopes() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let token = app.personal_token("sergio", &json!({"name": "all", "expires_in": "never"})).await;
    app.advance_clock(Duration::from_secs(10 * 365 * 86_400));
    let me = app.with(&token).get("/me").await.expect(200).json();
    assert_eq!((&me["scopes"], &me["expires_at"]), (&json!(["profile", "users:read", "tokens"]), &Value::Null));
    let none = app.personal_token("sergio", &json!({"name": "none", "scopes": []})).await;
    let verified = app.with(&none).get("/verify").await.expect(200);
    assert_eq!((verified.header("x-auth-user"), verified.header("x-auth-scopes")), ("sergio", ""));
    app.with(&none).get("/me").await.expect(403);
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once() {
    let app = App::start().await;
    let user = app.user("sergio").await;
    let made = user.post("/me/tokens", &json!({"name": "a", "scopes": ["profile", "tokens"]})).await.expect(201).json();
    let token = bearer(made["token"].as_str().unwrap());
    app.with(&token).get("/me").await.expect(200);
    let path = format!("/me/tokens/{}", made["id"].as_str().unwrap());
    app.admin().send(Method::DELETE, &path).await.expect(404);
    app.with(&token).get("/me").await.expect(200);
    user.send(Method::DELETE, &path).await.expect(204);
    assert_eq!(app.with(&token).get("/me").await.expect(401).problem(), "invalid-token");
    user.send(Method::DELETE, &path).await.expect(404);
}

#[tokio::test]
async fn a_token_never_exceeds_its_creator_then_or_its_owner_now() {
    let app = App::start().await;
    let user = app.user("sergio").await;
    for scopes in [json!(["admin"]), json!(["profile", "introspect"])] {
        let answer = user.post("/me/tokens", &json!({"name": "a", "scopes": scopes})).await.expect(422);
        assert_eq!(answer.field_errors(), ["scopes:not-allowed"]);
    }
    let small = app.personal_token("root", &json!({"name": "a", "scopes": ["tokens"], "expires_in": 60})).await;
    for scopes in [json!(["admin"]), json!(["profile"])] {
        app.with(&small).post("/me/tokens", &json!({"name": "b", "scopes": scopes})).await.expect(422);
    }
    let child = app
        .with(&small)
        .post("/me/tokens", &json!({"name": "b", "scopes": ["tokens"], "expires_in": 3600}))
        .await
        .expect(201)
        .json();
    assert_eq!(child["scopes"], json!(["tokens"]));
    assert_eq!(child["expires_at"], "2026-01-01T00:01:00.000Z", "it does not outlive the token that made it");

    let child = bearer(child["token"].as_str().unwrap());
    app.with(&child).get("/me/tokens").await.expect(200);
    let listed = app.with(&small).get("/me/tokens").await.json();
    let made_with = listed["items"].as_array().unwrap().iter().find(|token| token["name"] == "a").unwrap();
    let made_with = made_with["id"].as_str().unwrap().to_owned();
    app.admin().send(Method::DELETE, &format!("/me/tokens/{made_with}")).await.expect(204);
    for token in [&small, &child] {
        app.with(token).get("/me/tokens").await.expect(401);
    }

    app.create("other", &["user", "admin"]).await;
    let big = app.personal_token("other", &json!({"name": "a"})).await;
    app.with(&big).get("/admin/users").await.expect(200);
    app.database.sql("UPDATE users SET roles = 'user' WHERE username = 'other'").await;
    assert_eq!(app.with(&big).get("/admin/users").await.expect(403).problem(), "insufficient-scope");
    app.disable("other").await;
    assert_eq!(app.with(&big).get("/me").await.expect(401).problem(), "invalid-token");
}

#[tokio::test]
async fn an_invalid_field_is_named() {
    let app = App::start().await;
    let admin = app.admin();
    for (body, errors) in [
        (json!({"scopes": []}), vec!["name:required"]),
        (json!({"name": "", "scopes": []}), vec!["name:required"]),
        (json!({"name": "x".repeat(257), "scopes": []}), vec!["name:too-long"]),
        (json!({"name": "a\nb", "scopes": []}), vec!["name:malformed"]),
        (json!({"name": "a", "scopes": ["canary"]}), vec!["scopes:malformed"]),
        (json!({"name": "a", "scopes": "admin"}), vec!["scopes:malformed"]),
        (json!({"name": "a", "scopes": [5]}), vec!["scopes[0]:malformed"]),
        (json!({"name": "a", "scopes": [], "expires_in": 0}), vec!["expires_in:out-of-range"]),
        (json!({"name": "a", "scopes": [], "expires_in": 3_153_600_001_u64}), vec!["expires_in:out-of-range"]),
        (json!({"name": "a", "scopes": [], "expires_in": -1}), vec!["expires_in:malformed"]),
        (json!({"name": "a", "token": "canary"}), vec!["token:unknown", "scopes:required"]),
    ] {
        let answer = admin.post("/me/tokens", &body).await.expect(422);
        assert_eq!(
            (answer.problem().as_str(), answer.field_errors()),
            ("validation", errors.iter().map(ToString::to_string).collect()),
            "{body}"
        );
        assert!(!answer.text.contains("canary"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_user_has_at_most_a_hundred_tokens() {
    let app = App::start().await;
    let user = app.user("sergio").await;
    let (opaque, _) = app.tokens("sergio").await;
    for _ in 0..90 {
        app.with(&opaque).post("/me/tokens", &json!({"name": "a", "scopes": ["profile", "tokens"]})).await.expect(201);
    }
    let (caller, body) = (app.with(&opaque), json!({"name": "a", "scopes": ["profile"]}));
    let at_once = futures_util::future::join_all((0..20).map(|_| caller.post("/me/tokens", &body))).await;
    assert_eq!(at_once.iter().filter(|answer| answer.status == 201).count(), 10);
    assert_eq!(
        user.post("/me/tokens", &json!({"name": "a", "scopes": ["profile", "tokens"]})).await.expect(409).problem(),
        "too-many-tokens"
    );
    app.admin().post("/me/tokens", &json!({"name": "a", "scopes": ["profile", "tokens"]})).await.expect(201);
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_without_a_lookup_and_the_database_holds_only_the_hash() {
    let app = App::start().await;
    let header = app.personal_token("root", &json!({"name": "a"})).await;
    let token = &header["Bearer ".len()..];
    app.with(&header).get("/me").await.expect(200);
    let flip = |at: usize| {
        let mut bytes = token.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let hex = if on_postgres().is_some() { "encode(token_hash, 'hex')" } else { "lower(hex(token_hash))" };
    let hash = app.database.text(&format!("SELECT {hex} FROM personal_tokens")).await;
    let wrong = [flip(4), flip(20), flip(51), token.to_uppercase(), token[4..].into(), format!("{token}A"), hash];
    // Without the table, a lookup is an internal error. A token that is refused without a lookup still gets a 401.
    app.database.sql("ALTER TABLE personal_tokens RENAME TO away").await;
    for wrong in wrong {
        assert_eq!(app.with(bearer(&wrong)).get("/me").await.expect(401).problem(), "invalid-token", "{wrong}");
    }
    app.with(&header).get("/me").await.expect(500);
    app.database.sql("ALTER TABLE away RENAME TO personal_tokens").await;
    app.with(&header).get("/me").await.expect(200);
    if on_postgres().is_none() {
        for file in std::fs::read_dir(app.database.folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            assert!(!bytes.windows(token.len() - 4).any(|window| window == &token.as_bytes()[4..]));
        }
    }
}

#[tokio::test]
async fn the_last_use_of_a_token_is_good_to_a_minute() {
    let app = App::start().await;
    let token = app.personal_token("root", &json!({"name": "a"})).await;
    for (second, last_use) in
        [(0, "00:00:00"), (59, "00:00:00"), (60, "00:01:00"), (90, "00:01:00"), (119, "00:01:00"), (120, "00:02:00")]
    {
        app.advance_clock(Duration::from_secs((second + 1_767_225_600 - app.now_seconds()).try_into().unwrap()));
        app.with(&token).get("/me").await.expect(200);
        app.service.auth().write_activity().await.unwrap();
        let listed = app.admin().get("/me/tokens").await.expect(200).json();
        assert_eq!(listed["items"][0]["last_used_at"], format!("2026-01-01T{last_use}.000Z"), "{second}");
    }
}

#[tokio::test]
async fn whoever_ends_many_credentials_learns_how_many_and_nothing_is_recorded_of_none() {
    let app = App::start().await;
    let auth = app.service.auth();
    let id = app.create("ana", &["user"]).await.parse().unwrap();
    let operator = countersign::auth::Actor::Operator;
    let records = async |event: &str| {
        let count = format!("SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE event = '{event}'");
        app.database.text(&count).await.parse::<u32>().unwrap()
    };
    for (ended, recorded) in [(0, 0), (3, 1), (0, 1)] {
        for _ in 0..ended {
            app.personal_token("ana", &json!({"name": "a"})).await;
            app.login("ana").await;
        }
        assert_eq!(auth.revoke_tokens(operator, id).await.unwrap(), ended);
        assert_eq!(auth.end_sessions(operator, id, None).await.unwrap(), ended);
        assert_eq!((records("token.revoked").await, records("session.ended").await), (recorded, recorded));
    }
    for (ended, recorded) in [(0, 1), (2, 2), (0, 2)] {
        for _ in 0..ended {
            app.personal_token("ana", &json!({"name": "a"})).await;
            app.login("root").await;
        }
        assert_eq!(auth.revoke_all_tokens(operator).await.unwrap(), ended);
        assert_eq!(auth.end_all_sessions(operator).await.unwrap(), ended);
        assert_eq!((records("token.revoked").await, records("session.ended").await), (recorded, recorded));
    }
    // A copied token of a session in which no personal token was made.
    let (opaque, _) = app.tokens("ana").await;
    app.with(&opaque).send(Method::POST, "/refresh?rotate=true").await.expect(200);
    app.with(&opaque).get("/me").await.expect(401);
    assert_eq!((records("session.token-reused").await, records("token.revoked").await), (1, 2));
}
