//! `/admin/keys`, and the rotation of signing keys.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use countersign::auth::Actor;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, App, Binary, Database, b64, bearer, claims_of, header_of};

/// How long a key is published before it signs.
const PUBLISHED_BEFORE: Duration = Duration::from_secs(660);
/// How long the previous key verifies after that: the lifetime of a JWT plus a minute.
const VERIFIES_AFTER: Duration = Duration::from_secs(30 * 60 + 60);

async fn states(app: &App) -> Vec<String> {
    let keys = app.admin().get("/admin/keys").await.expect(200).json();
    keys["items"].as_array().unwrap().iter().map(|key| key["state"].as_str().unwrap().to_owned()).collect()
}

async fn published(app: &App) -> Vec<String> {
    let keys = app.anon().get("/.well-known/jwks.json").await.expect(200).json();
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

async fn signing_kid(app: &App) -> String {
    let (_, jwt) = app.tokens("root").await;
    header_of(&jwt["Bearer ".len()..])["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_next_key_is_published_before_it_signs_and_the_old_one_verifies_until_its_last_token_expires() {
    let app = App::start().await;
    let old = signing_kid(&app).await;
    assert_eq!(states(&app).await, ["signing"]);
    let etag = app.anon().get("/.well-known/jwks.json").await.header("etag").to_owned();

    let next = app.admin().send(Method::POST, "/admin/keys/rotate").await.expect(202).json();
    let new = next["kid"].as_str().unwrap().to_owned();
    assert_eq!((&next["state"], &next["algorithm"]), (&json!("next"), &json!("ES256")));
    assert_eq!(next["signs_from"], "2026-01-01T00:11:00.000Z");
    assert_eq!(published(&app).await, [old.clone(), new.clone()]);
    assert_ne!(app.anon().get("/.well-known/jwks.json").await.header("etag"), etag);
    assert_eq!(states(&app).await, ["signing", "next"]);
    let again = app.admin().send(Method::POST, "/admin/keys/rotate").await.expect(202).json();
    assert_eq!(again["kid"], new, "a waiting key is not replaced");

    app.advance_clock(PUBLISHED_BEFORE - Duration::from_secs(1));
    assert_eq!(signing_kid(&app).await, old);
    let (_, last) = app.tokens("root").await;
    app.advance_clock(Duration::from_secs(1));
    assert_eq!(signing_kid(&app).await, new);
    assert_eq!(states(&app).await, ["verifying", "signing"]);
    app.advance_clock(Duration::from_secs(30 * 60 - 2));
    app.with(&last).get("/me").await.expect(200);
    app.advance_clock(Duration::from_secs(2));
    app.with(&last).get("/me").await.expect(401);
    assert_eq!(published(&app).await.len(), 2);
    app.advance_clock(Duration::from_secs(60));
    app.service.auth().refresh_keys().await.unwrap();
    assert_eq!(published(&app).await, [new]);
    // The next rotation deletes its row, including the private key.
    app.admin().send(Method::POST, "/admin/keys/rotate").await.expect(202);
    assert_eq!(app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM signing_keys").await, "2");
    let recorded = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE event = 'key.rotated' AND method = 'basic'";
    assert_eq!(app.database.text(recorded).await, "2");
}

#[tokio::test]
async fn keys_rotate_on_schedule() {
    let app = App::start_with(&["--key-rotation", "1d"]).await;
    let auth = app.service.auth();
    let old = signing_kid(&app).await;
    app.advance_clock(Duration::from_secs(86_400) - PUBLISHED_BEFORE - Duration::from_secs(1));
    auth.rotate_keys_when_due().await.unwrap();
    assert_eq!(published(&app).await.len(), 1);
    app.advance_clock(Duration::from_secs(1));
    auth.rotate_keys_when_due().await.unwrap();
    auth.rotate_keys_when_due().await.unwrap();
    assert_eq!(published(&app).await.len(), 2);
    app.advance_clock(PUBLISHED_BEFORE);
    assert_ne!(signing_kid(&app).await, old, "a day after the previous key began to sign");
    app.advance_clock(VERIFIES_AFTER);
    auth.rotate_keys_when_due().await.unwrap();
    auth.refresh_keys().await.unwrap();
    assert_eq!(published(&app).await.len(), 1);

    let never = App::start_with(&["--key-rotation", "off"]).await;
    never.advance_clock(Duration::from_secs(10 * 365 * 86_400));
    never.service.auth().rotate_keys_when_due().await.unwrap();
    assert_eq!(published(&never).await.len(), 1);
}

/// Two servers share a database: during a rotation each accepts the tokens of the other at every moment.
#[tokio::test]
async fn during_a_rotation_no_request_fails_on_either_of_two_servers() {
    let one = App::start().await;
    let two = App::on(one.database.clone(), &[]).await;
    let check = async |seen: &mut std::collections::HashSet<String>| {
        for issuer in [&one, &two] {
            let (opaque, jwt) = issuer.tokens("root").await;
            seen.insert(header_of(&jwt["Bearer ".len()..])["kid"].as_str().unwrap().to_owned());
            for verifier in [&one, &two] {
                let kid = header_of(&jwt["Bearer ".len()..])["kid"].clone();
                assert!(published(verifier).await.iter().any(|published| kid == **published), "the key is published");
                verifier.with(&jwt).get("/me").await.expect(200);
                verifier.with(&opaque).get("/me").await.expect(200);
            }
        }
    };
    let mut seen = std::collections::HashSet::new();
    check(&mut seen).await;
    let (_, early) = one.tokens("root").await;
    one.admin().send(Method::POST, "/admin/keys/rotate").await.expect(202);
    // The other server has not refreshed its keys yet; it does so every five seconds.
    check(&mut seen).await;
    for step in 0..30 {
        for app in [&one, &two] {
            app.advance_clock(Duration::from_secs(66));
            if step > 0 {
                app.service.auth().refresh_keys().await.unwrap();
            }
        }
        check(&mut seen).await;
        if step < 26 {
            two.with(&early).get("/me").await.expect(200);
        }
    }
    assert_eq!(seen.len(), 2, "the key was rotated");
}

#[tokio::test]
async fn two_servers_that_rotate_at_once_make_one_key() {
    let one = App::start().await;
    let two = App::on(one.database.clone(), &[]).await;
    let (a, b) = (one.admin(), two.admin());
    let (a, b) = tokio::join!(a.send(Method::POST, "/admin/keys/rotate"), b.send(Method::POST, "/admin/keys/rotate"));
    assert_eq!(a.expect(202).json()["kid"], b.expect(202).json()["kid"]);
    assert_eq!(states(&one).await, ["signing", "next"]);
    assert_eq!(states(&two).await, ["signing", "next"]);
}

#[tokio::test]
async fn an_unknown_kid_does_not_query_the_database() {
    let app = App::start().await;
    let (_, jwt) = app.tokens("root").await;
    let (_, rest) = jwt["Bearer ".len()..].split_once('.').unwrap();
    app.database.sql("ALTER TABLE signing_keys RENAME TO away").await;
    for kid in ["unknown", "'; DROP TABLE users; --", "../../etc/passwd", "https://example.com/jwks.json"] {
        let header = b64(json!({"typ": "at+jwt", "alg": "ES256", "kid": kid}).to_string());
        app.with(bearer(&format!("{header}.{rest}"))).get("/me").await.expect(401);
    }
}

#[tokio::test]
async fn after_a_change_of_algorithm_old_keys_verify_until_their_tokens_expire() {
    let app = App::start().await;
    let (_, old) = app.tokens("root").await;
    let later = App::on(app.database.clone(), &["--jwt-algorithm", "RS256"]).await;
    later.with(&old).get("/me").await.expect(200);
    // With the old algorithm nobody makes a key any more, though its last one still verifies.
    assert_eq!(app.admin().send(Method::POST, "/admin/keys/rotate").await.expect(409).problem(), "no-rotation");
    let keys = later.anon().get("/.well-known/jwks.json").await.json();
    let rsa = keys["keys"].as_array().unwrap().iter().find(|key| key["kty"] == "RSA").unwrap().clone();
    assert!(rsa["n"].as_str().unwrap().len() >= 342, "2048 bits");
    later.advance_clock(VERIFIES_AFTER);
    later.service.auth().refresh_keys().await.unwrap();
    assert_eq!(published(&later).await, [rsa["kid"].as_str().unwrap()]);
}

#[tokio::test]
async fn hs256_has_no_key_to_rotate() {
    let app =
        App::start_with(&["--jwt-algorithm", "HS256", "--jwt-secret", "a secret that is longer than 32 bytes"]).await;
    assert_eq!(app.admin().send(Method::POST, "/admin/keys/rotate").await.expect(409).problem(), "no-rotation");
    assert_eq!(app.admin().get("/admin/keys").await.json(), json!({"items": []}));
    app.service.auth().rotate_keys_when_due().await.unwrap();
    assert!(!app.service.auth().can_rotate_keys());
    assert!(App::start().await.service.auth().can_rotate_keys());
    // It starts again, and not with another secret key: nothing but the audit trail is under that.
    let app = app.restarted().await;
    app.tokens("root").await;
    let other = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [8; 32]);
    let flags =
        ["--jwt-algorithm", "HS256", "--jwt-secret", "a secret that is longer than 32 bytes", "--secret-key", &other];
    let why = App::try_with(app.database.clone(), &flags).await.err().unwrap().to_string();
    assert!(why.contains("the audit trail in the database is under another key"), "{why}");
}

#[tokio::test]
async fn keys_that_have_not_changed_are_not_opened_again() {
    let hs256 = ["--jwt-algorithm", "HS256", "--jwt-secret", "a secret that is longer than 32 bytes"];
    for flags in [&[][..], &hs256] {
        let app = App::start_with(flags).await;
        let (auth, before) = (app.service.auth(), app.service.auth().jwks());
        auth.refresh_keys().await.unwrap();
        assert!(std::sync::Arc::ptr_eq(&auth.jwks(), &before));
    }
}

#[tokio::test]
async fn a_key_verifies_as_long_as_the_tokens_of_the_server_live_whoever_made_it() {
    let app = App::start_with(&["--jwt-ttl", "10m"]).await;
    app.admin().send(Method::POST, "/admin/keys/rotate").await.expect(202);
    let longest = async || {
        let keys = "SELECT CAST(generation AS TEXT) || ' ' || CAST(longest_jwt_ttl / 60000 AS TEXT) FROM signing_keys";
        [
            app.database.text(&format!("{keys} WHERE generation = 1")).await,
            app.database.text(&format!("{keys} WHERE generation = 2")).await,
        ]
    };
    app.service.auth().rotate_keys_when_due().await.unwrap();
    assert_eq!(longest().await, ["1 10", "2 10"]);
    let longer = App::on(app.database.clone(), &["--jwt-ttl", "12h"]).await;
    longer.service.auth().rotate_keys_when_due().await.unwrap();
    assert_eq!(longest().await, ["1 10", "2 720"], "the one that is retired signs for nobody any more");
    app.service.auth().rotate_keys_when_due().await.unwrap();
    assert_eq!(longest().await, ["1 10", "2 720"]);
}

/// The command runs beside a server, which picks up the key within seconds.
#[tokio::test]
async fn the_command_rotates_beside_a_running_server() {
    let database = Database::new().await;
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]);
    let binary =
        || Binary::new(database.folder.path()).env("DATABASE_URL", &database.url).env("COUNTERSIGN_SECRET_KEY", &key);
    let server = binary().args(&["--jwt-ttl", "12h"]).serve();
    let published = async || {
        let request = reqwest::Client::new().get(format!("{}/.well-known/jwks.json", server.url()));
        Answer::of(request).await.expect(200).json()["keys"].as_array().unwrap().len()
    };
    assert_eq!(published().await, 1);
    let rotated = binary().args(&["key", "rotate"]).output();
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    let text = String::from_utf8(rotated.stdout).unwrap();
    assert!(text.contains("signs from"), "{text}");
    let listed: Value = serde_json::from_slice(&binary().args(&["key", "list", "--json"]).output().stdout).unwrap();
    let of = |key: usize, name: &str| listed["items"][key][name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    // The server's tokens live for twelve hours, whatever default the command has.
    let left = of(0, "verifies_until").duration_since(of(1, "signs_from"));
    assert_eq!(left.as_secs(), 12 * 3600 + 60);
    let table = String::from_utf8(binary().args(&["key", "list"]).output().stdout).unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");
    for _ in 0..200 {
        if published().await == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server did not learn of the key");
}

/// A key that leaked signs for whoever has it, so its tokens cannot be told from ours.
#[tokio::test]
async fn after_a_leak_all_keys_end_and_servers_go_on_with_a_new_one() {
    let app = App::start().await;
    let user = app.create("sergio", &["user"]).await;
    let (opaque, jwt) = app.tokens("sergio").await;
    let before = published(&app).await;
    let auth = app.service.auth();
    auth.revoke_keys(Actor::Operator).await.unwrap();
    assert_eq!(app.with(&jwt).get("/me").await.expect(401).problem(), "invalid-token");
    app.with(&opaque).get("/me").await.expect(200);
    // What a server does every few seconds.
    auth.rotate_keys_when_due().await.unwrap();
    let after = published(&app).await;
    assert!(after.len() == 1 && !before.contains(&after[0]), "{before:?} {after:?}");
    app.with(&jwt).get("/me").await.expect(401);
    let (_, jwt) = app.tokens("sergio").await;
    assert_eq!(app.with(&jwt).get("/me").await.expect(200).json()["user"]["id"], user);
    let event = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE event = 'keys.revoked' AND method = 'command'";
    assert_eq!(app.database.text(event).await, "1");
}

#[tokio::test]
async fn rotate_with_other_settings_than_the_servers_changes_nothing() {
    let database = Database::new().await;
    let app = App::on(database.clone(), &["--jwt-algorithm", "EdDSA"]).await;
    let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]);
    let run = |args: &[&str]| {
        let binary = Binary::new(database.folder.path()).env("DATABASE_URL", &database.url);
        binary.env("COUNTERSIGN_SECRET_KEY", &key).args(args).output()
    };
    let refused = String::from_utf8(run(&["key", "rotate"]).stderr).unwrap();
    assert!(refused.starts_with("countersign: COUNTERSIGN_JWT_ALGORITHM: "), "{refused}");
    assert!(run(&["key", "list"]).status.success());
    app.service.auth().refresh_keys().await.unwrap();
    assert_eq!(published(&app).await.len(), 1);
    let until = "SELECT CAST(COUNT(*) AS TEXT) FROM signing_keys WHERE verifies_until IS NOT NULL";
    assert_eq!(database.text(until).await, "0");
}

/// What was to be the next key was retired with the others, so that it signs no more.
#[tokio::test]
async fn a_key_that_was_to_be_the_next_before_a_change_of_algorithm_is_not_the_next_after_it() {
    let app = App::start().await;
    let rotate = async |app: &App| {
        let next = app.admin().send(Method::POST, "/admin/keys/rotate").await.expect(202).json();
        (next["kid"].as_str().unwrap().to_owned(), next["signs_from"].as_str().unwrap().to_owned())
    };
    let (once, _) = rotate(&app).await;
    drop(App::on(app.database.clone(), &["--jwt-algorithm", "EdDSA"]).await);
    let back = App::on(app.database.clone(), &[]).await;
    back.advance_clock(Duration::from_secs(60));
    let (next, signs_from) = rotate(&back).await;
    assert_ne!(next, once);
    assert_eq!(signs_from, "2026-01-01T00:12:00.000Z");
    back.advance_clock(PUBLISHED_BEFORE);
    assert_eq!(signing_kid(&back).await, next);
}

#[tokio::test]
async fn returning_to_an_algorithm_creates_a_new_lasting_key() {
    let app = App::start().await;
    let (_, first) = app.tokens("root").await;
    drop(App::on(app.database.clone(), &["--jwt-algorithm", "EdDSA"]).await);
    let back = App::on(app.database.clone(), &[]).await;
    let kid = signing_kid(&back).await;
    assert_ne!(header_of(&first["Bearer ".len()..])["kid"], *kid);
    back.with(&first).get("/me").await.expect(200);
    back.advance_clock(VERIFIES_AFTER);
    back.service.auth().refresh_keys().await.unwrap();
    assert_eq!(published(&back).await, [kid]);
}

#[tokio::test]
async fn after_a_change_to_hs256_old_keys_are_deleted_when_their_tokens_expire() {
    let app = App::start().await;
    let (_, jwt) = app.tokens("root").await;
    app.service.auth().stop().await;
    let flags = ["--jwt-algorithm", "HS256", "--jwt-secret", "a secret that is longer than 32 bytes"];
    let later = App::on(app.database.clone(), &flags).await;
    later.with(&jwt).get("/me").await.expect(200);
    later.advance_clock(VERIFIES_AFTER);
    later.service.auth().refresh_keys().await.unwrap();
    assert!(published(&later).await.is_empty());
    later.service.auth().delete_expired().await.unwrap();
    assert_eq!(app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM signing_keys").await, "0");
}

/// Such a server must not create a second key.
#[tokio::test]
async fn a_server_whose_clock_is_behind_signs_with_the_existing_key() {
    let app = App::start().await;
    let kid = signing_kid(&app).await;
    app.set_clock_back(Duration::from_secs(3600));
    let auth = app.service.auth();
    auth.refresh_keys().await.unwrap();
    auth.rotate_keys_when_due().await.unwrap();
    assert_eq!(signing_kid(&app).await, kid);
    assert_eq!(published(&app).await, [kid]);
}

/// Otherwise a stolen private key could sign for ever.
#[tokio::test]
async fn a_retired_key_is_not_trusted_whatever_it_signs() {
    let app = App::start().await;
    let (_, jwt) = app.tokens("root").await;
    let jwt = &jwt["Bearer ".len()..];
    let hex = match crate::support::on_postgres() {
        Some(_) => "SELECT encode(private_key, 'hex') FROM signing_keys",
        None => "SELECT hex(private_key) FROM signing_keys",
    };
    let sealed = app.database.text(hex).await;
    let mut sealed: Vec<u8> =
        (0..sealed.len()).step_by(2).map(|at| u8::from_str_radix(&sealed[at..at + 2], 16).unwrap()).collect();
    let header = header_of(jwt);
    let aead = RandomizedNonceKey::new(&AES_256_GCM, &[7; 32]).unwrap();
    let nonce = Nonce::try_assume_unique_for_key(&sealed[..12]).unwrap();
    let name = Aad::from(header["kid"].as_str().unwrap().as_bytes());
    let private = aead.open_in_place(nonce, name, &mut sealed[12..]).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private).unwrap();
    let mut claims = claims_of(jwt);
    claims["exp"] = (app.now_seconds() + 86_400).into();
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let sign = || pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    // Of the two forms of a signature, only the one with the low `s` is accepted.
    let signature = std::iter::repeat_with(sign).find(|signature| signature.as_ref()[32] < 0x7f).unwrap();
    let forged = bearer(&format!("{message}.{}", b64(signature)));

    app.admin().send(Method::POST, "/admin/keys/rotate").await.expect(202);
    app.advance_clock(PUBLISHED_BEFORE + VERIFIES_AFTER - Duration::from_secs(1));
    app.with(&forged).get("/me").await.expect(200);
    app.advance_clock(Duration::from_secs(1));
    app.with(&forged).get("/me").await.expect(401);
}
