//! `/admin/import` and `/admin/export`: files of users, with password hashes of other software.

use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, App, Database, PASSWORD, basic, python_with};

/// A cheap hash of `my-password` by Werkzeug.
const WERKZEUG: &str =
    "pbkdf2:sha256:1000$nxUst4XxMQKHyBQn$5541388282ca1fbab072b9221045fe7ffbb283f7553557764e512b855286be80";
/// A cheap hash of `my-password` by Django.
const DJANGO: &str = "pbkdf2_sha256$1000$somesalt$aqusDOCYp2m+J7gNDpSViXOWSnXnLj02rdU+gCrGf18=";

async fn import(app: &App, query: &str, media_type: &str, body: impl Into<String>) -> Answer {
    let request = app.admin().request(Method::POST, &format!("/admin/import{query}"));
    Answer::of(request.header("content-type", media_type).body(body.into())).await
}

/// The outcomes of the rows, and the summary.
fn outcomes(answer: &Answer) -> (Vec<String>, Value) {
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let mut lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap()["summary"].clone();
    let rows = lines.iter().map(|row| {
        let errors = row["errors"].as_array().cloned().unwrap_or_default();
        let errors =
            errors.iter().map(|e| format!(" {}:{}", e["field"].as_str().unwrap(), e["code"].as_str().unwrap()));
        let username = row["username"].as_str().unwrap_or("-");
        format!("{} {username} {}{}", row["line"], row["outcome"].as_str().unwrap(), errors.collect::<String>())
    });
    (rows.collect(), summary)
}

async fn csv(app: &App, query: &str, body: &str) -> (Vec<String>, Value) {
    outcomes(&import(app, query, "text/csv", body).await.expect(200))
}

async fn ndjson(app: &App, query: &str, rows: &[Value]) -> (Vec<String>, Value) {
    let body: String = rows.iter().map(|row| format!("{row}\n")).collect();
    outcomes(&import(app, query, "application/x-ndjson", body).await.expect(200))
}

async fn stored_hash(app: &App, username: &str) -> String {
    app.database.text(&format!("SELECT password_hash FROM users WHERE username = '{username}'")).await
}

#[tokio::test]
async fn users_imported_from_csv_log_in_with_their_old_passwords() {
    let app = App::start().await;
    let body = format!(
        "username,name,email,roles,status,must_change_password,password_hash,created_at,last_login_at\r\n\
         Sergio,Sergio R.,s@example.com,editor user,active,false,{WERKZEUG},2024-05-06T07:08:09Z,2025-01-01T00:00:00Z\r\n\
         \"zoë\",\"Zoë, \"\"the\"\" one\",,,,,{DJANGO},,\r\n\
         gone,,,,disabled,,{DJANGO},,\r\n\
         soon,,,,,true,{DJANGO},,\r\n"
    );
    let (rows, summary) = csv(&app, "", &body).await;
    assert_eq!(rows, ["2 sergio created", "3 zoë created", "4 gone created", "5 soon created"]);
    assert_eq!(
        summary,
        json!({"rows": 4, "created": 4, "updated": 0, "unchanged": 0, "skipped": 0, "failed": 0, "dry_run": false, "stopped": null})
    );
    let user = app.admin().get("/admin/users?q=sergio").await.json()["items"][0].clone();
    for (field, value) in [
        ("name", json!("Sergio R.")),
        ("email", json!("s@example.com")),
        ("roles", json!(["editor", "user"])),
        ("created_at", json!("2024-05-06T07:08:09.000Z")),
        ("last_login_at", json!("2025-01-01T00:00:00.000Z")),
    ] {
        assert_eq!(user[field], value, "{field}");
    }
    assert_eq!(stored_hash(&app, "sergio").await, WERKZEUG);
    assert_eq!(app.login("sergio").await["user"]["id"], user["id"]);
    assert!(stored_hash(&app, "sergio").await.starts_with("$argon2id$"), "the first login replaced it");
    app.login("sergio").await;
    app.with(basic("sergio", "wrong-password")).get("/me").await.expect(401);
    let zoe = app.with(basic("zoë", PASSWORD)).get("/me").await.expect(200).json();
    assert_eq!((&zoe["user"]["name"], &zoe["user"]["roles"]), (&json!("Zoë, \"the\" one"), &json!(["user"])));
    app.with(basic("gone", PASSWORD)).get("/me").await.expect(401);
    assert_eq!(app.with(basic("soon", PASSWORD)).get("/me").await.expect(403).problem(), "password-change-required");
}

#[tokio::test]
async fn an_invalid_row_is_reported_with_its_line_and_the_others_are_imported() {
    let app = App::start().await;
    let id = "01a209a4-5175-7d1f-96a9-8817ee5490a8";
    let rows = [
        json!({"username": "good", "password_hash": DJANGO, "id": id, "roles": ["user"], "name": null}),
        json!({"username": "a:canary", "password_hash": DJANGO}),
        json!({"username": "x1", "password_hash": "canary"}),
        json!({"username": "x2"}),
        json!({"username": "x3", "password_hash": DJANGO, "email": "canary", "roles": ["Canary"]}),
        json!({"username": "x4", "password_hash": DJANGO, "password": "canary"}),
        json!({"password_hash": DJANGO}),
        json!(["x5", DJANGO]),
        json!({"username": "x6", "password_hash": DJANGO, "id": id}),
        json!({"username": "x7", "password_hash": DJANGO, "id": "0a0a0a0a-5175-4d1f-96a9-8817ee5490a8"}),
        json!({"username": "x8", "password_hash": DJANGO, "created_at": "canary"}),
        json!({"username": "x9", "password_hash": DJANGO, "must_change_password": "canary"}),
        json!({"username": "GOOD", "password_hash": DJANGO}),
        json!({"username": "last", "password_hash": DJANGO, "roles": "editor user"}),
    ];
    let body: String = rows.iter().map(|row| format!("{row}\n")).collect::<String>() + "\n{\"username\": canary}\n";
    let answer = import(&app, "", "application/x-ndjson", body).await.expect(200);
    assert!(!answer.text.to_lowercase().contains("canary"), "{}", answer.text);
    let (rows, summary) = outcomes(&answer);
    assert_eq!(
        rows,
        [
            "1 good created",
            "2 - failed username:malformed",
            "3 x1 failed password_hash:malformed",
            "4 x2 failed password_hash:required",
            "5 x3 failed email:malformed roles:malformed",
            "6 - failed password:unknown",
            "7 - failed username:required",
            "8 - failed :malformed",
            "9 x6 failed id:taken",
            "10 x7 failed id:malformed",
            "11 - failed created_at:malformed",
            "12 - failed must_change_password:malformed",
            "13 good skipped",
            "14 last created",
            "16 - failed :malformed",
        ]
    );
    assert_eq!((&summary["created"], &summary["skipped"], &summary["failed"]), (&json!(2), &json!(1), &json!(12)));
    assert_eq!(app.with(basic("good", PASSWORD)).get("/me").await.json()["user"]["id"], id);
    assert_eq!(app.with(basic("last", PASSWORD)).get("/me").await.json()["user"]["roles"], json!(["editor", "user"]));

    let body = format!("username,password_hash\na,{DJANGO},more\nb\n\"c\",{DJANGO}\n");
    let (rows, _) = csv(&app, "", &body).await;
    assert_eq!(rows, ["2 - failed :malformed", "3 - failed :malformed", "4 c created"]);
}

#[tokio::test]
async fn an_unreadable_file_is_refused_before_any_row() {
    let app = App::start().await;
    for (media_type, body, error) in [
        ("text/csv", "username,password\na,b\n", "header:unknown"),
        ("text/csv", "username,username\n", "username:duplicate"),
        ("text/csv", "name,password_hash\n", "username:required"),
        ("text/csv", "", "username:required"),
        ("text/csv", &format!("username,password_hash\n\"a,{}", "x\n".repeat(50_000)), ":too-long"),
        ("application/x-ndjson", &"x".repeat(100_000), ":too-long"),
    ] {
        let answer = import(&app, "", media_type, body).await.expect(422);
        assert_eq!(answer.field_errors(), [error], "{body:.40}");
    }
    for (media_type, status) in [("application/json", 415), ("", 415), ("text/csv; charset=utf-8", 422)] {
        import(&app, "", media_type, "x\n").await.expect(status);
    }
    assert_eq!(import(&app, "?conflict=skip", "text/csv", "").await.expect(422).field_errors(), ["conflict:unknown"]);
    assert_eq!(
        import(&app, "?on_conflict=no", "text/csv", "").await.expect(422).field_errors(),
        ["on_conflict:malformed"]
    );
    assert_eq!(app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM users").await, "1");
}

#[tokio::test]
async fn taken_usernames_are_skipped_updated_or_stop_the_import_as_requested() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let (opaque, _) = app.tokens("sergio").await;
    let row = json!({"username": "Sergio", "name": "S", "roles": ["editor"], "password_hash": DJANGO});
    let new = json!({"username": "new", "password_hash": DJANGO});

    assert_eq!(ndjson(&app, "", std::slice::from_ref(&row)).await.0, ["1 sergio skipped"]);
    app.with(&opaque).get("/me").await.expect(200);

    let (rows, summary) = ndjson(&app, "?on_conflict=fail", &[new.clone(), row.clone(), new.clone()]).await;
    assert_eq!(rows, ["2 sergio failed username:taken"]);
    assert_eq!(
        (&summary["stopped"]["line"], &summary["created"]),
        (&json!(2), &json!(0)),
        "a whole batch or none of it"
    );
    assert_eq!(app.admin().get("/admin/users?q=new").await.json()["items"], json!([]));

    let (rows, _) = ndjson(&app, "?on_conflict=update", &[new.clone(), row.clone(), new.clone()]).await;
    assert_eq!(rows, ["1 new created", "2 sergio updated", "3 new unchanged"]);
    let user = app.admin().get(&format!("/admin/users/{id}")).await.json();
    assert_eq!((&user["name"], &user["roles"], &user["email"]), (&json!("S"), &json!(["editor"]), &Value::Null));
    app.with(&opaque).get("/me").await.expect(401);
    assert_eq!(stored_hash(&app, "sergio").await, DJANGO);
    assert_eq!(ndjson(&app, "?on_conflict=update", std::slice::from_ref(&row)).await.0, ["1 sergio unchanged"]);
    let other = json!({"username": "sergio", "id": "01a209a4-5175-7d1f-96a9-8817ee5490a8"});
    assert_eq!(ndjson(&app, "?on_conflict=update", &[other]).await.0, ["1 sergio failed id:not-allowed"]);
    let must = json!({"username": "sergio", "must_change_password": true});
    assert_eq!(ndjson(&app, "?on_conflict=update", &[must]).await.0, ["1 sergio updated"]);
    assert_eq!(app.with(basic("sergio", PASSWORD)).get("/me").await.expect(403).problem(), "password-change-required");
    let disable = json!({"username": "sergio", "status": "disabled"});
    assert_eq!(ndjson(&app, "?on_conflict=update", &[disable]).await.0, ["1 sergio updated"]);
    app.with(basic("sergio", PASSWORD)).get("/me").await.expect(401);
}

#[tokio::test]
async fn a_row_that_fails_does_not_take_its_name_from_a_later_one() {
    let app = App::start().await;
    let (without, with) = (json!({"username": "sergio"}), json!({"username": "sergio", "password_hash": DJANGO}));
    let (rows, _) = ndjson(&app, "", &[without, with.clone(), with]).await;
    assert_eq!(rows, ["1 sergio failed password_hash:required", "2 sergio created", "3 sergio skipped"]);
    let id = "01a209a4-5175-7d1f-96a9-8817ee5490a8";
    let (without, with) =
        (json!({"username": "zoe", "id": id}), json!({"username": "zoe", "id": id, "password_hash": DJANGO}));
    let (rows, _) = ndjson(&app, "", &[without, with]).await;
    assert_eq!(rows, ["1 zoe failed password_hash:required", "2 zoe created"]);
}

#[tokio::test]
async fn a_repeated_import_matches_rows_by_username_and_id() {
    let app = App::start().await;
    let row = |name: &str, end: &str| json!({"username": name, "id": format!("01a209a4-5175-7d1f-96a9-8817ee5490{end}"), "password_hash": DJANGO});
    let rows = [row("one", "01"), row("two", "02")];
    assert_eq!(ndjson(&app, "", &rows).await.0, ["1 one created", "2 two created"]);
    let again = [row("one", "01"), row("three", "02"), row("two", "03"), row("four", "04"), row("five", "04")];
    let failed = ["2 three failed id:taken", "5 five failed id:taken"];
    assert_eq!(
        ndjson(&app, "", &again).await.0,
        ["1 one skipped", failed[0], "3 two skipped", "4 four created", failed[1]]
    );
    assert_eq!(
        ndjson(&app, "?on_conflict=update", &again).await.0,
        ["1 one unchanged", failed[0], "3 two failed id:not-allowed", "4 four unchanged", failed[1]]
    );
}

#[tokio::test]
async fn an_import_never_removes_the_last_admin() {
    let app = App::start().await;
    let demote = json!({"username": "root", "roles": ["user"]});
    let disable = json!({"username": "root", "status": "disabled"});
    let (rows, _) = ndjson(&app, "?on_conflict=update", &[demote.clone(), disable]).await;
    assert_eq!(rows, ["1 root failed roles:last-admin", "2 root failed roles:last-admin"]);
    let other = json!({"username": "other", "roles": ["admin"], "password_hash": DJANGO});
    let back = json!({"username": "other", "roles": ["user"]});
    let (rows, _) = ndjson(&app, "?on_conflict=update", &[other, demote, back]).await;
    assert_eq!(rows, ["1 other created", "2 root updated", "3 other failed roles:last-admin"]);
    app.with(basic("other", PASSWORD)).get("/admin/users").await.expect(200);

    // One who is in the file and stays an administrator counts for those that come after.
    let app = App::start().await;
    let other = json!({"username": "other", "roles": ["admin"], "password_hash": DJANGO});
    let stays = json!({"username": "other", "name": "The Other"});
    let goes = json!({"username": "root", "status": "disabled"});
    let (rows, _) = ndjson(&app, "?on_conflict=update", &[other, stays, goes]).await;
    assert_eq!(rows, ["1 other created", "2 other updated", "3 root updated"]);
}

#[tokio::test]
async fn a_dry_run_reports_the_same_and_writes_nothing() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    // More than one batch: the second has rows that conflict with users of the first.
    let mut rows: Vec<Value> =
        (0..5001).map(|i| json!({"username": format!("u{i}"), "password_hash": DJANGO})).collect();
    rows.push(json!({"username": "u7", "password_hash": DJANGO}));
    rows.push(json!({"username": "sergio", "name": "S"}));
    rows.push(json!({"username": "bad"}));
    for query in ["?on_conflict=skip", "?on_conflict=update"] {
        let before = app.database.text("SELECT CAST(seq AS TEXT) FROM audit_head").await;
        let (dry, mut dry_summary) = ndjson(&app, &format!("{query}&dry_run=true"), &rows).await;
        assert_eq!(app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM users").await, "2");
        assert_eq!(app.database.text("SELECT CAST(seq AS TEXT) FROM audit_head").await, before);
        let (real, summary) = ndjson(&app, query, &rows).await;
        dry_summary["dry_run"] = json!(false);
        if query.ends_with("skip") {
            assert_eq!((dry, dry_summary), (real, summary));
        } else {
            assert_eq!(dry.len(), real.len());
            assert_eq!(dry_summary["created"], json!(5001));
        }
        app.database.sql("DELETE FROM users WHERE username LIKE 'u%'").await;
    }
}

#[tokio::test]
async fn an_export_imports_without_loss() {
    let app = App::start().await;
    let rows = format!(
        "username,name,email,roles,status,must_change_password,password_hash,last_login_at\n\
         sergio,\"S, \"\"x\"\"\",s@example.com,editor user,active,true,{WERKZEUG},2025-01-01T00:00:00.123Z\n\
         gone,,,,disabled,,{DJANGO},\n"
    );
    csv(&app, "", &rows).await;
    for (format, media_type) in [("csv", "text/csv"), ("ndjson", "application/x-ndjson")] {
        let exported = app.admin().get(&format!("/admin/export?format={format}")).await.expect(200);
        assert_eq!(exported.header("content-type"), media_type);
        assert_eq!(exported.header("cache-control"), "no-store");
        let other = App::on(Database::new().await, &[]).await;
        other.create("other", &["admin"]).await;
        let request = other.with(basic("other", PASSWORD)).request(Method::POST, "/admin/import");
        let request = request.header("content-type", media_type).body(exported.text.clone());
        let (rows, _) = outcomes(&Answer::of(request).await.expect(200));
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row.ends_with(" created")), "{rows:?}");
        other.with(basic("root", PASSWORD)).get("/admin/users").await.expect(200);
        let again = other.with(basic("root", PASSWORD)).get(&format!("/admin/export?format={format}")).await.text;
        // The admins have logged in, which upgraded their hashes. All other lines are equal.
        let lines = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.contains("admin")).map(ToOwned::to_owned).collect()
        };
        assert_eq!(lines(&exported.text), lines(&again));
    }
    let ndjson = app.admin().get("/admin/export").await.text;
    let user: Value = serde_json::from_str(ndjson.lines().find(|line| line.contains("sergio")).unwrap()).unwrap();
    assert_eq!((&user["password_hash"], &user["must_change_password"]), (&json!(WERKZEUG), &json!(true)));
    assert_eq!(user["last_login_at"], "2025-01-01T00:00:00.123Z");
    let record = app.admin().get("/admin/audit?limit=1&event=user.exported").await.json()["items"][0].clone();
    assert_eq!((&record["method"], &record["address"]), (&json!("basic"), &json!("127.0.0.1")));
    let record = app.admin().get("/admin/audit?limit=1&event=user.imported").await.json()["items"][0].clone();
    assert_eq!(record["target"], "2 users, lines 2 to 3");
}

/// The libraries create the hashes during the test, and the users log in with them.
#[tokio::test]
async fn users_log_in_with_hashes_of_werkzeug_django_passlib_and_bcrypt() {
    let Some(python) = python_with("werkzeug, django, passlib, bcrypt, argon2") else { return };
    let script = r#"
import sys, bcrypt
from django.conf import settings
settings.configure()
from django.contrib.auth import hashers
from passlib.hash import argon2, pbkdf2_sha256, pbkdf2_sha512, scrypt
from werkzeug.security import generate_password_hash

password = sys.argv[1]

def django(name, **cheap):
    hasher = getattr(hashers, name + "PasswordHasher")()
    for what, value in cheap.items():
        setattr(hasher, what, value)
    return hasher.encode(password, hasher.salt())

print(generate_password_hash(password))
print(generate_password_hash(password, "scrypt:1024:8:1"))
print(generate_password_hash(password, "pbkdf2:sha256:1000"))
print(django("PBKDF2", iterations=1000))
print(django("Argon2", memory_cost=64))
print(django("BCryptSHA256", rounds=4))
print(django("Scrypt", work_factor=1024))
print(pbkdf2_sha256.using(rounds=1000).hash(password))
print(pbkdf2_sha512.using(rounds=1000).hash(password))
print(scrypt.using(rounds=10).hash(password))
print(argon2.using(type="ID", memory_cost=64, time_cost=1).hash(password))
print(argon2.using(type="D", memory_cost=64, time_cost=1).hash(password))
for prefix in b"2a", b"2b":
    print(bcrypt.hashpw(password.encode(), bcrypt.gensalt(4, prefix)).decode())
print(bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$"))
"#;
    let password = "pässword, with: more";
    let made = Command::new(python).args(["-c", script, password]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let hashes: Vec<_> = String::from_utf8(made.stdout).unwrap().lines().map(ToOwned::to_owned).collect();
    assert_eq!(hashes.len(), 15);
    let app = App::start_with(&["--limit-burst", "off"]).await;
    let rows: Vec<Value> = hashes
        .iter()
        .enumerate()
        .map(|(i, hash)| json!({"username": format!("u{i}"), "password_hash": hash}))
        .collect();
    let (_, summary) = ndjson(&app, "", &rows).await;
    assert_eq!(summary["created"], 15);
    for (i, hash) in hashes.iter().enumerate() {
        let username = format!("u{i}");
        let login = async |password: &str| {
            app.anon().post("/login", &json!({"username": username, "password": password})).await.status.as_u16()
        };
        assert_eq!(login("pässword, with: mor").await, 401, "{hash}");
        assert_eq!(login(password).await, 200, "{hash}");
        assert!(stored_hash(&app, &username).await.starts_with("$argon2id$v=19$"), "{hash}");
        assert_eq!(login(password).await, 200, "{hash}");
        assert_eq!(login("pässword, with: mor").await, 401, "{hash}");
    }
}

#[tokio::test]
async fn while_slower_hashes_exist_an_unknown_name_is_refused_no_sooner() {
    let app = App::start().await;
    let dear = "pbkdf2_sha256$1000000$somesalt$aqusDOCYp2m+J7gNDpSViXOWSnXnLj02rdU+gCrGf18=";
    ndjson(&app, "", &[json!({"username": "dear", "password_hash": dear})]).await;
    app.service.auth().refresh_known_costs().await.unwrap();
    let took = async |username: &str| {
        let begun = std::time::Instant::now();
        app.with(basic(username, "wrong-password")).get("/me").await.expect(401);
        begun.elapsed()
    };
    // The hash alone, without the service.
    let begun = std::time::Instant::now();
    let mut output = [0; 32];
    let iterations = std::num::NonZeroU32::new(1_000_000).unwrap();
    aws_lc_rs::pbkdf2::derive(aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256, iterations, b"somesalt", b"x", &mut output);
    let least = begun.elapsed() / 2;
    for username in ["nobody", "dear", "root", "a:b"] {
        assert!(took(username).await > least, "{username}");
    }
}

#[tokio::test]
async fn a_hash_that_costs_too_much_to_check_fails_its_row() {
    let dear = "$2b$15$abcdefghijklmnopqrstuuHPRv8G5VEJxpq4RZQXyZQ0N.b3E1C3K";
    let usual = "$2b$12$abcdefghijklmnopqrstuuHPRv8G5VEJxpq4RZQXyZQ0N.b3E1C3K";
    let body = format!("username,password_hash\nseldom,{dear}\nusual,{usual}\n");
    let app = App::start().await;
    let rows = csv(&app, "", &body).await.0;
    assert_eq!(rows, ["2 seldom failed password_hash:too-expensive", "3 usual created"]);
    let app = App::start_with(&["--import-max-cost", "200"]).await;
    assert_eq!(csv(&app, "", &body).await.0, ["2 seldom created", "3 usual created"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_row_is_said_with_its_line_whatever_ends_a_line() {
    let app = App::start().await;
    let rows = |end: &str| {
        let row = |text: &str| format!("{text}{end}").into_bytes();
        let good = |name: &str| row(&format!("{name},{DJANGO},"));
        let with_bytes = [b"no-text-\xff".as_slice(), &row(&format!(",{DJANGO},"))].concat();
        let long = row(&format!("{},{DJANGO},", "x".repeat(40_000)));
        let header = row("username,password_hash,must_change_password");
        [header, good("one"), row("too,few"), with_bytes, row(&format!("two,{DJANGO},perhaps")), long, good("three")]
            .concat()
    };
    for (end, outcome) in [("\n", "created"), ("\r\n", "skipped")] {
        let request = app.admin().request(Method::POST, "/admin/import").header("content-type", "text/csv");
        let answer = Answer::of(request.body(rows(end))).await.expect(200);
        assert_eq!(
            outcomes(&answer).0,
            [
                format!("2 one {outcome}"),
                "3 - failed :malformed".to_owned(),
                "4 - failed :malformed".to_owned(),
                "5 - failed must_change_password:malformed".to_owned(),
                "6 - failed username:too-long".to_owned(),
                format!("7 three {outcome}"),
            ]
        );
    }
}

#[tokio::test]
async fn what_was_read_before_an_unreadable_row_is_imported() {
    let app = App::start().await;
    let rows: String =
        ["one", "two"].map(|name| format!("{}\n", json!({"username": name, "password_hash": DJANGO}))).concat();
    let answer = import(&app, "", "application/x-ndjson", rows + &"x".repeat(100_000)).await.expect(200);
    let (rows, summary) = outcomes(&answer);
    assert_eq!(rows, ["1 one created", "2 two created"]);
    assert_eq!((&summary["stopped"]["line"], &summary["created"]), (&json!(3), &json!(2)), "{summary}");
    app.with(basic("two", PASSWORD)).get("/me").await.expect(200);
    let events = app.admin().get("/admin/audit?event=link.created").await.expect(200).json();
    assert_eq!(events["items"], json!([]), "nobody was invited");
}

#[tokio::test]
async fn an_update_keeps_what_follows_from_a_change_elsewhere() {
    let app = App::start().await;
    for name in ["ana", "ben", "cid"] {
        app.create(name, &["user"]).await;
    }
    let update = async |rows: &[Value]| ndjson(&app, "?on_conflict=update", rows).await.0;
    let user = async |name: &str| app.admin().get(&format!("/admin/users?q={name}")).await.json()["items"][0].clone();
    // An address is verified for one user.
    let address = |name: &str| json!({"username": name, "email": "a@example.com", "email_verified": true});
    assert_eq!(update(&[address("ana"), address("ben")]).await, ["1 ana updated", "2 ben updated"]);
    assert_eq!(
        (&user("ana").await["email_verified"], &user("ben").await["email_verified"]),
        (&json!(true), &json!(false))
    );
    let unverified = json!({"username": "ana", "email_verified": false});
    assert_eq!(update(&[unverified.clone(), unverified]).await, ["1 ana updated", "2 ana unchanged"]);
    assert_eq!(user("ana").await["email_verified"], false);
    // The trail says what was changed.
    let must = json!({"username": "cid", "must_change_password": true});
    let hash = json!({"username": "cid", "must_change_password": false, "password_hash": DJANGO});
    assert_eq!(update(&[must.clone(), must, hash]).await, ["1 cid updated", "2 cid unchanged", "3 cid updated"]);
    let id = user("cid").await["id"].as_str().unwrap().to_owned();
    let page = app.admin().get(&format!("/admin/audit?user={id}&event=user.changed")).await.expect(200).json();
    let details: Vec<_> = page["items"].as_array().unwrap().iter().map(|row| row["detail"].clone()).collect();
    assert_eq!(details, [json!("must_change_password")], "{page}");
    app.with(basic("cid", PASSWORD)).get("/me").await.expect(200);
}

#[tokio::test]
async fn whoever_has_no_password_yet_is_no_administrator_who_remains() {
    let app = App::start().await;
    let invite = json!({"username": "ana", "invite": true});
    app.admin().post("/admin/users", &invite).await.expect(201);
    app.create("ben", &["user"]).await;
    let update = async |rows: &[Value]| ndjson(&app, "?on_conflict=update&dry_run=true", rows).await.0;
    let admin = |name: &str| json!({"username": name, "roles": ["admin"]});
    let demote = json!({"username": "root", "roles": ["user"]});
    assert_eq!(update(&[admin("ana"), demote.clone()]).await, ["1 ana updated", "2 root failed roles:last-admin"]);
    assert_eq!(update(&[admin("ben"), demote.clone()]).await, ["1 ben updated", "2 root updated"]);
    let with_hash = json!({"username": "ana", "roles": ["admin"], "password_hash": DJANGO});
    assert_eq!(update(&[with_hash, demote.clone()]).await, ["1 ana updated", "2 root updated"]);
    let disabled = json!({"username": "ben", "roles": ["admin"], "status": "disabled"});
    assert_eq!(update(&[disabled, demote]).await, ["1 ben updated", "2 root failed roles:last-admin"]);
}
