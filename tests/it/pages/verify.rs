//! Single sign-on for what stands behind a proxy.

use reqwest::{Method, RequestBuilder};

use super::Browser;
use crate::support::{Answer, App, basic};

/// What a proxy adds to a browser's request for a page.
fn asks(browser: &Browser<'_>, headers: &[(&str, &str)]) -> RequestBuilder {
    let page = [
        ("sec-fetch-mode", "navigate"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "app.example.com"),
        ("x-forwarded-uri", "/notes?a=b&c=%2F"),
        ("x-forwarded-method", "GET"),
    ];
    let given = |name: &str| headers.iter().any(|(known, _)| *known == name);
    let mut request = browser.request(Method::GET, "/verify");
    for (name, value) in page.into_iter().filter(|(name, _)| !given(name)).chain(headers.iter().copied()) {
        request = request.header(name, value);
    }
    request
}

#[tokio::test]
async fn a_browser_is_sent_to_sign_in_and_back_and_a_program_gets_401() {
    let app =
        App::start_with(&["--return-to", "https://app.example.com", "--public-url", "https://auth.example.com"]).await;
    let nobody = Browser::new(&app);
    let sent = Answer::of(asks(&nobody, &[])).await.expect(302);
    let location =
        "https://auth.example.com/signin?return_to=https%3A%2F%2Fapp.example.com%2Fnotes%3Fa%3Db%26c%3D%252F";
    assert_eq!(sent.header("location"), location);
    // Over plain HTTP, and from old browsers, there is no word of the mode.
    let old = asks(&nobody, &[("sec-fetch-mode", ""), ("accept", "text/html,*/*")]);
    Answer::of(old).await.expect(401);
    for refused in [
        &[("sec-fetch-mode", "cors")][..],
        &[("x-forwarded-method", "POST")],
        &[("x-forwarded-host", "evil.example")],
        &[("x-forwarded-host", "app.example.com@evil.example")],
        &[("x-forwarded-host", "app.example.com.evil.example")],
        &[("x-forwarded-proto", "http")],
        &[("authorization", "Bearer nothing")],
        &[("authorization", "Basic x")],
    ] {
        let answer = Answer::of(asks(&nobody, refused)).await.expect(401);
        assert!(answer.header("location").is_empty(), "{refused:?}");
    }
    // nginx takes no redirect from whom it asks.
    let nginx = nobody.request(Method::GET, "/verify?redirect=header&role=admin").header("sec-fetch-mode", "navigate");
    let nginx = nginx.header("x-forwarded-proto", "https").header("x-forwarded-host", "app.example.com");
    let sent = Answer::of(nginx.header("x-forwarded-uri", "/a")).await.expect(401);
    assert_eq!(sent.header("location"), "https://auth.example.com/signin?return_to=https%3A%2F%2Fapp.example.com%2Fa");
    assert_eq!(sent.problem(), "authentication-required");

    let root = Browser::of(&app, "root").await;
    let known = Answer::of(asks(&root, &[])).await.expect(200);
    assert_eq!(known.header("x-auth-user"), "root");
    assert_eq!(known.header("x-auth-method"), "opaque");
    // The header is what counts when there is one.
    Answer::of(asks(&root, &[("authorization", "Bearer nothing")])).await.expect(401);
    app.create("ana", &["user"]).await;
    let ana = basic("ana", crate::support::PASSWORD);
    let header = Answer::of(asks(&root, &[("authorization", &ana)])).await.expect(200);
    assert_eq!(header.header("x-auth-user"), "ana");
}

#[tokio::test]
async fn without_named_origins_nobody_is_sent_anywhere() {
    let app = App::start().await;
    Answer::of(asks(&Browser::new(&app), &[])).await.expect(401);
}

#[tokio::test]
async fn a_page_over_plain_http_is_told_by_what_the_browser_accepts() {
    let app = App::start_with(&["--return-to", "http://app.internal"]).await;
    let request = app.anon().request(Method::GET, "/verify").header("accept", "text/html,application/xhtml+xml");
    let forwarded = request.header("x-forwarded-proto", "http").header("x-forwarded-host", "app.internal");
    Answer::of(forwarded.header("x-forwarded-uri", "/")).await.expect(302);
}
