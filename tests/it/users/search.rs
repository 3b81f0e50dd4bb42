//! `GET /admin/users`: search by prefix, role and status.

use serde_json::json;

use crate::support::{App, PASSWORD};

async fn app() -> App {
    let app = App::start().await;
    for (username, name, email, roles) in [
        ("anna", Some("Zoë Müller"), Some("Anna@Example.com"), json!(["user"])),
        ("annabel", None, None, json!(["user", "editor"])),
        ("bert", Some("Anna Bert"), Some("bert@example.com"), json!(["a_b"])),
        ("carl", None, Some("anna.carl@example.com"), json!(["axb"])),
        ("dora", None, None, json!([])),
    ] {
        let body = json!({"username": username, "password": PASSWORD, "name": name, "email": email, "roles": roles});
        app.admin().post("/admin/users", &body).await.expect(201);
    }
    app.database.sql("UPDATE users SET status = 'disabled' WHERE username = 'carl'").await;
    app
}

/// The usernames on all pages of this query.
async fn found(app: &App, query: &str) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), String::new());
    for _ in 0..40 {
        let page = app.admin().get(&format!("/admin/users?{query}{after}")).await.expect(200).json();
        let items = page["items"].as_array().unwrap();
        names.extend(items.iter().map(|user| user["username"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return names,
        }
    }
    panic!("the pages do not end");
}

#[tokio::test]
async fn users_are_found_once_by_prefix_of_username_name_or_email() {
    let app = app().await;
    for limit in ["limit=1", "limit=2", "limit=1000"] {
        for (q, names) in [
            ("anna", vec!["anna", "bert", "carl", "annabel"]),
            ("ANNA", vec!["anna", "bert", "carl", "annabel"]),
            ("anna@", vec!["anna"]),
            ("zo%C3%AB", vec!["anna"]),
            ("ZO%C3%8B%20M", vec!["anna"]),
            ("b", vec!["bert"]),
            ("%25", vec![]),
            ("ann_", vec![]),
            ("nna", vec![]),
            ("%00", vec![]),
            ("%F4%8F%BF%BF", vec![]),
        ] {
            assert_eq!(found(&app, &format!("q={q}&{limit}")).await, names, "{q} {limit}");
        }
    }
}

/// Every user matches again by their e-mail, after all have matched by their usernames.
#[tokio::test]
async fn a_user_after_many_repeated_matches_is_found() {
    let app = App::start().await;
    let names: Vec<String> = (0..30).map(|i| format!("a{i:02}")).chain(["zoe".to_owned()]).collect();
    for name in &names {
        let of = if name == "zoe" { "az" } else { name };
        let body = json!({"username": name, "password": PASSWORD, "email": format!("aa{of}@example.com"), "name": "a"});
        app.admin().post("/admin/users", &body).await.expect(201);
    }
    app.database.sql("UPDATE users SET name_key = NULL, name = NULL WHERE username <> 'zoe'").await;
    app.database.sql("UPDATE users SET name_key = 'azz', name = 'Azz' WHERE username = 'zoe'").await;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut pages = Vec::new();
    for limit in [2, 3, 100] {
        pages.push(found(&app, &format!("q=a&limit={limit}")).await);
    }
    assert_eq!(pages, [names.clone(), names.clone(), names]);
}

#[tokio::test]
async fn filters_combine_with_each_other_and_with_the_prefix() {
    let app = app().await;
    for limit in ["limit=1", "limit=1000"] {
        for (query, names) in [
            ("q=", vec!["root", "anna", "annabel", "bert", "carl", "dora"]),
            ("role=editor", vec!["annabel"]),
            ("role=user", vec!["root", "anna", "annabel"]),
            ("role=a_b", vec!["bert"]),
            ("role=axb", vec!["carl"]),
            ("role=A_B", vec![]),
            ("role=%25", vec![]),
            ("role=", vec![]),
            ("status=disabled", vec!["carl"]),
            ("status=active", vec!["root", "anna", "annabel", "bert", "dora"]),
            ("status=disabled&role=axb", vec!["carl"]),
            ("status=active&role=axb", vec![]),
            ("q=anna&status=disabled", vec!["carl"]),
            ("q=anna&role=user", vec!["anna", "annabel"]),
        ] {
            let mut seen = found(&app, &format!("{query}&{limit}")).await;
            if !query.starts_with("q=anna") {
                // Ids of users created within one millisecond are in arbitrary order.
                seen.sort_by_key(|name| {
                    ["root", "anna", "annabel", "bert", "carl", "dora"].iter().position(|n| n == name)
                });
            }
            assert_eq!(seen, names, "{query} {limit}");
        }
    }
}

#[tokio::test]
async fn an_invalid_query_parameter_is_named() {
    let app = app().await;
    for (query, error) in [
        ("after=nonsense", "after:malformed"),
        ("after=01a209a4-5175-7d1f-96a9-8817ee5490a8.%25", "after:malformed"),
        ("status=gone", "status:malformed"),
        ("limit=0", "limit:out-of-range"),
        ("name=a", "name:unknown"),
    ] {
        let answer = app.admin().get(&format!("/admin/users?{query}")).await.expect(422);
        assert_eq!(answer.field_errors(), [error], "{query}");
    }
}
