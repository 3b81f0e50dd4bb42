//! Problems: one format everywhere (RFC 9457), each kind with a page and a line in the docs.

use reqwest::Method;

use crate::support::App;

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let app = App::start().await;
    for path in [
        "/nothing",
        "/users/x/y",
        "/admin/",
        "/login/",
        "/%ff",
        "/../etc/passwd",
        "/docs/nothing.js",
        "/problems/nothing",
        "/problems/%FF",
        "/docs/%FF",
    ] {
        assert_eq!(app.anon().get(path).await.expect(404).problem(), "not-found", "{path}");
    }
    for (method, path, allow) in [
        (Method::DELETE, "/users", "GET,HEAD"),
        (Method::PUT, "/users/", "GET,HEAD"),
        (Method::GET, "/login", "POST"),
        (Method::PATCH, "/admin/users", "GET,HEAD,POST"),
        (Method::POST, "/health", "GET,HEAD"),
        (Method::from_bytes(b"BREW").unwrap(), "/me", "GET,HEAD,PATCH"),
    ] {
        let answer = app.anon().send(method, path).await.expect(405);
        assert_eq!(answer.problem(), "method-not-allowed");
        let mut allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow);
    }
}

#[tokio::test]
async fn each_kind_of_problem_has_a_page_and_a_line_in_the_docs() {
    let app = App::start().await;
    let guide = std::fs::read_to_string("docs/http.md").unwrap();
    for kind in countersign::http::KINDS {
        let page = app.anon().get(&format!("/problems/{}", kind.code)).await.expect(200);
        assert!(page.header("content-type").starts_with("text/html"));
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
        assert!(page.text.contains(kind.title) && page.text.contains(kind.about));
        let line = format!("| {} | `{}` |", kind.status, kind.code);
        assert!(guide.contains(&line), "docs/http.md lacks {line}");
    }
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let app = App::start().await;
    for (path, status) in [("/health", 200), ("/me", 401), ("/nothing", 404)] {
        let answer = app.anon().send(Method::HEAD, path).await.expect(status);
        assert_eq!(answer.text, "");
    }
}
