//! Pages of other origins: those in `COUNTERSIGN_CORS_ORIGINS` may call the service, and nobody's browser acts by itself.

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{Answer, App, PASSWORD, find_program, free_port, node};

const PAGE: &str = "https://app.example.com";

async fn app() -> App {
    App::start_with(&["--cors-origins", "https://app.example.com, http://localhost:3000"]).await
}

fn preflight(app: &App, path: &str, origin: &str) -> RequestBuilder {
    let request = app.anon().request(Method::OPTIONS, path).header("origin", origin);
    request.header("access-control-request-method", "PATCH").header("access-control-request-headers", "authorization")
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_call_with_a_bearer_token_and_read_the_answer() {
    let app = app().await;
    for origin in [PAGE, "http://localhost:3000"] {
        let answer = Answer::of(preflight(&app, "/me", origin)).await.expect(204);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert!(answer.header("access-control-allow-methods").contains("PATCH"));
        assert!(answer.header("access-control-allow-headers").contains("Authorization"));
        assert_eq!((answer.header("access-control-max-age"), answer.header("vary")), ("7200", "Origin"));
    }
    let (opaque, _) = app.tokens("root").await;
    let page = app.with(&opaque).request(Method::PATCH, "/me").json(&json!({"name": "Root"}));
    let answer = Answer::of(page.header("origin", PAGE).header("sec-fetch-site", "cross-site")).await.expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), PAGE);
    // Errors can be read too.
    let answer = Answer::of(app.with("Bearer x").request(Method::GET, "/me").header("origin", PAGE)).await.expect(401);
    assert_eq!(answer.header("access-control-allow-origin"), PAGE);
    assert!(answer.header("access-control-expose-headers").contains("WWW-Authenticate"));
    assert_eq!(answer.header("access-control-allow-credentials"), "");
}

#[tokio::test]
async fn a_page_of_another_origin_gets_no_permission() {
    let app = app().await;
    for origin in ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"] {
        let answer = Answer::of(preflight(&app, "/me", origin)).await.expect(405);
        assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), ("", "Origin"));
    }
    let without = App::start().await;
    let answer = Answer::of(preflight(&without, "/me", PAGE)).await.expect(405);
    assert_eq!((answer.header("access-control-allow-origin"), answer.header("vary")), ("", ""));
}

#[tokio::test]
async fn what_is_public_is_readable_from_every_origin() {
    let app = App::start().await;
    for path in ["/.well-known/jwks.json", "/.well-known/oauth-authorization-server"] {
        let answer = Answer::of(app.anon().request(Method::GET, path).header("origin", "https://any.example")).await;
        assert_eq!(answer.expect(200).header("access-control-allow-origin"), "*");
        Answer::of(preflight(&app, path, "https://any.example")).await.expect(204);
    }
}

/// Otherwise a proxy would take the answer to a preflight for that to a request with a credential.
#[tokio::test]
async fn a_preflight_never_passes_verify() {
    let app = app().await;
    Answer::of(preflight(&app, "/verify", PAGE)).await.expect(401);
}

/// The real Chromium, with a page of a listed origin, and one of another.
#[tokio::test]
async fn chromium_lets_pages_of_listed_origins_call_the_service_and_no_others() {
    let (Some(node), Some(chromium)) = (node(), find_program("chromium")) else { return };
    let (port, profile) = (free_port(), TempDir::new().unwrap());
    let app = App::start_with(&["--cors-origins", &format!("http://localhost:{port}")]).await;
    let keys = async || app.anon().get("/.well-known/jwks.json").await.expect(200).json();
    let before = keys().await;
    let service = format!("http://{}", app.address);
    let (chromium, profile) = (chromium.display().to_string(), profile.path().display().to_string());
    let script = include_str!("cors_in_a_browser.mjs");
    let mut browser = node.script(script, &[&chromium, &profile, &service, &port.to_string(), "root", PASSWORD]);
    let done = tokio::task::spawn_blocking(move || browser.output().unwrap()).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let found: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(found["login"], 200);
    assert!(found["me"]["text"].as_str().unwrap().contains(r#""username":"root""#), "{found}");
    assert!(found["patch"]["text"].as_str().unwrap().contains("By a page"), "{found}");
    assert_eq!(found["wrong"]["status"], 401);
    assert!(found["wrong"]["challenge"].as_str().unwrap().starts_with("Bearer "), "{found}");
    // The service never allows credentials of the browser's own.
    for refused in ["included", "otherMe", "otherLogin"] {
        assert_eq!(found[refused], json!({"refused": "TypeError"}), "{refused}: {found}");
    }
    assert!(found["otherKeys"]["text"].as_str().unwrap().contains("keys"));
    // With the password of an admin, which the browser knows, the page of another origin rotates no key.
    let seen: Vec<_> = found["seen"].as_array().unwrap().iter().map(|seen| seen.as_str().unwrap()).collect();
    assert!(seen.contains(&"POST 403"), "it has sent the password: {found}");
    assert!(seen.iter().all(|seen| *seen == "POST 401" || *seen == "POST 403"), "{found}");
    assert_eq!(keys().await, before);
}
