use reqwest::Method;
use serde_json::json;

use super::{Browser, assert_page, form_token};
use crate::support::{Answer, App, Binary, basic};

const PAGES: [&str; 9] = [
    "/admin",
    "/admin/console/users",
    "/admin/console/users/new",
    "/admin/console/tokens",
    "/admin/console/audit",
    "/admin/console/keys",
    "/admin/console/import",
    "/admin/console/settings",
    "/admin/console/health",
];

#[tokio::test]
async fn the_console_is_for_administrators_alone() {
    let app = App::start().await;
    app.create("ana", &["user"]).await;
    let (nobody, ana, root) = (Browser::new(&app), Browser::of(&app, "ana").await, Browser::of(&app, "root").await);
    for path in PAGES {
        let asked = nobody.get(path).await.expect(303);
        assert!(asked.header("location").contains("signin?return_to="), "{asked:?}");
        assert_page(&ana.get(path).await.expect(403));
        let page = root.get(path).await.expect(200);
        assert_page(&page);
        assert_eq!(page.header("referrer-policy"), "same-origin");
    }
    // Who is no administrator any more is none on the next page.
    let id = app.create("eve", &["user", "admin"]).await;
    let eve = Browser::of(&app, "eve").await;
    eve.get("/admin").await.expect(200);
    app.admin().patch(&format!("/admin/users/{id}"), &json!({"roles": ["user"]})).await.expect(200);
    eve.get("/admin").await.expect(403);
}

#[tokio::test]
async fn an_administrator_makes_changes_and_deletes_users() {
    let app = App::start().await;
    let mut root = Browser::of(&app, "root").await;
    let new = "/admin/console/users/new";
    let form = |how, password| {
        [
            ("username", "Ana"),
            ("name", "Ana Souza"),
            ("email", "ana@example.com"),
            ("user", "on"),
            ("other_roles", "editor, ops"),
            ("how", how),
            ("password", password),
        ]
        .to_vec()
    };
    let refused = root.submit(new, new, &form("password", "short")).await.expect(422);
    assert!(refused.text.contains("Password must have at least 8 characters."), "{}", refused.text);
    assert!(refused.text.contains("value=\"Ana Souza\"") && refused.text.contains("value=\"editor, ops\""));
    let made = root.submit(new, new, &form("link", "")).await.expect(200);
    assert_page(&made);
    assert!(made.text.contains("<code id=\"new-link\">"), "{}", made.text);
    let taken = root.submit(new, new, &form("link", "")).await.expect(409);
    assert!(taken.text.contains("Username belongs to someone already."), "{}", taken.text);
    let user = app.admin().get("/admin/users?q=ana").await.json()["items"][0].clone();
    assert_eq!(user["roles"], json!(["editor", "ops", "user"]));
    let page = format!("/admin/console/users/{}", user["id"].as_str().unwrap());

    let version = |page: &Answer| {
        page.text.split_once("name=\"version\" value=\"").unwrap().1.split('"').next().unwrap().to_owned()
    };
    let old = version(&root.get(&page).await);
    let save = |version, name| {
        [("action", "save"), ("version", version), ("name", name), ("email", ""), ("user", "on")].to_vec()
    };
    root.submit(&page, &page, &save(&old, "Ana S.")).await.expect(303);
    // Somebody else was faster: that is said once, what was typed is kept, and to save it again replaces the change.
    let refused = root.submit(&page, &page, &save(&old, "\u{202e}")).await.expect(422);
    assert_eq!(version(&refused), old, "a mistake in a form does not hide the change of somebody else");
    let stale = root.submit(&page, &page, &save(&old, "Somebody Else")).await.expect(409);
    assert!(
        stale.text.contains("Not saved: this user has changed since") && stale.text.contains("value=\"Somebody Else\"")
    );
    let seen = version(&stale);
    root.submit(&page, &page, &save(&seen, "Somebody Else")).await.expect(303);
    let now = version(&root.get(&page).await);
    let refused = root.submit(&page, &page, &save(&now, "\u{202e}")).await.expect(422);
    assert!(refused.text.contains("Name must have no control or invisible character."), "{}", refused.text);

    for (action, said, status) in [("disable", "disabled", "disabled"), ("enable", "enabled", "active")] {
        let done = root.submit(&page, &page, &[("action", action)]).await.expect(303);
        assert!(done.header("location").ends_with(&format!("?said={said}")), "{done:?}");
        let user = app.admin().get("/admin/users?q=ana").await.json()["items"][0].clone();
        assert_eq!(user["status"], status);
    }
    // What another button cannot do leaves the form as it is: saved after that, it changes nothing.
    let refused = root.submit(&page, &page, &[("action", "password-reset"), ("deliver", "on")]).await;
    assert!([422, 503].contains(&refused.status.as_u16()), "{refused:?}");
    if refused.status == 422 {
        assert!(refused.text.contains("value=\"Somebody Else\""), "{}", refused.text);
    }
    let link = root.submit(&page, &page, &[("action", "password-reset")]).await.expect(200);
    assert!(link.text.contains("<code id=\"new-link\">"), "{}", link.text);
    root.submit(&page, &page, &[("action", "delete")]).await.expect(303);
    assert_page(&root.get(&page).await.expect(404));
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let app = App::start().await;
    let mut root = Browser::of(&app, "root").await;
    let id = app.admin().get("/admin/users?q=root").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let page = format!("/admin/console/users/{id}");
    for action in ["delete", "disable"] {
        let refused = root.submit(&page, &page, &[("action", action)]).await.expect(409);
        assert!(refused.text.contains("this is the last administrator"), "{}", refused.text);
    }
    root.get("/admin").await.expect(200);
}

#[tokio::test]
async fn sessions_and_tokens_of_others_are_ended_from_their_pages() {
    let app = App::start().await;
    let id = app.create("ana", &["user"]).await;
    let page = format!("/admin/console/users/{id}");
    let mut root = Browser::of(&app, "root").await;
    let one = Browser::of(&app, "ana").await;
    app.advance_clock(std::time::Duration::from_secs(1));
    let two = Browser::of(&app, "ana").await;
    let token = app.personal_token("ana", &json!({"name": "leaked", "expires_in": "never"})).await;
    let sessions = app.admin().get(&format!("/admin/users/{id}/sessions")).await.json();
    let last = sessions["items"][0]["id"].as_str().unwrap().to_owned();
    root.submit(&page, &page, &[("action", "end-session"), ("id", &last)]).await.expect(303);
    two.get("/account").await.expect(303);
    one.get("/account").await.expect(200);
    let gone = root.submit(&page, &page, &[("action", "end-session"), ("id", &last)]).await.expect(303);
    assert!(gone.header("location").ends_with("said=gone"), "{gone:?}");
    root.submit(&page, &page, &[("action", "end-sessions")]).await.expect(303);
    one.get("/account").await.expect(303);

    let listed = root.get("/admin/console/tokens").await.expect(200);
    assert!(listed.text.contains("leaked") && listed.text.contains("<span class=\"warn\">never</span>"));
    let all = app.admin().get(&format!("/admin/users/{id}/tokens")).await.json();
    let id = all["items"][0]["id"].as_str().unwrap().to_owned();
    app.with(token.clone()).get("/me").await.expect(200);
    root.submit("/admin/console/tokens", "/admin/console/tokens", &[("id", &id)]).await.expect(303);
    app.with(token).get("/me").await.expect(401);
    assert!(!root.get("/admin/console/tokens").await.expect(200).text.contains("leaked"));
}

#[tokio::test]
async fn lists_have_pages_that_come_one_after_the_other() {
    let app = App::start().await;
    let root = Browser::of(&app, "root").await;
    let token = form_token(&root.get("/admin/console/import").await.expect(200));
    let rows: String = (0..120).map(|i| format!("user{i:03}\n")).collect();
    let import = root.request(Method::POST, "/admin/console/import").header("content-type", "text/csv");
    let import = import.header("origin", &app.url).header("x-form-token", token);
    Answer::of(import.body(format!("username\n{rows}"))).await.expect(200);
    let (mut path, mut seen, mut pages) = ("/admin/console/users?q=user".to_owned(), 0, 0);
    loop {
        let page = root.get(&path).await.expect(200);
        seen += page.text.matches("<th scope=\"row\">").count();
        pages += 1;
        let Some((before, _)) = page.text.split_once("\">Next page</a>") else { break };
        let query = before.rsplit("href=\"").next().unwrap().replace("&amp;", "&");
        path = format!("/admin/console/users{query}");
    }
    assert_eq!((seen, pages), (120, 3));
    let filtered = root.get("/admin/console/users?q=user00&role=&status=active").await.expect(200);
    assert_eq!(filtered.text.matches("<th scope=\"row\">").count(), 10);
}

#[tokio::test]
async fn the_audit_trail_reads_as_sentences_is_checked_and_saved() {
    let app = App::start().await;
    let eve = app.create("eve", &["user"]).await;
    let mut root = Browser::of(&app, "root").await;
    let page = format!("/admin/console/users/{eve}");
    root.submit(&page, &page, &[("action", "delete")]).await.expect(303);
    let words = |page: &Answer| {
        let (mut text, mut in_tag) = (String::new(), false);
        for c in page.text.chars() {
            match c {
                '<' => in_tag = true,
                '>' => in_tag = false,
                c if !in_tag => text.push(c),
                _ => {}
            }
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let trail = root.get("/admin/console/audit?event=user.deleted&days=2&user=root").await.expect(200);
    assert!(words(&trail).contains("root deleted eve from 127.0.0.1"), "{}", words(&trail));
    assert_eq!(trail.text.matches("<code class=\"small\">").count(), 1);
    let by_id = root.get(&format!("/admin/console/audit?user={eve}")).await.expect(200);
    assert!(words(&by_id).contains("Somebody on the command line created eve"), "{}", words(&by_id));
    let by_name = root.get("/admin/console/audit?user=EVE").await.expect(200);
    assert!(words(&by_name).contains("root deleted eve"), "a deleted user is found by name: {}", words(&by_name));
    assert!(!by_name.text.contains(&format!("/users/{eve}")), "there is no page to go to");
    let nobody = root.get("/admin/console/audit?user=nobody").await.expect(200);
    assert!(nobody.text.contains("There is no user of that name"));
    let checked = root.submit("/admin/console/audit", "/admin/console/audit/check", &[]).await.expect(200);
    assert!(words(&checked).contains("records hang together: none was changed or removed"), "{}", words(&checked));
    let fields = [("event", "user.deleted"), ("user", ""), ("days", "")];
    let saved = root.submit("/admin/console/audit", "/admin/console/audit/export", &fields).await.expect(200);
    assert_eq!(saved.header("content-disposition"), "attachment; filename=\"audit.ndjson\"");
    let lines: Vec<_> = saved.text.lines().collect();
    assert_eq!(lines.len(), 1);
    let record: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!((&record["event"], &record["target"]), (&json!("user.deleted"), &json!("eve")));
    // A record that was changed is found.
    app.database.sql("UPDATE audit SET address = 'elsewhere' WHERE event = 'user.deleted'").await;
    let broken = root.submit("/admin/console/audit", "/admin/console/audit/check", &[]).await.expect(200);
    assert!(words(&broken).contains("was changed or is missing"), "{}", words(&broken));
}

#[tokio::test]
async fn the_console_imports_and_exports_with_the_token_of_its_page() {
    let app = App::start().await;
    let mut root = Browser::of(&app, "root").await;
    let token = form_token(&root.get("/admin/console/import").await.expect(200));
    let upload = |path: &str, token: &str, origin: &str| {
        let request = root.request(Method::POST, path).header("content-type", "text/csv").header("origin", origin);
        request.header("x-form-token", token).body("username,email\nzoe,zoe@example.com\n\"a b\",x\n")
    };
    let path = "/admin/console/import?on_conflict=skip";
    Answer::of(upload(path, "", &app.url)).await.expect(403);
    Answer::of(upload(path, &token, "https://evil.example")).await.expect(403);
    let tried = Answer::of(upload(&format!("{path}&dry_run=true"), &token, &app.url)).await.expect(200);
    let last = |answer: &Answer| -> serde_json::Value {
        serde_json::from_str::<serde_json::Value>(answer.text.lines().last().unwrap()).unwrap()["summary"].clone()
    };
    assert_eq!((&last(&tried)["created"], &last(&tried)["failed"]), (&json!(1), &json!(1)));
    assert!(!tried.text.contains("/link/"), "a trial leaves no links behind: {}", tried.text);
    assert!(app.admin().get("/admin/users?q=zoe").await.json()["items"].as_array().unwrap().is_empty());
    let done = Answer::of(upload(path, &token, &app.url)).await.expect(200);
    let first: serde_json::Value = serde_json::from_str(done.text.lines().next().unwrap()).unwrap();
    assert!(first["url"].as_str().unwrap().contains("/link/"), "{first}");
    let file = root.submit("/admin/console/import", "/admin/console/export", &[("format", "csv")]).await.expect(200);
    assert_eq!(file.header("content-type"), "text/csv");
    assert!(file.text.contains("zoe@example.com"), "{}", file.text);
    let events = app.admin().get("/admin/audit?event=user.exported").await.json();
    assert_eq!(events["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn figures_are_those_of_the_installation_and_refusals_count_as_many_as_they_were() {
    let app = App::start_with(&["--limit-burst", "3"]).await;
    app.create("ana", &["user"]).await;
    let (admin, _) = app.tokens("root").await;
    for _ in 0..2 {
        app.login("ana").await;
    }
    for i in 0..3 {
        app.with(basic("ana", &format!("wrong-password-{i}"))).get("/me").await.expect(401);
    }
    app.with(basic("ana", "wrong-password-9")).get("/me").await.expect(429);
    app.advance_clock(std::time::Duration::from_secs(61));
    app.service.auth().record_refusals().await;
    let figures = app.with(admin).get("/admin/stats").await.expect(200).json();
    assert_eq!(
        (&figures["users"], &figures["sessions"], &figures["waiting_passwords"]),
        (&json!({"active": 2, "disabled": 0}), &json!(3), &json!(0)),
        "{figures}"
    );
    let hours = figures["hours"].as_array().unwrap();
    assert_eq!(hours.len(), 48);
    let sum = |name: &str| hours.iter().map(|hour| hour[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("succeeded"), sum("failed"), sum("limited")), (3, 3, 1), "{figures}");
    assert_eq!(figures["blocks"], 1, "{figures}");
}

#[tokio::test]
async fn what_is_made_by_a_form_is_not_made_again_when_its_page_is_loaded_again() {
    let app = App::start().await;
    let mut root = Browser::of(&app, "root").await;
    let once =
        |page: &Answer| page.text.split_once("name=\"once\" value=\"").unwrap().1.split('"').next().unwrap().to_owned();
    let shown = |page: &Answer, id: &str| {
        let (_, rest) = page.text.split_once(&format!("<code id=\"{id}\">")).unwrap_or_else(|| panic!("{}", page.text));
        rest.split('<').next().unwrap().to_owned()
    };
    let new = "/admin/console/users/new";
    let key = once(&root.get(new).await);
    let form = [("username", "ana"), ("user", "on"), ("how", "link"), ("once", &key)];
    let first = root.submit(new, new, &form).await.expect(200);
    let again = root.submit(new, new, &form).await.expect(200);
    assert_eq!(shown(&first, "new-link"), shown(&again, "new-link"));
    // The page is that of the user, whatever its address: its buttons act on the user.
    let id = app.admin().get("/admin/users?q=ana").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    assert!(
        !first.text.contains("<form method=\"post\">") && first.text.contains(&format!("users/{id}\"")),
        "{}",
        first.text
    );

    let page = format!("/admin/console/users/{id}");
    let key = once(&root.get(&page).await);
    let form = [("action", "invitation"), ("once", &key)];
    let first = root.submit(&page, &page, &form).await.expect(200);
    let again = root.submit(&page, &page, &form).await.expect(200);
    assert_eq!(shown(&first, "new-link"), shown(&again, "new-link"));
    let path = shown(&first, "new-link").replace("&#x2f;", "/");
    root.get(&path[path.find("/link/").unwrap()..]).await.expect(200);

    let key = once(&root.get("/account").await);
    let form = [("name", "a"), ("scope", "profile"), ("days", "1"), ("once", &key)];
    let first = root.submit("/account", "/account/create-token", &form).await.expect(200);
    let again = root.submit("/account", "/account/create-token", &form).await.expect(200);
    assert_eq!(shown(&first, "new-token"), shown(&again, "new-token"));
    assert_eq!(app.admin().get("/me/tokens").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_form_that_was_sent_too_late_leads_back_to_its_page() {
    let app = App::start().await;
    let mut nobody = Browser::new(&app);
    for (path, page) in [
        ("/admin/console/blocks", "%2Fadmin"),
        ("/admin/console/audit/check", "%2Fadmin%2Fconsole%2Faudit"),
        ("/admin/console/audit/export", "%2Fadmin%2Fconsole%2Faudit"),
        ("/admin/console/export", "%2Fadmin%2Fconsole%2Fimport"),
        ("/admin/console/keys", "%2Fadmin%2Fconsole%2Fkeys"),
        ("/account/password", "%2Faccount"),
    ] {
        let sent = nobody.post(path, &[]).await.expect(303);
        assert!(sent.header("location").ends_with(&format!("signin?return_to={page}")), "{path}: {sent:?}");
    }
}

#[tokio::test]
async fn checks_run_when_they_are_asked_for_and_show_what_they_found() {
    let app = App::start().await;
    let mut root = Browser::of(&app, "root").await;
    let page = "/admin/console/health";
    assert!(root.get(page).await.expect(200).text.contains("They have not run yet"));
    root.submit(page, page, &[]).await.expect(303);
    for _ in 0..1_000 {
        let shown = root.get(page).await.expect(200);
        if shown.text.contains("They last ran") {
            assert!(shown.text.contains(">database<"), "{}", shown.text);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the checks did not end");
}

#[tokio::test]
async fn the_settings_in_force_are_shown_and_no_secret_is() {
    let place = tempfile::TempDir::new().unwrap();
    let secret = place.path().join("smtp");
    std::fs::write(&secret, "smtp://someone:canary-in-a-file@127.0.0.1").unwrap();
    let server = Binary::new(place.path())
        .env("COUNTERSIGN_SMTP_URL_FILE", secret.to_str().unwrap())
        .env("COUNTERSIGN_SETUP_TOKEN", "canary-of-the-setup-token")
        .env("COUNTERSIGN_JWT_SECRET", "")
        .args(&["--public-url", "http://localhost:5000", "--mail-from", "auth@example.com", "--jwt-ttl", "17m"])
        .serve();
    let url = format!("http://127.0.0.1:{}", server.port);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let form = [
        ("token", "canary-of-the-setup-token"),
        ("username", "maria"),
        ("new_password", "first-of-all-1"),
        ("again", "first-of-all-1"),
    ];
    let begun = Answer::of(client.post(format!("{url}/setup")).header("origin", &url).form(&form)).await.expect(303);
    let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
    let page = client.get(format!("{url}/admin/console/settings")).header("cookie", cookie);
    let page = Answer::of(page).await.expect(200);
    assert_page(&page);
    assert!(!page.text.contains("canary"), "{}", page.text);
    let row = |name: &str| {
        let (_, rest) = page.text.split_once(&format!("<code>{name}</code>")).unwrap();
        rest.split("</tr>").next().unwrap().to_owned()
    };
    assert!(
        row("COUNTERSIGN_JWT_TTL").contains("<code>17m</code>") && !row("COUNTERSIGN_JWT_TTL").contains("by default")
    );
    assert!(
        row("COUNTERSIGN_TOKEN_TTL").contains("<code>30d</code>")
            && row("COUNTERSIGN_TOKEN_TTL").contains("by default")
    );
    for name in ["COUNTERSIGN_SMTP_URL", "COUNTERSIGN_SETUP_TOKEN"] {
        assert!(row(name).contains("set, and not shown"), "{name}: {}", row(name));
    }
    for name in ["COUNTERSIGN_JWT_SECRET", "COUNTERSIGN_SECRET_KEY"] {
        assert!(row(name).contains("not set"), "{name}: {}", row(name));
    }
    assert!(server.stop().success);
}
