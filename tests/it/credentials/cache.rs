//! The credential cache: a revoked credential is refused by the next request, although it was cached.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::support::{Answer, App, Binary, Database, PASSWORD, basic, bearer, on_postgres};

/// Creates a user with the role `user`. Returns one credential of each kind.
async fn credentials(app: &App, username: &str) -> [String; 4] {
    app.create(username, &["user"]).await;
    let (opaque, jwt) = app.tokens(username).await;
    let personal = app.personal_token(username, &json!({"name": "x"})).await;
    [basic(username, PASSWORD), opaque, jwt, personal]
}

async fn expect_each(app: &App, credentials: &[String], status: u16) {
    for credential in credentials {
        // Twice: the first check reads the database, the second the cache.
        app.with(credential).get("/me").await.expect(status);
        app.with(credential).get("/me").await.expect(status);
    }
}

#[tokio::test]
async fn a_cached_password_is_not_hashed_again_until_it_changes() {
    let app = App::start_with(&["--argon2-iterations", "16384"]).await;
    let sergio = app.user("sergio").await;
    let begun = Instant::now();
    sergio.get("/me").await.expect(200);
    let hashed = begun.elapsed();
    let begun = Instant::now();
    for name in ["Sergio R.", "Sergio", "S."] {
        // Each of these changes makes the cache read the row again.
        sergio.patch("/me", &json!({"name": name})).await.expect(200);
        assert_eq!(sergio.get("/me").await.expect(200).json()["user"]["name"], name);
    }
    assert!(begun.elapsed() < 3 * hashed, "{:?} and {hashed:?}", begun.elapsed());
}

#[tokio::test]
async fn an_admins_change_of_a_user_applies_to_the_next_request_of_each_credential() {
    let app = App::start().await;
    let all = credentials(&app, "sergio").await;
    expect_each(&app, &all, 200).await;
    let id = app.admin().get("/admin/users?q=sergio").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/admin/users/{id}");
    let of_me = async |pointer: &str, wanted: Value| {
        for credential in &all {
            let me = app.with(credential).get("/me").await.expect(200).json();
            assert_eq!(me.pointer(pointer), Some(&wanted));
        }
    };
    app.admin().patch(&path, &json!({"name": "Sergio R."})).await.expect(200);
    of_me("/user/name", json!("Sergio R.")).await;
    app.admin().patch(&path, &json!({"email": "s@example.com"})).await.expect(200);
    of_me("/user/email", json!("s@example.com")).await;
    app.admin().patch(&path, &json!({"roles": ["editor", "user"]})).await.expect(200);
    of_me("/user/roles", json!(["editor", "user"])).await;
    app.admin().patch(&path, &json!({"roles": ["editor"]})).await.expect(200);
    expect_each(&app, &all, 403).await;
    app.admin().patch(&path, &json!({"status": "disabled"})).await.expect(200);
    expect_each(&app, &all, 401).await;
}

#[tokio::test]
async fn each_way_to_end_a_credential_applies_to_the_next_request() {
    let app = App::start().await;
    let ends: [(&str, [u16; 4]); 7] = [
        ("logout", [200, 401, 401, 200]),
        ("all sessions", [200, 401, 401, 200]),
        ("revoke", [200, 200, 200, 401]),
        ("set password", [401, 401, 401, 401]),
        ("change password", [401, 401, 401, 401]),
        ("delete", [401, 401, 401, 401]),
        ("rotate", [200, 401, 200, 200]),
    ];
    for (i, (way, statuses)) in ends.into_iter().enumerate() {
        let name = format!("user-{i}");
        let all = credentials(&app, &name).await;
        let [by_basic, opaque, _, personal] = &all;
        expect_each(&app, &all, 200).await;
        let id = app.with(by_basic).get("/me").await.json()["user"]["id"].as_str().unwrap().to_owned();
        let user = format!("/admin/users/{id}");
        match way {
            "logout" => app.with(opaque).send(Method::POST, "/logout").await.expect(204),
            "all sessions" => app.with(by_basic).send(Method::DELETE, "/me/sessions").await.expect(204),
            "revoke" => {
                let body = [("token", personal.strip_prefix("Bearer ").unwrap())];
                Answer::of(app.with(personal).request(Method::POST, "/oauth/revoke").form(&body)).await.expect(200)
            }
            "set password" => {
                let body = json!({"password": "another-password"});
                Answer::of(app.admin().request(Method::PUT, &format!("{user}/password")).json(&body)).await.expect(204)
            }
            "change password" => {
                let body = json!({"current_password": PASSWORD, "new_password": "another-password"});
                app.with(by_basic).post("/me/password", &body).await.expect(204)
            }
            "delete" => app.admin().send(Method::DELETE, &user).await.expect(204),
            _ => app.with(opaque).send(Method::POST, "/refresh?rotate=true").await.expect(200),
        };
        // The rotated token last: its reuse ends the session.
        for at in [0, 2, 3, 1] {
            let answer = app.with(&all[at]).get("/me").await;
            assert_eq!(answer.status.as_u16(), statuses[at], "{way}: {at}");
        }
    }
}

#[tokio::test]
async fn a_cache_entry_expires_with_its_credential() {
    let app = App::start_with(&["--jwt-ttl", "1m", "--token-ttl", "2m"]).await;
    app.create("sergio", &["user"]).await;
    let (opaque, jwt) = app.tokens("sergio").await;
    let personal = app.personal_token("sergio", &json!({"name": "x", "expires_in": 180})).await;
    let all = [jwt, opaque, personal];
    for past in 0..=3 {
        for (i, credential) in all.iter().enumerate() {
            let status = if i < past { 401 } else { 200 };
            app.with(credential).get("/me").await.expect(status);
        }
        app.advance_clock(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_does_not_evict_the_cached_one() {
    let app = App::start().await;
    let sergio = app.user("sergio").await;
    for _ in 0..2 {
        sergio.get("/me").await.expect(200);
        app.with(basic("sergio", "wrong-password")).get("/me").await.expect(401);
        app.with(basic("other", PASSWORD)).get("/me").await.expect(401);
    }
}

/// Each token is revoked while other tasks use it. Requests that begin after the acknowledgement are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_ends_during_use_is_refused_from_then_on() {
    const USERS: usize = 8;
    // `COUNTERSIGN_TEST_REPEATS` asks for ten thousand, which takes some minutes.
    let times = if std::env::var_os("COUNTERSIGN_TEST_REPEATS").is_some() { 10_000 } else { 400 };
    let app = App::start_with(&["--sessions-per-user", "1000"]).await;
    let auth = app.service.auth();
    let origin = countersign::model::Origin { address: [127, 0, 0, 1].into(), request_id: uuid::Uuid::nil() };
    let client = countersign::model::Client { origin, user_agent: None };
    let rounds = times / USERS;
    let each = (0..USERS).map(|i| {
        let (auth, client, app) = (auth.clone(), client.clone(), &app);
        async move {
            let name = format!("user-{i}");
            app.create(&name, &["user"]).await;
            tokio::spawn(async move {
                for round in 0..rounds {
                    let login = auth.login(&name, &PASSWORD.into(), client.clone()).await.unwrap();
                    let countersign::auth::LoginOutcome::Session(login) = login else {
                        panic!("another step is needed")
                    };
                    let header = match round % 2 {
                        0 => bearer(&login.opaque.reveal()),
                        _ => bearer(&login.jwt.token),
                    };
                    let principal = auth.authenticate(header.as_bytes(), origin).await.unwrap();
                    let users: Vec<_> = (0..3)
                        .map(|_| {
                            let (auth, header) = (auth.clone(), header.clone());
                            tokio::spawn(async move {
                                while auth.authenticate(header.as_bytes(), origin).await.is_ok() {
                                    tokio::task::yield_now().await;
                                }
                            })
                        })
                        .collect();
                    let actor = countersign::auth::Actor::caller(&principal, origin, principal.grant(None, None));
                    auth.logout(&principal, actor).await.unwrap();
                    assert!(auth.authenticate(header.as_bytes(), origin).await.is_err(), "{name}, {round}");
                    for user in users {
                        user.await.unwrap();
                    }
                    assert!(auth.authenticate(header.as_bytes(), origin).await.is_err(), "{name}, {round}");
                }
            })
            .await
            .unwrap();
        }
    });
    join_all(each).await;
}

/// Two processes share a database: one revokes, and the other has to notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_by_another_process_applies_within_250_ms_or_one_second_with_postgresql() {
    let database = Database::new().await;
    let server = || {
        Binary::new(database.folder.path())
            .env("DATABASE_URL", &database.url)
            .env("COUNTERSIGN_ADMIN_USERNAME", "root")
            .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
            .serve()
    };
    let (one, other) = (server(), server());
    let client = Client::new();
    let most = Duration::from_millis(if on_postgres().is_some() { 1000 } else { 250 });
    for _ in 0..5 {
        let login = client.post(format!("{}/login", one.url())).header("authorization", basic("root", PASSWORD));
        let login = Answer::of(login).await.expect(200).json();
        let token = bearer(login["opaque_token"].as_str().unwrap());
        let me = async || {
            let begun = Instant::now();
            let request = client.get(format!("{}/me", one.url())).header("authorization", &token);
            (begun, Answer::of(request).await.status.as_u16())
        };
        assert_eq!(me().await.1, 200);
        let logout = client.post(format!("{}/logout", other.url())).header("authorization", &token);
        Answer::of(logout).await.expect(204);
        let ended = Instant::now();
        loop {
            let (begun, status) = me().await;
            if status == 401 {
                break;
            }
            assert_eq!(status, 200);
            assert!(begun - ended < most, "accepted after {:?}", begun - ended);
        }
    }
}

#[tokio::test]
async fn without_the_cache_every_check_reads_the_database() {
    let app = App::start_with(&["--credential-cache", "0"]).await;
    let all = credentials(&app, "sergio").await;
    expect_each(&app, &all, 200).await;
    app.disable("sergio").await;
    expect_each(&app, &all, 401).await;
}
