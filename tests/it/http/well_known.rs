//! `/.well-known`: the keys for offline verification, also through a published library.

use std::process::Command;

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, App, header_of, python_with};

#[tokio::test]
async fn the_key_set_holds_public_members_only() {
    let app = App::start().await;
    for (algorithm, members) in [
        ("ES256", vec!["alg", "crv", "kid", "kty", "use", "x", "y"]),
        ("EdDSA", vec!["alg", "crv", "kid", "kty", "use", "x"]),
        ("RS256", vec!["alg", "e", "kid", "kty", "n", "use"]),
    ] {
        let later = App::on(app.database.clone(), &["--jwt-algorithm", algorithm]).await;
        let answer = later.anon().get("/.well-known/jwks.json").await.expect(200);
        assert_eq!(answer.header("content-type"), "application/jwk-set+json");
        let keys = answer.json();
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["alg"] == algorithm).unwrap();
        let mut present: Vec<_> = key.as_object().unwrap().keys().collect();
        present.sort_unstable();
        assert_eq!(present, members);
        assert_eq!(key["use"], "sig");
    }
}

#[tokio::test]
async fn with_hs256_the_key_set_is_empty() {
    let app =
        App::start_with(&["--jwt-algorithm", "HS256", "--jwt-secret", "a secret that is longer than 32 bytes"]).await;
    let only = app.anon().get("/.well-known/jwks.json").await.json();
    assert_eq!(only, json!({"keys": []}));
}

#[tokio::test]
async fn the_key_set_is_cacheable_and_revalidates_by_etag() {
    let app = App::start().await;
    let first = app.anon().get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(first.header("cache-control"), "public, max-age=300");
    let etag = first.header("etag");
    for known in [etag.to_owned(), format!("W/{etag}"), format!("\"other\", {etag}"), "*".into()] {
        let request = app.anon().request(Method::GET, "/.well-known/jwks.json").header("if-none-match", known);
        let again = Answer::of(request).await.expect(304);
        assert_eq!((again.text.as_str(), again.header("etag")), ("", etag));
    }
    let other = app.anon().request(Method::GET, "/.well-known/jwks.json").header("if-none-match", "\"other\"");
    Answer::of(other).await.expect(200);
}

#[tokio::test]
async fn the_kid_of_a_token_is_in_the_key_set() {
    let app = App::start().await;
    let (_, jwt) = app.tokens("root").await;
    let keys = app.anon().get("/.well-known/jwks.json").await.json();
    assert_eq!(header_of(&jwt["Bearer ".len()..])["kid"], keys["keys"][0]["kid"]);
}

/// PyJWT finds the key by `kid` and checks signature, issuer, audience and times.
#[tokio::test]
async fn an_independent_library_verifies_our_jwts_through_the_key_set() {
    let Some(python) = python_with("jwt, cryptography") else { return };
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let app = App::start_with(&["--jwt-algorithm", algorithm]).await;
        // PyJWT reads the machine's clock, but the tests start in the past.
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        app.advance_clock(std::time::Duration::from_secs(seconds - u64::try_from(app.now_seconds()).unwrap()));
        let (_, jwt) = app.tokens("root").await;
        let script = r#"
import json, sys, jwt
url, token, algorithm = sys.argv[1:]
key = jwt.PyJWKClient(url + "/.well-known/jwks.json").get_signing_key_from_jwt(token)
assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
claims = jwt.decode(token, key, algorithms=[algorithm], issuer="http://localhost:5000", audience="countersign",
                    options={"require": ["exp", "nbf", "iat", "iss", "aud", "sub", "jti", "sid"]})
bad = token[:-8] + ("AAAAAAAA" if token[-8:] != "AAAAAAAA" else "BBBBBBBB")
try:
    jwt.decode(bad, key, algorithms=[algorithm], issuer="http://localhost:5000", audience="countersign")
    sys.exit("a changed signature was taken")
except jwt.InvalidSignatureError:
    print(json.dumps(claims))
"#;
        let (url, token) = (app.url.clone(), jwt["Bearer ".len()..].to_owned());
        let python = python.clone();
        let done = tokio::task::spawn_blocking(move || {
            Command::new(python).args(["-c", script, &url, &token, algorithm]).output().unwrap()
        });
        let done = done.await.unwrap();
        assert!(done.status.success(), "{algorithm}: {}", String::from_utf8_lossy(&done.stderr));
        let claims: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(claims["preferred_username"], "root");
    }
}
