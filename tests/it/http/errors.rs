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
    let document = app.anon().get("/openapi.json").await.json();
    let tags: Vec<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap().to_owned()).collect();
    for kind in countersign::http::KINDS {
        let page = app.anon().get(&format!("/problems/{}", kind.code)).await.expect(200);
        assert!(page.header("content-type").starts_with("text/html"));
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
        for part in [kind.title, kind.what, kind.mend, "<h2>An example</h2>", &format!("HTTP/1.1 {} ", kind.status)] {
            assert!(page.text.contains(part), "the page of {} lacks {part}", kind.code);
        }
        let tag = format!("../docs/#/{}", kind.read_on.replace(' ', "%20"));
        assert!(page.text.contains(&tag) && tags.contains(&kind.read_on.to_owned()), "{}", kind.read_on);
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
