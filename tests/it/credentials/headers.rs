//! Every protected route with every credential in every state.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, App, PASSWORD, b64, basic, bearer, free_port};

/// An id that no user, session or token has.
const ID: &str = "01a209a4-5175-7d1f-96a9-8817ee5490a8";

/// Each protected route and its status for an admin. `expected_status` has those that depend on the credential.
const PROTECTED: &[(&str, &str, u16)] = &[
    ("POST", "/refresh", 403),
    ("POST", "/logout", 204),
    ("GET", "/users", 200),
    ("GET", "/users/", 200),
    ("GET", "/me", 200),
    ("PATCH", "/me", 415),
    ("POST", "/me/email", 415),
    ("POST", "/me/password", 415),
    ("GET", "/me/sessions", 200),
    ("DELETE", "/me/sessions", 204),
    ("DELETE", "/me/sessions/{id}", 404),
    ("POST", "/me/tokens", 415),
    ("GET", "/me/tokens", 200),
    ("DELETE", "/me/tokens/{id}", 404),
    ("POST", "/oauth/introspect", 415),
    ("POST", "/oauth/revoke", 415),
    ("GET", "/verify", 200),
    ("HEAD", "/verify", 200),
    ("POST", "/verify", 200),
    ("PUT", "/verify", 200),
    ("PATCH", "/verify", 200),
    ("DELETE", "/verify", 200),
    ("OPTIONS", "/verify", 200),
    ("PROPFIND", "/verify", 200),
    ("POST", "/admin/users", 415),
    ("GET", "/admin/users", 200),
    ("GET", "/admin/users/{id}", 404),
    ("PATCH", "/admin/users/{id}", 415),
    ("DELETE", "/admin/users/{id}", 404),
    ("PUT", "/admin/users/{id}/password", 415),
    ("POST", "/admin/users/{id}/link", 415),
    ("GET", "/admin/users/{id}/sessions", 404),
    ("DELETE", "/admin/users/{id}/sessions", 404),
    ("DELETE", "/admin/sessions/{id}", 404),
    ("GET", "/admin/users/{id}/tokens", 404),
    ("DELETE", "/admin/users/{id}/tokens", 404),
    ("DELETE", "/admin/tokens/{id}", 404),
    ("GET", "/admin/blocks", 200),
    ("DELETE", "/admin/blocks/{id}", 404),
    ("GET", "/admin/export", 200),
    ("POST", "/admin/import", 415),
    ("GET", "/admin/audit", 200),
    ("GET", "/admin/audit/verify", 200),
    ("GET", "/admin/keys", 200),
    ("POST", "/admin/keys/rotate", 202),
    ("GET", "/admin/stats", 200),
];

/// The status of a route for an admin with this kind of credential.
fn expected_status(method: Kind, (_, path, status): (&str, &str, u16)) -> u16 {
    match (path, method) {
        ("/refresh", Kind::Opaque) => 200,
        ("/logout", Kind::Basic | Kind::Personal) => 409,
        _ => status,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Basic,
    Opaque,
    Jwt,
    Personal,
}

const BASIC: &str = r#"Basic realm="countersign", charset="UTF-8""#;
const BEARER: &str = r#"Bearer realm="countersign""#;
const INVALID: &str = r#"Bearer realm="countersign", error="invalid_token""#;

/// Sends the request of a row of the table with this `Authorization` header.
async fn ask(app: &App, (method, path, _): (&str, &str, u16), authorization: &str) -> Answer {
    app.with(authorization).send(method.parse().unwrap(), &path.replace("{id}", ID)).await
}

/// Asserts that a response is this problem. A response to HEAD has no body, so only its status is checked.
#[track_caller]
fn expect_problem(answer: Answer, route: (&str, &str, u16), status: u16, code: &str) -> Answer {
    let answer = answer.expect(status);
    if route.0 != "HEAD" {
        assert_eq!(answer.problem(), code);
    }
    answer
}

#[tokio::test]
async fn the_table_of_protected_routes_is_complete() {
    let document: serde_json::Value = serde_json::from_str(&countersign::http::document()).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let security = operation["security"].as_array().cloned().unwrap_or_default();
            let guarded = !security.is_empty() && !security.contains(&json!({}));
            let listed = PROTECTED.iter().any(|(m, p, _)| m.eq_ignore_ascii_case(method) && p == path);
            assert_eq!(guarded, listed, "{method} {path}: a guarded route stands in this file's table");
        }
    }
}

#[tokio::test]
async fn each_route_accepts_a_valid_credential_of_each_kind() {
    let app = App::start().await;
    for route in PROTECTED {
        for kind in [Kind::Basic, Kind::Opaque, Kind::Jwt, Kind::Personal] {
            let (opaque, jwt) = app.tokens("root").await;
            let credential = match kind {
                Kind::Basic => basic("root", PASSWORD),
                Kind::Opaque => opaque,
                Kind::Jwt => jwt,
                Kind::Personal => app.personal_token("root", &json!({"name": "a"})).await,
            };
            let answer = ask(&app, *route, &credential).await;
            assert_eq!(answer.status, expected_status(kind, *route), "{route:?} by {kind:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn no_credential_gets_both_challenges_on_each_route() {
    let app = App::start().await;
    for route in PROTECTED {
        let answer = app.anon().send(route.0.parse().unwrap(), &route.1.replace("{id}", ID)).await;
        let answer = expect_problem(answer, *route, 401, "authentication-required");
        assert_eq!(answer.challenges(), [BASIC, BEARER]);
    }
}

#[tokio::test]
async fn a_malformed_or_unknown_credential_is_refused() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    let (opaque, jwt) = (&opaque["Bearer ".len()..], &jwt["Bearer ".len()..]);
    let basic_of =
        |text: &[u8]| format!("Basic {}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text));
    let wrong_tokens = [
        String::new(),
        opaque.to_uppercase(),
        opaque.replace('-', ""),
        format!("{{{opaque}}}"),
        format!("urn:uuid:{opaque}"),
        format!("{opaque}x"),
        opaque[1..].to_owned(),
        "00000000-0000-0000-0000-000000000000".into(),
        "20f876eb-15be-4640-a308-82467d1d331a".into(),
        "01a209a4-5175-7d1f-96a9-8817ee5490a8".into(),
        format!("cst_{}", "A".repeat(48)),
        format!("cst_{}", "A".repeat(50)),
        "..".into(),
        "a.b.c".into(),
        format!("{jwt}."),
        format!(".{jwt}"),
        format!("{jwt}A"),
        format!("{jwt}="),
        jwt[1..].to_owned(),
        jwt.rsplit_once('.').unwrap().0.to_owned(),
        format!("{}.{}.", b64(r#"{"typ":"at+jwt","alg":"none"}"#), jwt.split('.').nth(1).unwrap()),
        "x".repeat(9000),
        format!("{}.{}.{}", "x".repeat(3000), "y".repeat(3000), "z".repeat(3000)),
        "'; DROP TABLE users; --".into(),
    ];
    for token in &wrong_tokens {
        let header = bearer(token);
        for route in PROTECTED {
            let answer = expect_problem(ask(&app, *route, &header).await, *route, 401, "invalid-token");
            assert_eq!(answer.challenges(), [BASIC, INVALID], "{token}");
        }
    }
    let wrong_basics = [
        "Basic".to_owned(),
        "Basic ".into(),
        "Basic !!!".into(),
        basic_of(b"root"),
        basic_of(b":my-password"),
        basic_of(b"root:"),
        basic_of(b"root:wrong"),
        basic_of(b"nobody:my-password"),
        basic_of(b"root:my-password\n"),
        basic_of(b"root:my\0password"),
        basic_of(b"root\x7f:my-password"),
        basic_of(b"r\xf6\xf6t:my-password"),
        "Basic cm9vdDpteS1wYXNzd29yZA".into(),
        format!("{} ", basic_of(b"root: my-password")),
        basic("root", &format!("{PASSWORD}ÿÿ?>")).replace('/', "_").replace('+', "-"),
    ];
    for header in &wrong_basics {
        for route in PROTECTED {
            let answer = expect_problem(ask(&app, *route, header).await, *route, 401, "invalid-credentials");
            assert_eq!(answer.challenges(), [BASIC, BEARER], "{header}");
        }
    }
    for header in [
        "Digest username=\"root\"",
        "Negotiate abc",
        "root",
        "",
        "Token abc",
        &format!("Bearer{opaque}"),
        &format!("X{}", bearer(opaque)),
    ] {
        let answer = app.with(header).get("/me").await.expect(401);
        assert_eq!(
            (answer.problem().as_str(), answer.challenges()),
            ("authentication-required", vec![BASIC, BEARER]),
            "{header}"
        );
    }
    app.with(bearer(opaque)).get("/me").await.expect(200);
    app.with(bearer(jwt)).get("/me").await.expect(200);
}

#[tokio::test]
async fn the_scheme_is_case_insensitive_and_leading_spaces_are_ignored() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    for header in [&opaque, &jwt, &basic("root", PASSWORD)] {
        let (scheme, value) = header.split_once(' ').unwrap();
        for scheme in [scheme.to_lowercase(), scheme.to_uppercase(), format!("{scheme}  ")] {
            app.with(format!("{scheme} {value}")).get("/me").await.expect(200);
        }
    }
}

#[tokio::test]
async fn an_expired_credential_is_refused() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    app.advance_clock(Duration::from_secs(30 * 60));
    for route in PROTECTED {
        expect_problem(ask(&app, *route, &jwt).await, *route, 401, "invalid-token");
    }
    app.advance_clock(Duration::from_secs(30 * 24 * 3600 - 30 * 60));
    for route in PROTECTED {
        expect_problem(ask(&app, *route, &opaque).await, *route, 401, "invalid-token");
    }
    assert_eq!(app.service.auth().delete_expired().await.unwrap(), 0);
    app.advance_clock(Duration::from_secs(1));
    assert_eq!(app.service.auth().delete_expired().await.unwrap(), 1, "what has run out is forgotten");
    app.set_clock_back(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(app.with(&opaque).get("/me").await.expect(401).problem(), "invalid-token");
}

#[tokio::test]
async fn a_revoked_credential_is_refused() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
    for route in PROTECTED {
        for token in [&opaque, &jwt] {
            expect_problem(ask(&app, *route, token).await, *route, 401, "invalid-token");
        }
    }
}

#[tokio::test]
async fn every_credential_of_a_disabled_user_is_refused_from_the_next_request_on() {
    let app = App::start().await;
    app.create("other", &["user", "admin"]).await;
    let (opaque, jwt) = app.tokens("other").await;
    app.with(&opaque).get("/me").await.expect(200);
    app.disable("other").await;
    for route in PROTECTED {
        for token in [&opaque, &jwt] {
            expect_problem(ask(&app, *route, token).await, *route, 401, "invalid-token");
        }
        expect_problem(ask(&app, *route, &basic("other", PASSWORD)).await, *route, 401, "invalid-credentials");
    }
}

#[tokio::test]
async fn a_demotion_applies_to_the_next_request_whatever_the_jwt_claims() {
    let app = App::start().await;
    app.create("other", &["user", "admin"]).await;
    let (opaque, jwt) = app.tokens("other").await;
    app.with(&jwt).get("/admin/users").await.expect(200);
    app.database.sql("UPDATE users SET roles = 'user' WHERE username = 'other'").await;
    for token in [&opaque, &jwt] {
        assert_eq!(app.with(token).get("/admin/users").await.expect(403).problem(), "insufficient-scope");
    }
}

#[tokio::test]
async fn a_cached_credential_is_refused_under_the_other_scheme() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    for header in [opaque, jwt, basic("root", PASSWORD)] {
        app.with(&header).get("/me").await.expect(200);
        app.with(&header).get("/me").await.expect(200);
        let (scheme, value) = header.split_once(' ').unwrap();
        let (other, problem) = match scheme {
            "Basic" => ("Bearer", "invalid-token"),
            _ => ("Basic", "invalid-credentials"),
        };
        assert_eq!(app.with(format!("{other} {value}")).get("/me").await.expect(401).problem(), problem, "{header}");
    }
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let app = App::start().await;
    let (opaque, _) = app.tokens("root").await;
    for route in PROTECTED {
        let request = app.with(&opaque).request(route.0.parse().unwrap(), &route.1.replace("{id}", ID));
        let answer = Answer::of(request.header("authorization", &opaque)).await;
        expect_problem(answer, *route, 400, "ambiguous-credential");
    }
    let twice = app.with(basic("root", PASSWORD)).request(Method::POST, "/login").header("authorization", "x");
    assert_eq!(Answer::of(twice).await.expect(400).problem(), "ambiguous-credential");
}

#[tokio::test]
async fn a_script_on_a_page_gets_no_basic_challenge() {
    let app = App::start().await;
    for (mode, challenges) in [("navigate", vec![BASIC, BEARER]), ("cors", vec![BEARER]), ("same-origin", vec![BEARER])]
    {
        let answer =
            Answer::of(app.anon().request(Method::GET, "/me").header("sec-fetch-mode", mode)).await.expect(401);
        assert_eq!(answer.challenges(), challenges);
    }
}

#[tokio::test]
async fn only_the_authorization_header_identifies_the_caller() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    let (opaque, jwt) = (&opaque["Bearer ".len()..], &jwt["Bearer ".len()..]);
    let port = free_port();
    for token in [opaque, jwt] {
        app.anon().get(&format!("/me?access_token={token}")).await.expect(401);
        let form = app.anon().request(Method::GET, "/me").form(&[("access_token", token)]);
        Answer::of(form).await.expect(401);
        let cookie = app.anon().request(Method::GET, "/me").header("cookie", format!("token={token}; session={token}"));
        Answer::of(cookie).await.expect(401);
    }
    for (name, value) in [
        ("x-forwarded-user", "root"),
        ("x-user-id", "1"),
        ("remote-user", "root"),
        ("x-auth-user", "root"),
        ("x-forwarded-for", "127.0.0.1"),
        ("proxy-authorization", &format!("Bearer {opaque}")),
        ("x-original-url", "/health"),
        ("host", &format!("localhost:{port}")),
    ] {
        Answer::of(app.anon().request(Method::GET, "/me").header(name, value)).await.expect(401);
    }
}

#[tokio::test]
async fn a_stored_hash_is_no_credential_and_the_database_holds_no_token() {
    let app = App::start().await;
    let login = app.login("root").await;
    let hex =
        if crate::support::on_postgres().is_some() { "encode(token_hash, 'hex')" } else { "lower(hex(token_hash))" };
    let hash = app.database.text(&format!("SELECT {hex} FROM sessions")).await;
    assert_eq!(hash.len(), 64);
    for token in [hash.clone(), hash.to_uppercase(), hash[..36].to_owned(), b64(&hash)] {
        app.with(bearer(&token)).get("/me").await.expect(401);
    }
    if crate::support::on_postgres().is_none() {
        for file in std::fs::read_dir(app.database.folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for secret in [login["opaque_token"].as_str().unwrap(), login["token"].as_str().unwrap(), PASSWORD] {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
            }
        }
    }
}

#[tokio::test]
async fn json_cannot_add_a_role_to_the_caller() {
    let app = App::start().await;
    let user = app.user("sergio").await;
    let body = json!({"username": "eve", "password": PASSWORD, "roles": ["admin"]});
    assert_eq!(user.post("/admin/users", &body).await.expect(403).problem(), "insufficient-scope");
}
