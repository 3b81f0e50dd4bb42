//! Forms that do not come from where they should.

use reqwest::Method;

use super::{Browser, assert_page, form_token};
use crate::support::{Answer, App, PASSWORD};

/// Every form that changes something, with a page that has its token.
const FORMS: [(&str, &str); 13] = [
    ("/admin/console/health", "/admin/console/health"),
    ("/account", "/signout"),
    ("/account", "/account/name"),
    ("/account", "/account/create-token"),
    ("/account", "/account/end-other-sessions"),
    ("/admin", "/admin/console/blocks"),
    ("/admin/console/users/new", "/admin/console/users/new"),
    ("/admin/console/users/{id}", "/admin/console/users/{id}"),
    ("/admin", "/admin/console/tokens"),
    ("/admin/console/keys", "/admin/console/keys"),
    ("/admin/console/audit", "/admin/console/audit/check"),
    ("/admin/console/audit", "/admin/console/audit/export"),
    ("/admin/console/import", "/admin/console/export"),
];

#[tokio::test]
async fn a_form_without_the_token_of_its_session_or_from_another_page_does_nothing() {
    let app = App::start().await;
    let id = app.create("ana", &["user"]).await;
    let (root, ana) = (Browser::of(&app, "root").await, Browser::of(&app, "ana").await);
    let of_ana = form_token(&ana.get("/account").await.expect(200));
    for (page, path) in FORMS {
        let [page, path] = [page, path].map(|path| path.replace("{id}", &id));
        let own = form_token(&root.get(&page).await.expect(200));
        let long = own.clone() + "0";
        for (token, headers) in [
            (own.as_str(), &[("sec-fetch-site", "cross-site")][..]),
            (&own, &[("sec-fetch-site", "same-site"), ("origin", app.url.as_str())]),
            (&own, &[("origin", "https://evil.example")]),
            (&own, &[("origin", "null")]),
            (&own, &[]),
            (&of_ana, &[("sec-fetch-site", "same-origin")]),
            ("", &[("sec-fetch-site", "same-origin")]),
            (&own[..own.len() - 1], &[("sec-fetch-site", "same-origin")]),
            (&long, &[("sec-fetch-site", "same-origin")]),
        ] {
            let mut request = root.request(Method::POST, &path).form(&[("form_token", token), ("action", "delete")]);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let refused = Answer::of(request).await.expect(403);
            assert_page(&refused);
            assert!(refused.text.contains("This form did not come from a page of this service"), "{}", refused.text);
        }
    }
    app.admin().get(&format!("/admin/users/{id}")).await.expect(200);
    root.get("/account").await.expect(200);
}

#[tokio::test]
async fn a_page_of_another_site_signs_nobody_in_and_sets_nothing_up() {
    let app = App::start().await;
    let form = [("username", "root"), ("password", PASSWORD), ("new_password", PASSWORD), ("login", "root")];
    for path in ["/signin", "/forgot", "/setup"] {
        for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("accept", "*/*")] {
            let request = app.anon().request(Method::POST, path).header(name, value).form(&form);
            let refused = Answer::of(request).await.expect(403);
            assert_page(&refused);
            assert!(refused.headers.get("set-cookie").is_none());
        }
    }
}

#[tokio::test]
async fn what_is_no_form_gets_a_page_and_never_a_5xx() {
    let app = App::start().await;
    let browser = Browser::of(&app, "root").await;
    for (_, path) in FORMS {
        let path = path.replace("{id}", "x");
        let answer = |request: reqwest::RequestBuilder| Answer::of(request.header("origin", &app.url));
        let json = answer(browser.request(Method::POST, &path).json(&serde_json::json!({}))).await;
        assert!([404, 415].contains(&json.status.as_u16()), "{path}: {json:?}");
        assert_page(&json);
        assert_page(&answer(browser.request(Method::DELETE, &path)).await.expect(405));
        let large = "a=".to_owned() + &"a".repeat(70_000);
        let large = browser
            .request(Method::POST, &path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(large);
        let refused = answer(large).await;
        assert!([404, 413].contains(&refused.status.as_u16()), "{path}: {refused:?}");
    }
    for path in [
        "/account?said=x",
        "/signin?return_to=%ff",
        "/admin/console/users?after=x",
        "/admin/console/users?q=%00&role=%00",
        "/admin/console/audit?user=%00&event=%00&days=-1&after=x",
        "/admin/console/tokens?after=x",
        "/admin/console/users/x",
        "/admin/console/nothing",
        "/account/nothing/more",
        "/setup?token=%00",
    ] {
        let answer = browser.get(path).await;
        assert!(answer.status.as_u16() < 500, "{path}: {answer:?}");
        assert_page(&answer);
    }
}
