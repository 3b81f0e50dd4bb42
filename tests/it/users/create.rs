//! `/admin/users`: creating, reading and listing users.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{App, Database, PASSWORD, basic, bearer};

#[tokio::test]
async fn an_admin_creates_a_user_who_can_then_log_in() {
    let app = App::start().await;
    let body = json!({"username": "sergio", "password": PASSWORD, "name": "Sergio R.", "email": "sergio@example.com"});
    let answer = app.admin().post("/admin/users", &body).await.expect(201);
    let user = answer.json();
    assert_eq!(answer.header("location"), format!("/admin/users/{}", user["id"].as_str().unwrap()));
    assert_eq!(
        user,
        json!({
            "id": user["id"], "username": "sergio", "name": "Sergio R.", "email": "sergio@example.com", "email_verified": false,
            "roles": ["user"], "status": "active", "must_change_password": false,
            "created_at": "2026-01-01T00:00:00.000Z", "updated_at": "2026-01-01T00:00:00.000Z", "last_login_at": null,
        })
    );
    assert_eq!(app.login("sergio").await["user"]["name"], "Sergio R.");
    let read = app.admin().get(answer.header("location")).await.expect(200);
    assert_eq!(read.json()["last_login_at"], "2026-01-01T00:00:00.000Z");
    assert_eq!(read.header("etag"), answer.header("etag"));
}

#[tokio::test]
async fn a_username_is_one_whatever_its_case_or_composition() {
    let app = App::start().await;
    app.create("zoë", &["user"]).await;
    app.create("ΟΔΥΣΣΕΥΣ", &["user"]).await;
    app.with(basic("οδυσσευς", PASSWORD)).get("/me").await.expect(200);
    for again in ["ZOË", "zoe\u{308}", "Zoë"] {
        let answer = app.admin().post("/admin/users", &json!({"username": again, "password": PASSWORD})).await;
        assert_eq!(answer.expect(409).problem(), "username-taken");
        app.anon().post("/login", &json!({"username": again, "password": PASSWORD})).await.expect(200);
        app.with(basic(again, PASSWORD)).get("/me").await.expect(200);
    }
}

#[tokio::test]
async fn every_invalid_field_is_named_without_its_value() {
    let app = App::start().await;
    let faults: &[(Value, &[&str])] = &[
        (json!({"username": "", "password": PASSWORD}), &["username:required"]),
        (json!({"username": "a:b", "password": PASSWORD}), &["username:malformed"]),
        (json!({"username": "a b", "password": PASSWORD}), &["username:malformed"]),
        (json!({"username": "a\u{200b}", "password": PASSWORD}), &["username:malformed"]),
        (json!({"username": "a\u{61c}", "password": PASSWORD}), &["username:malformed"]),
        (json!({"username": "a\u{3164}", "password": PASSWORD}), &["username:malformed"]),
        (json!({"username": "a", "password": PASSWORD, "name": "\u{2800}"}), &["name:malformed"]),
        (json!({"username": "x".repeat(129), "password": PASSWORD}), &["username:too-long"]),
        (json!({"username": "a", "password": "seven77"}), &["password:too-short"]),
        (json!({"username": "a", "password": "canary\u{7}canary"}), &["password:malformed"]),
        (json!({"username": "a", "password": "canary-".repeat(200)}), &["password:too-long"]),
        (json!({"username": "a", "password": PASSWORD, "email": "canary-no-mail"}), &["email:malformed"]),
        (json!({"username": "a", "password": PASSWORD, "name": " "}), &["name:required"]),
        (json!({"username": "a", "password": PASSWORD, "name": "x\u{7}"}), &["name:malformed"]),
        (json!({"username": "a", "password": PASSWORD, "roles": ["Canary Role"]}), &["roles:malformed"]),
        (json!({"username": "a", "password": PASSWORD, "roles": "canary"}), &["roles:malformed"]),
        (json!({"username": "a", "password": 12345}), &["password:malformed"]),
        (json!({"username": "a"}), &["password:required"]),
        (json!({"password": PASSWORD}), &["username:required"]),
        (json!({"username": "a", "password": PASSWORD, "is_admin": true}), &["is_admin:unknown"]),
        (
            json!({"username": "a:", "password": "short", "email": "x"}),
            &["email:malformed", "username:malformed", "password:too-short"],
        ),
        (json!("canary"), &[":malformed"]),
        (json!({"\u{e4}": 1, "\u{f6}": 2, "password": "canary"}), &[":unknown", "username:required"]),
        (
            json!({"usrname": "a", "pasword": "canary", "roles": "canary", "canary": 1, "email": [], "invite": "no"}),
            &[
                "canary:unknown",
                "email:malformed",
                "invite:malformed",
                "pasword:unknown",
                "roles:malformed",
                "usrname:unknown",
                "username:required",
            ],
        ),
    ];
    for (body, expected) in faults {
        let answer = app.admin().post("/admin/users", body).await.expect(422);
        assert_eq!(answer.problem(), "validation");
        assert_eq!(answer.field_errors(), *expected, "{body}");
        let text = answer.text.replace("\"field\":\"canary\"", "");
        assert!(!text.contains("canary") && !text.contains("12345"), "{text}");
    }
    let answer = app.admin().post("/admin/users", &json!({"usrname": "a", "password": PASSWORD})).await.expect(422);
    assert_eq!(answer.json()["errors"][0]["message"], "is not a field of this request; did you mean username?");
    let users = app.admin().get("/admin/users").await.json();
    assert_eq!(users["items"].as_array().unwrap().len(), 1, "none was created");
}

#[tokio::test]
async fn the_admin_routes_need_the_scope_admin() {
    let app = App::start().await;
    let user = app.user("sergio").await;
    for (method, path) in
        [(Method::POST, "/admin/users"), (Method::GET, "/admin/users"), (Method::GET, "/admin/users/none")]
    {
        assert_eq!(app.anon().send(method.clone(), path).await.expect(401).problem(), "authentication-required");
        let answer = user.send(method, path).await.expect(403);
        assert_eq!(answer.problem(), "insufficient-scope");
        assert_eq!(answer.challenges(), [r#"Bearer realm="countersign", error="insufficient_scope", scope="admin""#]);
    }
}

#[tokio::test]
async fn consecutive_pages_neither_overlap_nor_skip() {
    let app = App::start().await;
    for name in ["a", "b", "c", "d"] {
        app.advance_clock(Duration::from_millis(1));
        app.create(name, &["user"]).await;
    }
    let (mut seen, mut path) = (Vec::new(), "/admin/users?limit=2".to_owned());
    loop {
        let page = app.admin().get(&path).await.expect(200).json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|u| u["username"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("/admin/users?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["root", "a", "b", "c", "d"]);
    for query in ["limit=0", "limit=1001", "limit=x", "after=x", "unknown=1", "limit=1&limit=2"] {
        let answer = app.admin().get(&format!("/admin/users?{query}")).await.expect(422);
        assert_eq!(answer.problem(), "validation", "{query}");
    }
}

#[tokio::test]
async fn an_unknown_or_malformed_id_is_404() {
    let app = App::start().await;
    for id in ["01a209a4-5175-7d1f-96a9-8817ee5490a8", "1", "%00", "..%2f..%2fetc%2fpasswd", "%ff"] {
        assert_eq!(app.admin().get(&format!("/admin/users/{id}")).await.expect(404).problem(), "not-found");
    }
}

#[tokio::test]
async fn the_setup_token_creates_the_first_admin_once() {
    let token = "a-setup-token-of-the-tests";
    let app = App::on(Database::new().await, &["--setup-token", token]).await;
    let setup = app.with(bearer(token));
    let new = |name: &str, roles: &[&str]| json!({"username": name, "password": PASSWORD, "roles": roles});

    assert_eq!(
        app.with(bearer("another-token-of-the-tests"))
            .post("/admin/users", &new("eve", &["admin"]))
            .await
            .expect(401)
            .problem(),
        "invalid-token"
    );
    assert_eq!(setup.get("/admin/users").await.expect(401).problem(), "invalid-token");
    assert_eq!(setup.get("/me").await.expect(401).problem(), "invalid-token");
    let refused = setup.post("/admin/users", &new("sergio", &["user"])).await.expect(422);
    assert_eq!(refused.field_errors(), ["roles:admin-required"]);
    setup.post("/admin/users", &new("root", &["user", "admin"])).await.expect(201);
    assert_eq!(setup.post("/admin/users", &new("eve", &["admin"])).await.expect(401).problem(), "invalid-token");
    app.admin().get("/admin/users").await.expect(200);
}

#[tokio::test]
async fn of_ten_concurrent_uses_of_the_setup_token_one_creates_an_admin() {
    let token = "a-setup-token-of-the-tests";
    let app = App::on(Database::new().await, &["--setup-token", token]).await;
    let setup = app.with(bearer(token));
    let tries = (0..10).map(|i| {
        let body = json!({"username": format!("admin-{i}"), "password": PASSWORD, "roles": ["admin"]});
        let setup = &setup;
        async move { setup.post("/admin/users", &body).await.status.as_u16() }
    });
    let mut statuses = futures_util::future::join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![201], vec![401; 9]].concat());
}

#[tokio::test]
async fn of_ten_concurrent_creations_of_one_username_one_succeeds() {
    let app = App::start().await;
    let admin = app.admin();
    let tries = (0..10).map(|_| async {
        admin.post("/admin/users", &json!({"username": "one", "password": PASSWORD})).await.status.as_u16()
    });
    let mut statuses = futures_util::future::join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![201], vec![409; 9]].concat());
}

#[tokio::test]
async fn a_common_password_is_refused_and_my_password_is_not_one() {
    let app = App::start().await;
    let create = async |password: &str| {
        let body = json!({"username": "sergio.r", "password": password, "name": "Sérgio Rodríguez",
            "email": "sergio.rodriguez@example.com"});
        app.admin().post("/admin/users", &body).await
    };
    for (password, code) in [
        ("password", "common"),
        ("PASSWORD", "common"),
        ("P@ssw0rd", "common"),
        ("drowssap", "common"),
        ("12345678", "common"),
        ("qwertyuiop", "common"),
        ("aaaaaaaa", "common"),
        ("abcdefghijk", "common"),
        ("sunshine", "common"),
        ("19841224", "common"),
        ("Sergio.R", "own-name"),
        ("SE\u{301}RGIO RODRI\u{301}GUEZ", "own-name"),
        ("sergio.rodriguez@example.com", "own-name"),
        ("Sergio.Rodriguez", "own-name"),
        ("seven77", "too-short"),
    ] {
        let answer = create(password).await.expect(422);
        assert_eq!(answer.field_errors(), [format!("password:{code}")], "{password}");
    }
    create(PASSWORD).await.expect(201);
    let id = app.admin().get("/admin/users?q=sergio").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/admin/users/{id}/password");
    for (password, code) in [("password", "common"), ("Sergio.R", "own-name")] {
        let given = app.admin().request(Method::PUT, &path).json(&json!({"password": password}));
        let answer = crate::support::Answer::of(given).await.expect(422);
        assert_eq!(answer.field_errors(), [format!("password:{code}")]);
        let own = json!({"current_password": PASSWORD, "new_password": password});
        let answer = app.with(basic("sergio.r", PASSWORD)).post("/me/password", &own).await.expect(422);
        assert_eq!(answer.field_errors(), [format!("new_password:{code}")]);
    }
    for fine in ["correct horse battery staple", "my-password-2", "påskelilje-i-mai", &"x1y".repeat(300)] {
        let given = app.admin().request(Method::PUT, &path).json(&json!({"password": fine}));
        crate::support::Answer::of(given).await.expect(204);
    }
}

#[tokio::test]
async fn a_new_password_is_held_to_each_limit_of_the_policy() {
    let app = App::start().await;
    let mut number = 0;
    for (password, error) in [
        ("kV9#tq2", Some("too-short")),
        ("kV9#tq2x", None),
        // Characters count, and of bytes there is a most.
        ("éèêëàáâ", Some("too-short")),
        ("éèêëàáâä", None),
        (&"kV9#tq2x".repeat(128), None),
        (&("kV9#tq2x".repeat(128) + "y"), Some("too-long")),
        (&("é".repeat(512)), None),
        (&("é".repeat(512) + "y"), Some("too-long")),
        ("kV9#tq2x\u{7}", Some("malformed")),
        // A whole password that is a single pattern; longer ones are in no list.
        ("password", Some("common")),
        (&"a".repeat(32), Some("common")),
        (&"a".repeat(33), None),
        ("Ana Maria", Some("own-name")),
        ("ana.maria@example.com", Some("own-name")),
        ("ANA.MARIA", Some("own-name")),
        ("ana.maria@example", None),
    ] {
        number += 1;
        let username = format!("user-number-{number}");
        let body =
            json!({"username": username, "name": "Ana Maria", "email": "ana.maria@example.com", "password": password});
        let answer = app.admin().post("/admin/users", &body).await;
        match error {
            Some(code) => assert_eq!(answer.expect(422).field_errors(), [format!("password:{code}")], "{password}"),
            None => drop(answer.expect(201)),
        }
    }
    let body = json!({"username": "my-own-name", "password": "My-Own-Name"});
    assert_eq!(app.admin().post("/admin/users", &body).await.expect(422).field_errors(), ["password:own-name"]);
    let body = json!({"username": "another", "password": PASSWORD, "name": "my-password"});
    assert_eq!(app.admin().post("/admin/users", &body).await.expect(422).field_errors(), ["password:own-name"]);
    let app = App::start_with(&["--password-min-length", "11"]).await;
    let body = |password: &str| json!({"username": "ana", "password": password});
    app.admin().post("/admin/users", &body("kV9#tq2xYz")).await.expect(422);
    app.admin().post("/admin/users", &body("kV9#tq2xYz7")).await.expect(201);
}

#[tokio::test]
async fn only_an_administrator_uses_the_setup_token_up() {
    let import = async |app: &App, roles: &str| {
        let rows = format!(
            "username,roles,password_hash\nimported,{roles},pbkdf2_sha256$1000$somesalt$aqusDOCYp2m+J7gNDpSViXOWSnXnLj02rdU+gCrGf18=\n"
        );
        let rows = countersign::auth::Rows::read(countersign::model::Format::Csv, std::io::Cursor::new(rows)).unwrap();
        let import = countersign::auth::Import {
            actor: countersign::auth::Actor::Operator,
            conflict: countersign::model::Conflict::Skip,
            invite: countersign::auth::Invite::Nobody,
            dry_run: false,
        };
        assert_eq!(app.service.auth().import(import, rows, |_| Ok(())).await.unwrap().created, 1);
    };
    let root = json!({"username": "root", "password": PASSWORD, "roles": ["user", "admin"]});
    for (roles, status) in [("user", 201), ("user admin", 401)] {
        let app = App::on(Database::new().await, &["--setup-token", "setup-token-of-the-test"]).await;
        app.create("ana", &["user"]).await;
        import(&app, roles).await;
        let unused = "SELECT CAST(COUNT(*) AS TEXT) FROM one_time_secrets WHERE purpose = 'setup' AND used_at IS NULL";
        assert_eq!(app.database.text(unused).await, if status == 201 { "1" } else { "0" }, "{roles}");
        app.with(bearer("setup-token-of-the-test")).post("/admin/users", &root).await.expect(status);
    }
}

#[tokio::test]
async fn a_name_is_composed_however_it_was_typed() {
    let app = App::start().await;
    let ana = app.user("ana").await;
    for (typed, kept) in [("Zoe\u{308}", "Zo\u{eb}"), ("\u{41}\u{30a}sa", "\u{c5}sa")] {
        assert_eq!(ana.patch("/me", &json!({"name": typed})).await.expect(200).json()["name"], kept);
        let username = if kept.starts_with('Z') { "zoe" } else { "asa" };
        let body = json!({"username": username, "name": typed, "password": PASSWORD});
        assert_eq!(app.admin().post("/admin/users", &body).await.expect(201).json()["name"], kept);
    }
    let all = app.admin().get("/admin/users?q=").await.expect(200).json();
    assert_eq!(all["items"].as_array().unwrap().len(), 4, "an empty search finds everybody: {all}");
}
