//! `/openapi.json` and `/docs`: the API document and its page.

use std::collections::HashSet;
use std::process::Command;

use crate::support::{App, python_with};

#[tokio::test]
async fn the_served_document_is_the_one_in_the_repository() {
    let app = App::start().await;
    let served = app.anon().get("/openapi.json").await.expect(200);
    assert_eq!(served.header("content-type"), "application/json");
    let kept = std::fs::read_to_string("openapi.json").unwrap();
    assert!(served.text == kept, "openapi.json is stale: cargo run -- openapi > openapi.json");
    let document = served.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = HashSet::new();
    for operation in document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{id} names two operations");
        assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{id} has no summary");
        let [tag] = &operation["tags"].as_array().unwrap()[..] else { panic!("{id} is in several places") };
        assert!(document["tags"].as_array().unwrap().iter().any(|described| described["name"] == *tag), "{tag}");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, of) in schema["properties"].as_object().into_iter().flatten() {
            let is_said = ["example", "format", "$ref", "enum"].iter().any(|key| of.get(key).is_some());
            let is_said = is_said || of.to_string().contains("$ref");
            assert!(is_said || !of["type"].to_string().contains("string"), "{name}.{field} has no example");
        }
    }
}

#[tokio::test]
async fn the_docs_page_loads_nothing_from_other_servers() {
    let app = App::start().await;
    let redirect = app.anon().get("/docs").await.expect(308);
    assert_eq!(redirect.header("location"), "/docs/");
    let page = app.anon().get("/docs/").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").starts_with("default-src 'self'"));
    assert!(!page.text.contains("//cdn") && !page.text.contains("https://"), "{}", page.text);
    assert!(page.text.contains("<title>API · Countersign</title>"));
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "start.js"] {
        app.anon().get(&format!("/docs/{file}")).await.expect(200);
    }
    assert!(app.anon().get("/docs/start.js").await.text.contains("openapi.json"));
    // What would show the page of somebody else.
    for file in ["index.html", "swagger-initializer.js", "oauth2-redirect.html", "nothing"] {
        app.anon().get(&format!("/docs/{file}")).await.expect(404);
    }
}

/// openapi-spec-validator checks the rules of OpenAPI 3.1.
#[test]
fn the_document_is_valid_openapi() {
    let Some(python) = python_with("openapi_spec_validator") else { return };
    let done = Command::new(python).args(["-m", "openapi_spec_validator", "openapi.json"]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}
