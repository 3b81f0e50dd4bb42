//! The limit on guessing: what it refuses, whom it never refuses, and how operators see and lift it.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use prometheus_client::encoding::text;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Answer, App, Database, PASSWORD, basic, on_postgres};

/// The loopback address is a proxy, so that a test can name the address of the client.
const PROXY: [&str; 2] = ["--trusted-proxies", "127.0.0.1"];
const ATTACKER: &str = "198.51.100.66";
const OWNER: &str = "203.0.113.7";

fn login(app: &App, address: &str, username: &str, password: &str) -> RequestBuilder {
    let body = json!({"username": username, "password": password});
    app.anon().request(Method::POST, "/login").header("x-forwarded-for", address).json(&body)
}

async fn status(request: RequestBuilder) -> u16 {
    Answer::of(request).await.status.as_u16()
}

/// Tries this many different passwords from an address, one after the other. Returns the statuses.
async fn guess(app: &App, address: &str, username: &str, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for i in 0..count {
        statuses.push(status(login(app, address, username, &format!("guess number {i}"))).await);
    }
    statuses
}

fn metric(app: &App, name: &str) -> u64 {
    let mut metrics = String::new();
    text::encode_registry(&mut metrics, app.service.auth().metrics()).unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("countersign_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}

fn hashes(app: &App) -> u64 {
    metric(app, "hash_run_seconds_count")
}

#[tokio::test]
async fn two_hundred_wrong_logins_at_once_run_no_more_hashes_than_the_burst() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let before = hashes(&app);
    let answers = join_all((0..200).map(|i| {
        let body = json!({"username": "sergio", "password": format!("guess number {i}")});
        Answer::of(app.anon().request(Method::POST, "/login").json(&body))
    }));
    let answers = answers.await;
    assert_eq!(hashes(&app) - before, 10);
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 10);
    for refused in answers.iter().filter(|answer| answer.status != 401) {
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "too-many-attempts"));
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
}

#[tokio::test]
async fn right_passwords_are_never_limited_however_many_come_at_once_from_one_address() {
    // Longer than the logins that come at once: a full queue refuses them, too, but for another reason.
    let app = App::start_with(&["--hash-queue", "1000"]).await;
    let users: Vec<_> = (0..20).map(|i| format!("user-{i}")).collect();
    for user in &users {
        app.create(user, &["user"]).await;
    }
    let logins = (0..100).map(|i| status(login(&app, OWNER, &users[i % 20], PASSWORD)));
    let statuses = join_all(logins).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

/// What a cached password depends on may have changed, but if its hash has not, it is still right.
#[tokio::test]
async fn a_password_whose_hash_is_unchanged_is_not_hashed_again() {
    let app = App::start().await;
    let sergio = app.user("sergio").await;
    sergio.get("/me").await.expect(200);
    // A thread counts a hash after it has told of it: those of the two users, and this one.
    while hashes(&app) < 3 {
        tokio::task::yield_now().await;
    }
    let before = hashes(&app);
    app.database.sql("UPDATE users SET name = 'Sergio' WHERE username = 'sergio'").await;
    assert_eq!(sergio.get("/me").await.expect(200).json()["user"]["name"], "Sergio");
    assert_eq!(hashes(&app), before);
}

#[tokio::test]
async fn every_path_that_checks_a_password_shares_the_limit() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let (token, _) = app.tokens("root").await;
    let (own, _) = app.tokens("sergio").await;
    // The login made this address one of sergio's, so only his account is limited.
    let paths = |i: usize| {
        let password = format!("guess number {i}");
        let encoded = basic("sergio", &password);
        let change = json!({"current_password": &password, "new_password": "another-password"});
        let value = encoded.strip_prefix("Basic ").unwrap().to_owned();
        [
            app.anon().request(Method::POST, "/login").json(&json!({"username": "sergio", "password": &password})),
            app.anon().request(Method::POST, "/login").form(&[("username", "sergio"), ("password", &password)]),
            app.with(&encoded).request(Method::POST, "/login"),
            app.with(&encoded).request(Method::GET, "/me"),
            app.with(&encoded).request(Method::GET, "/verify"),
            app.with(&own).request(Method::POST, "/me/password").json(&change),
            app.with(&token).request(Method::POST, "/oauth/introspect").form(&[("token", value)]),
        ]
    };
    // All but introspection, which says that the credential is not active, answer with 401.
    for i in 0..10 {
        let [.., change, introspect] = paths(i);
        match i % 2 {
            0 => assert_eq!(status(change).await, 401),
            _ => assert_eq!(Answer::of(introspect).await.expect(200).json(), json!({"active": false})),
        }
    }
    for request in paths(10) {
        assert_eq!(Answer::of(request).await.expect(429).problem(), "too-many-attempts");
    }
}

#[tokio::test]
async fn a_program_that_repeats_one_old_password_is_no_attack() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let before = hashes(&app);
    let old = basic("sergio", "my-old-password");
    for _ in 0..50 {
        app.with(&old).get("/me").await.expect(401);
    }
    assert_eq!(hashes(&app) - before, 1, "nor does it cost a hash each time");
    app.login("sergio").await;
}

/// `scripts/timing-oracle` could tell by some microseconds who exists.
#[tokio::test]
async fn a_password_that_is_known_to_be_wrong_is_refused_no_sooner_than_a_user_is_found() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    for username in ["sergio", "nobody"] {
        app.with(basic(username, "my-old-password")).get("/me").await.expect(401);
        let begun = Instant::now();
        app.with(basic(username, "my-old-password")).get("/me").await.expect(401);
        assert!(begun.elapsed() >= Duration::from_millis(2), "{username}");
    }
}

#[tokio::test]
async fn a_password_that_was_refused_is_right_once_it_has_been_set() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let next = basic("sergio", "my-next-password");
    app.with(&next).get("/me").await.expect(401);
    let body = json!({"password": "my-next-password"});
    Answer::of(app.admin().request(Method::PUT, &format!("/admin/users/{id}/password")).json(&body)).await.expect(204);
    app.with(&next).get("/me").await.expect(200);
    // The same holds when the user was disabled.
    let status = async |status: &str| {
        app.admin().patch(&format!("/admin/users/{id}"), &json!({"status": status})).await.expect(200);
    };
    status("disabled").await;
    app.with(&next).get("/me").await.expect(401);
    status("active").await;
    app.with(&next).get("/me").await.expect(200);
}

#[tokio::test]
async fn an_attack_from_elsewhere_locks_nobody_out() {
    let app = App::start_with(&PROXY).await;
    app.create("sergio", &["user"]).await;
    let statuses = guess(&app, ATTACKER, "sergio", 15).await;
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 5]].concat());
    assert_eq!(status(login(&app, ATTACKER, "sergio", PASSWORD)).await, 429, "not even with the right password");
    assert_eq!(status(login(&app, OWNER, "sergio", PASSWORD)).await, 200);
}

#[tokio::test]
async fn one_address_cannot_try_many_accounts_either_and_neighbours_who_logged_in_before_still_can() {
    let app = App::start_with(&PROXY).await;
    app.create("sergio", &["user"]).await;
    app.create("newcomer", &["user"]).await;
    assert_eq!(status(login(&app, ATTACKER, "sergio", PASSWORD)).await, 200);
    for i in 0..10 {
        assert_eq!(guess(&app, ATTACKER, &format!("user-{i}"), 1).await, [401]);
    }
    assert_eq!(guess(&app, ATTACKER, "user-10", 1).await, [429]);
    assert_eq!(status(login(&app, ATTACKER, "newcomer", PASSWORD)).await, 429);
    assert_eq!(status(login(&app, ATTACKER, "sergio", PASSWORD)).await, 200);
    // A server that starts anew knows it from the database.
    app.service.auth().write_known_networks().await.unwrap();
    let second = App::on(app.database.clone(), &PROXY).await;
    for i in 0..10 {
        // On PostgreSQL it knows what the first has refused, too.
        let status = if on_postgres().is_some() { 429 } else { 401 };
        assert_eq!(guess(&second, ATTACKER, &format!("user-{i}"), 1).await, [status]);
    }
    assert_eq!(status(login(&second, ATTACKER, "newcomer", PASSWORD)).await, 429);
    assert_eq!(status(login(&second, ATTACKER, "sergio", PASSWORD)).await, 200);
}

#[tokio::test]
async fn slots_come_back_with_time() {
    let app = App::start_with(&PROXY).await;
    app.create("sergio", &["user"]).await;
    guess(&app, ATTACKER, "sergio", 10).await;
    let refused = Answer::of(login(&app, ATTACKER, "sergio", "guess number 11")).await.expect(429);
    assert_eq!(refused.header("retry-after"), "60");
    app.advance_clock(Duration::from_secs(60));
    assert_eq!(guess(&app, ATTACKER, "sergio", 12).await[10..], [401, 429]);
}

#[tokio::test]
async fn a_right_credential_that_is_cached_takes_no_slot() {
    let app = App::start_with(&PROXY).await;
    app.create("sergio", &["user"]).await;
    let with_basic = || {
        let request = app.with(basic("sergio", PASSWORD)).request(Method::GET, "/me");
        status(request.header("x-forwarded-for", ATTACKER))
    };
    assert_eq!(with_basic().await, 200);
    assert_eq!(guess(&app, ATTACKER, "sergio", 11).await[10], 429);
    assert_eq!(with_basic().await, 200);
}

#[tokio::test]
async fn addresses_of_one_ipv6_subnet_count_as_one() {
    let app = App::start_with(&PROXY).await;
    let mut statuses = Vec::new();
    for i in 0..11 {
        let address = format!("2001:db8:1:2:{i:x}::{i:x}");
        statuses.push(status(login(&app, &address, "sergio", &format!("guess number {i}"))).await);
    }
    assert_eq!(statuses, [[401; 10].as_slice(), &[429]].concat());
    assert_eq!(status(login(&app, "2001:db8:1:3::1", "sergio", "guess")).await, 401);
}

#[tokio::test]
async fn an_unknown_username_is_limited_like_a_known_one() {
    let app = App::start_with(&PROXY).await;
    app.create("sergio", &["user"]).await;
    app.create("gone", &["user"]).await;
    app.disable("gone").await;
    let mut seen = Vec::new();
    for (address, name) in
        [("192.0.2.1", "sergio"), ("192.0.2.2", "nobody"), ("192.0.2.3", "gone"), ("192.0.2.4", "a b")]
    {
        seen.push(guess(&app, address, name, 12).await);
    }
    assert!(seen.iter().all(|statuses| *statuses == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn a_block_is_listed_and_lifted_on_this_server_at_once_and_on_others_within_a_second() {
    let app = App::start_with(&PROXY).await;
    let id = app.create("sergio", &["user"]).await;
    let blocks = async || app.admin().get("/admin/blocks").await.expect(200).json()["items"].clone();
    assert_eq!(blocks().await, json!([]));
    guess(&app, ATTACKER, "sergio", 12).await;
    let listed = blocks().await;
    let [block] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
    let about = [&block["address"], &block["reach"], &block["user_id"], &block["since"], &block["until"]];
    assert_eq!(about, [ATTACKER, "account", &id, "2026-01-01T00:00:00.000Z", "2026-01-01T00:10:00.000Z"]);
    let path = format!("/admin/blocks/{}", block["id"].as_str().unwrap());
    app.with(basic("sergio", PASSWORD)).send(Method::DELETE, &path).await.expect(403);
    app.admin().send(Method::DELETE, &path).await.expect(204);
    app.admin().send(Method::DELETE, &path).await.expect(404);
    assert_eq!(blocks().await, json!([]));
    let lifted = app.admin().get("/admin/audit?event=block.lifted").await.json()["items"][0].clone();
    assert_eq!((&lifted["target"], &lifted["subject"]), (&json!(ATTACKER), &json!(id)));
    assert_eq!(status(login(&app, ATTACKER, "sergio", PASSWORD)).await, 200, "nor does the limit of the address hold");

    // Another process deletes the row.
    let second = App::on(app.database.clone(), &PROXY).await;
    guess(&app, "192.0.2.99", "sergio", 12).await;
    let id = blocks().await[0]["id"].as_str().unwrap().parse().unwrap();
    second.service.auth().lift_block(countersign::auth::Actor::Operator, id).await.unwrap();
    app.advance_clock(Duration::from_millis(999));
    // On PostgreSQL it hears at the next guess what is used up.
    let meanwhile = if on_postgres().is_some() { 200 } else { 429 };
    assert_eq!(status(login(&app, "192.0.2.99", "sergio", PASSWORD)).await, meanwhile, "it looks once a second");
    app.advance_clock(Duration::from_millis(1));
    assert_eq!(status(login(&app, "192.0.2.99", "sergio", PASSWORD)).await, 200);
}

#[tokio::test]
async fn servers_on_one_postgresql_admit_no_more_guesses_than_one_server() {
    if on_postgres().is_none() {
        return; // on SQLite there is one server
    }
    let first = App::start_with(&PROXY).await;
    let second = App::on(first.database.clone(), &PROXY).await;
    let id = first.create("sergio", &["user"]).await;
    let servers = [&first, &second];
    let told = async || {
        for app in servers {
            app.service.auth().write_guesses().await.unwrap();
        }
    };
    // Each password is another one, and goes to the next server.
    let guess_in_turn = async |at: &[&App], address: &str, username: &str, numbers: std::ops::Range<usize>| {
        let mut statuses = Vec::new();
        for i in numbers {
            statuses.push(status(login(at[i % at.len()], address, username, &format!("guess number {i}"))).await);
            // A request waits for that, but not for ever.
            told().await;
        }
        statuses
    };
    for username in ["sergio", "nobody"] {
        let address = if username == "sergio" { ATTACKER } else { "198.51.100.67" };
        let statuses = guess_in_turn(&servers, address, username, 0..13).await;
        assert_eq!((&statuses[..10], &statuses[10..]), (&[401; 10][..], &[429; 3][..]), "{username}");
    }
    assert_eq!(guess_in_turn(&servers, ATTACKER, "somebody else", 0..2).await, [429; 2], "nor any other account");
    assert_eq!(status(login(&second, OWNER, "sergio", PASSWORD)).await, 200, "from elsewhere");

    // One block for both, which ends for both when it is lifted on one.
    let blocks = first.admin().get("/admin/blocks").await.expect(200).json()["items"].clone();
    let of_sergio: Vec<_> = blocks.as_array().unwrap().iter().filter(|block| block["user_id"] == json!(id)).collect();
    let [block] = of_sergio.as_slice() else { panic!("{blocks}") };
    first.admin().send(Method::DELETE, &format!("/admin/blocks/{}", block["id"].as_str().unwrap())).await.expect(204);
    second.advance_clock(Duration::from_secs(1));
    for app in servers {
        assert_eq!(status(login(app, ATTACKER, "sergio", PASSWORD)).await, 200);
    }

    // A right password on one gives the slots of the account back on both.
    assert_eq!(guess_in_turn(&[&first], OWNER, "sergio", 100..109).await, [401; 9]);
    assert_eq!(status(login(&second, OWNER, "sergio", PASSWORD)).await, 200);
    second.service.auth().write_known_networks().await.unwrap();
    told().await;
    assert_eq!(guess_in_turn(&[&first], OWNER, "sergio", 110..119).await, [401; 9]);
    assert_eq!(guess_in_turn(&[&second], OWNER, "sergio", 119..121).await, [401, 429], "the tenth, and one too many");

    // What both admit at the same moment has to come back, too.
    let at_once =
        |app: &'_ App, number: usize| status(login(app, "198.51.100.68", "sergio", &format!("number {number}")));
    let statuses = join_all((0..40).map(|i| at_once(servers[i % 2], i))).await;
    told().await;
    let hashed = statuses.iter().filter(|status| **status == 401).count() as u64;
    assert!((10..=20).contains(&hashed), "{statuses:?}");
    // The clock of the second is a second ahead.
    for app in servers {
        app.advance_clock(Duration::from_secs(60 * (hashed - 10) + 30));
        assert_eq!(status(login(app, "198.51.100.68", "sergio", "number 50")).await, 429, "{hashed} were admitted");
    }
    first.advance_clock(Duration::from_secs(31));
    assert_eq!(status(login(&first, "198.51.100.68", "sergio", "number 50")).await, 401);
}

#[tokio::test]
async fn failures_are_audited_once_a_minute_with_their_number_and_counted_in_metrics() {
    let app = App::start_with(&PROXY).await;
    let id = app.create("sergio", &["user"]).await;
    guess(&app, ATTACKER, "sergio", 25).await;
    guess(&app, OWNER, "sergio", 2).await;
    let recorded = async |event: &str| {
        let page = app.admin().get(&format!("/admin/audit?event={event}&user={id}")).await.expect(200).json();
        let row = |row: &Value| format!("{} {}", row["address"].as_str().unwrap(), row["detail"].as_str().unwrap());
        page["items"].as_array().unwrap().iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(recorded("login.failed").await, [format!("{OWNER} attempts: 1"), format!("{ATTACKER} attempts: 1")]);
    assert_eq!(recorded("login.limited").await, [format!("{ATTACKER} attempts: 1")]);
    app.advance_clock(Duration::from_secs(60));
    app.service.auth().record_refusals().await;
    let mut failed = recorded("login.failed").await;
    failed[..2].sort();
    assert_eq!(failed[..2], [format!("{ATTACKER} attempts: 9"), format!("{OWNER} attempts: 1")]);
    assert_eq!(recorded("login.limited").await[0], format!("{ATTACKER} attempts: 14"));
    assert_eq!((metric(&app, "passwords_wrong_total"), metric(&app, "passwords_limited_total")), (12, 15));
    app.service.auth().verify_audit().await.unwrap().broken_at.ok_or(()).unwrap_err();
}

#[tokio::test]
async fn the_limit_can_be_turned_off() {
    let app = App::on(Database::new().await, &["--limit-burst", "off", PROXY[0], PROXY[1]]).await;
    assert_eq!(guess(&app, ATTACKER, "sergio", 30).await, [401; 30]);
}

#[tokio::test]
async fn a_network_of_a_user_who_was_deleted_keeps_no_other_from_being_known() {
    let app = App::start_with(&PROXY).await;
    let id = app.create("gone", &["user"]).await;
    app.create("ana", &["user"]).await;
    for (address, name) in [(OWNER, "gone"), (OWNER, "ana"), (ATTACKER, "ana")] {
        assert_eq!(status(login(&app, address, name, PASSWORD)).await, 200);
    }
    app.admin().send(Method::DELETE, &format!("/admin/users/{id}")).await.expect(204);
    app.service.auth().write_known_networks().await.unwrap();
    let known = "SELECT CAST(COUNT(*) AS TEXT) FROM known_networks WHERE network <> '127.0.0.1'";
    assert_eq!(app.database.text(known).await, "2");
    // What is written is not written again.
    app.database.sql("DELETE FROM known_networks").await;
    app.service.auth().write_known_networks().await.unwrap();
    assert_eq!(app.database.text(known).await, "0");
}

#[tokio::test]
async fn whoever_follows_a_link_gets_in_by_the_address_that_was_guessed_at_too() {
    let app = App::start_with(&["--limit-burst", "3"]).await;
    let id = app.create("ana", &["user"]).await;
    let verified = "email = 'ana@example.com', email_key = 'ana@example.com', email_verified = (username = 'ana')";
    app.database.sql(&format!("UPDATE users SET {verified} WHERE username = 'ana'")).await;
    for i in 0..3 {
        app.with(basic("ana@example.com", &format!("wrong-password-{i}"))).get("/me").await.expect(401);
    }
    app.with(basic("ana@example.com", PASSWORD)).get("/me").await.expect(429);
    let purpose = countersign::model::LinkPurpose::PasswordReset;
    let operator = countersign::auth::Actor::Operator;
    let link = app.service.auth().create_link(operator, id.parse().unwrap(), purpose, false, None).await.unwrap();
    let url = secrecy::ExposeSecret::expose_secret(&link.url.unwrap()).to_owned();
    let body = json!({"token": url.rsplit('/').next().unwrap(), "new_password": "a-password-of-my-choice"});
    app.anon().post("/password/reset", &body).await.expect(204);
    app.with(basic("ana@example.com", "a-password-of-my-choice")).get("/me").await.expect(200);
}
