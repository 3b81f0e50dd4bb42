//! The scope of each route: the API document, the table of the guide and the service agree.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use countersign::model::Scope;
use serde_json::{Value, json};

use crate::support::{App, bearer};

/// Each route that takes a credential, and the scope it needs, from the API document of the router.
fn routes() -> BTreeMap<(String, String), Option<String>> {
    let document: Value = serde_json::from_str(&countersign::http::document()).unwrap();
    let mut routes = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            // An empty alternative means that the credential is optional.
            let security = operation["security"].as_array().cloned().unwrap_or_default();
            if security.is_empty() || security.contains(&json!({})) {
                continue;
            }
            let scopes = security.iter().find_map(|s| s.get("bearer")).unwrap().as_array().unwrap().clone();
            assert!(scopes.len() <= 1, "{method} {path}");
            let scope = scopes.first().map(|scope| scope.as_str().unwrap().to_owned());
            routes.insert((path.clone(), method.to_uppercase()), scope);
        }
    }
    routes
}

#[test]
fn the_scope_table_in_the_guide_matches_the_router() {
    let mut table = "| route | scope |\n| --- | --- |\n".to_owned();
    for ((path, method), scope) in routes() {
        let scope = scope.map_or("any".to_owned(), |scope| format!("`{scope}`"));
        writeln!(table, "| `{method} {path}` | {scope} |").unwrap();
    }
    let guide = fs::read_to_string("docs/http.md").unwrap();
    assert!(guide.contains(&table), "docs/http.md should have this table:\n{table}");
}

#[tokio::test]
async fn each_route_needs_its_scope_only_and_names_it_when_missing() {
    let app = App::start().await;
    app.database.sql("UPDATE users SET roles = 'admin email user' WHERE username = 'root'").await;
    let (opaque, _) = app.tokens("root").await;
    let mut tokens = BTreeMap::new();
    for scope in Scope::ALL {
        let name = scope.as_str();
        let others: Vec<_> = Scope::ALL.iter().filter(|other| **other != scope).map(|other| other.as_str()).collect();
        let only = app.with(&opaque).post("/me/tokens", &json!({"name": "only", "scopes": [name]})).await.expect(201);
        let lacks =
            app.with(&opaque).post("/me/tokens", &json!({"name": "all but", "scopes": others})).await.expect(201);
        let token = |made: crate::support::Answer| bearer(made.json()["token"].as_str().unwrap());
        tokens.insert(name.to_owned(), (token(only), token(lacks)));
    }
    let none = app.personal_token("root", &json!({"name": "none", "scopes": []})).await;
    for ((path, method), scope) in routes() {
        let path = path.replace("{id}", "01a209a4-5175-7d1f-96a9-8817ee5490a8");
        let send = async |credential: &str| app.with(credential).send(method.parse().unwrap(), &path).await;
        let Some(scope) = scope else {
            let answer = send(&none).await;
            assert_ne!(answer.status, 401, "{method} {path}");
            assert!(answer.status != 403 || answer.problem() == "opaque-token-required", "{method} {path}");
            continue;
        };
        let (only, lacks) = &tokens[&scope];
        let challenge = format!(r#"Bearer realm="countersign", error="insufficient_scope", scope="{scope}""#);
        for credential in [lacks, &none] {
            let answer = send(credential).await.expect(403);
            assert_eq!(answer.challenges(), [challenge.as_str()], "{method} {path}");
            assert_eq!(answer.problem(), "insufficient-scope");
        }
        let status = send(only).await.status;
        assert!(status != 401 && status != 403, "{method} {path} with {scope} alone: {status}");
    }
}
