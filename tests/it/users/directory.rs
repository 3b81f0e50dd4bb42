//! `/users`: the directory of active users.

use std::time::Duration;

use serde_json::json;

use crate::support::App;

#[tokio::test]
async fn the_directory_lists_ids_and_names_of_active_users() {
    let app = App::start().await;
    app.advance_clock(Duration::from_millis(1));
    let sergio = app.create("sergio", &["user"]).await;
    app.create("gone", &["user"]).await;
    app.disable("gone").await;
    app.database.sql("UPDATE users SET name = 'Sergio R.' WHERE username = 'sergio'").await;
    for path in ["/users", "/users/"] {
        let listed = app.admin().get(path).await.expect(200).json();
        assert_eq!(listed.as_array().unwrap().len(), 2);
        assert_eq!(listed[1], json!({"id": sergio, "name": "Sergio R."}));
    }
}

#[tokio::test]
async fn links_lead_from_page_to_page() {
    let app = App::start().await;
    for name in ["a", "b", "c", "d"] {
        app.advance_clock(Duration::from_millis(1));
        app.create(name, &["user"]).await;
    }
    let (mut seen, mut path) = (Vec::new(), "/users?limit=2".to_owned());
    loop {
        let page = app.admin().get(&path).await.expect(200);
        seen.extend(page.json().as_array().unwrap().iter().map(|u| u["name"].as_str().unwrap().to_owned()));
        match page.header("link").strip_suffix(">; rel=\"next\"") {
            Some(link) => path = link.strip_prefix('<').unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, ["root", "a", "b", "c", "d"]);
}
