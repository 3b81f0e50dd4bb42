//! Invalid JWTs are refused (RFC 8725). With HS256 the test knows the secret and can sign anything, so each token has a
//! single fault.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{App, ForgedKey, b64, bearer, claims_of, header_of, resign};

const SECRET: &str = "a secret that is longer than 32 bytes";

async fn app_and_claims() -> (App, Value) {
    let app = App::start_with(&["--jwt-algorithm", "HS256", "--jwt-secret", SECRET]).await;
    let login = app.login("root").await;
    let jwt = login["token"].as_str().unwrap();
    assert_eq!(header_of(jwt), json!({"typ": "at+jwt", "alg": "HS256", "kid": "hs256"}));
    (app, claims_of(jwt))
}

const HEADER: &str = r#"{"typ":"at+jwt","alg":"HS256","kid":"hs256"}"#;

#[track_caller]
fn changed(claims: &Value, name: &str, value: Value) -> String {
    let mut claims = claims.clone();
    claims[name] = value;
    claims.to_string()
}

async fn status(app: &App, token: &str) -> u16 {
    let answer = app.with(bearer(token)).get("/me").await;
    if answer.status != 200 {
        assert_eq!(answer.problem(), "invalid-token", "{token}");
    }
    answer.status.as_u16()
}

#[tokio::test]
async fn valid_claims_signed_with_the_shared_secret_are_accepted() {
    let (app, claims) = app_and_claims().await;
    assert_eq!(status(&app, &resign(HEADER, &claims.to_string(), SECRET.as_bytes())).await, 200);
    let spaced = HEADER.replace(',', " , ");
    assert_eq!(status(&app, &resign(&spaced, &claims.to_string(), SECRET.as_bytes())).await, 200);
    let skewed = changed(&claims, "nbf", json!(app.now_seconds() + 4));
    assert_eq!(status(&app, &resign(HEADER, &skewed, SECRET.as_bytes())).await, 200, "clocks differ a little");
}

#[tokio::test]
async fn an_invalid_header_is_refused() {
    let (app, claims) = app_and_claims().await;
    let claims = claims.to_string();
    for header in [
        r#"{"typ":"at+jwt","alg":"none","kid":"hs256"}"#,
        r#"{"typ":"at+jwt","alg":"None","kid":"hs256"}"#,
        r#"{"typ":"at+jwt","alg":"NONE","kid":"hs256"}"#,
        r#"{"typ":"at+jwt","alg":"","kid":"hs256"}"#,
        r#"{"typ":"at+jwt","alg":"HS384","kid":"hs256"}"#,
        r#"{"typ":"at+jwt","alg":"hs256","kid":"hs256"}"#,
        r#"{"typ":"at+jwt","alg":"ES256","kid":"hs256"}"#,
        r#"{"typ":"at+jwt","alg":["HS256"],"kid":"hs256"}"#,
        r#"{"typ":"at+jwt","kid":"hs256"}"#,
        r#"{"typ":"JWT","alg":"HS256","kid":"hs256"}"#,
        r#"{"typ":"AT+JWT","alg":"HS256","kid":"hs256"}"#,
        r#"{"typ":"statuslist+jwt","alg":"HS256","kid":"hs256"}"#,
        r#"{"alg":"HS256","kid":"hs256"}"#,
        r#"{"typ":"at+jwt","alg":"HS256"}"#,
        r#"{"typ":"at+jwt","alg":"HS256","kid":"other"}"#,
        r#"{"typ":"at+jwt","alg":"HS256","kid":"../../etc/passwd"}"#,
        r#"{"typ":"at+jwt","alg":"HS256","kid":"' OR 1=1 --"}"#,
        r#"{"typ":"at+jwt","alg":"HS256","kid":"hs256","crit":[]}"#,
        r#"{"typ":"at+jwt","alg":"HS256","kid":"hs256","crit":["exp"]}"#,
        r#"{"typ":"at+jwt","alg":"HS256","kid":"hs256","crit":["b64"],"b64":false}"#,
        r#"{"typ":"at+jwt","alg":"HS256","kid":"hs256","jku":"http://127.0.0.1:1/jwks.json"}"#,
        r#"{"typ":"at+jwt","alg":"HS256","kid":"hs256","x5u":"file:///etc/passwd"}"#,
        r#"{"typ":"at+jwt","alg":"HS256","kid":"hs256","jwk":{"kty":"oct","k":"AAAA"}}"#,
        r#"{"typ":"at+jwt","alg":"HS256","kid":"hs256","x5c":["AAAA"]}"#,
        r#"{"typ":"at+jwt","alg":"HS256","alg":"HS256","kid":"hs256"}"#,
        r#"["at+jwt","HS256","hs256"]"#,
        "[]",
        "null",
        "",
        "{}",
    ] {
        assert_eq!(status(&app, &resign(header, &claims, SECRET.as_bytes())).await, 401, "{header}");
    }
}

#[tokio::test]
async fn invalid_claims_are_refused() {
    let (app, claims) = app_and_claims().await;
    let now = app.now_seconds();
    for required in ["exp", "nbf", "iat", "iss", "aud", "sub", "sid", "jti"] {
        let mut missing = claims.clone();
        missing.as_object_mut().unwrap().remove(required);
        let wrong = [
            json!(null),
            json!([]),
            json!([claims[required]]),
            json!({}),
            json!(true),
            json!(1.5),
            json!("1e3"),
            json!(-1),
        ];
        let texts = std::iter::once(missing.to_string()).chain(wrong.map(|value| changed(&claims, required, value)));
        for text in texts {
            if text.contains("\"iat\":-1") || text.contains("\"nbf\":-1") {
                continue; // a time in the past is valid for these claims
            }
            assert_eq!(status(&app, &resign(HEADER, &text, SECRET.as_bytes())).await, 401, "{text}");
        }
    }
    for (name, value) in [
        ("exp", json!(now)),
        ("exp", json!(now - 1)),
        ("exp", json!("9999999999")),
        ("exp", json!(9_999_999_999.5)),
        ("exp", json!(u64::MAX)),
        ("nbf", json!(now + 6)),
        ("iat", json!(now + 6)),
        ("iss", json!("http://localhost:5000/")),
        ("iss", json!(["http://localhost:5000"])),
        ("aud", json!("other")),
        ("aud", json!(["countersign"])),
        ("sub", json!("root")),
        ("sub", json!("01a209a4-5175-7d1f-96a9-8817ee5490a8")),
        ("sid", json!("01a209a4-5175-7d1f-96a9-8817ee5490a8")),
        ("sid", json!("' OR 1=1 --")),
    ] {
        let text = changed(&claims, name, value);
        assert_eq!(status(&app, &resign(HEADER, &text, SECRET.as_bytes())).await, 401, "{text}");
    }
    for name in ["nbf", "iat"] {
        let text = changed(&claims, name, json!(now + 5));
        assert_eq!(status(&app, &resign(HEADER, &text, SECRET.as_bytes())).await, 200, "clocks differ: {text}");
    }
    let text = claims.to_string();
    for doubled in [
        text.replacen('{', r#"{"sub":"01a209a4-5175-7d1f-96a9-8817ee5490a8","#, 1),
        text.replacen('{', r#"{"exp":1,"#, 1),
        text.replacen('{', r#"{"unknown":1,"unknown":2,"#, 1),
        text.replacen('{', r#"{"roles":["admin"],"#, 1),
        text.replacen('{', "[{", 1) + "]",
        text.clone() + "x",
        "{}".to_owned(),
        String::new(),
    ] {
        assert_eq!(status(&app, &resign(HEADER, &doubled, SECRET.as_bytes())).await, 401, "{doubled}");
    }
    let big = text.replacen('{', &format!(r#"{{"padding":"{}","#, "x".repeat(6200)), 1);
    assert_eq!(status(&app, &resign(HEADER, &big, SECRET.as_bytes())).await, 401, "over 8 KiB");
    // Of base64, no text has one character more than a multiple of four.
    let of_length = |length: usize| {
        let padded = |by| text.replacen('{', &format!(r#"{{"padding":"{}","#, "x".repeat(by)), 1);
        let mut signed = (5000..6200).rev().map(|by| resign(HEADER, &padded(by), SECRET.as_bytes()));
        signed.find(|token| token.len() == length)
    };
    let most = (8190..=8192).rev().find_map(of_length).unwrap();
    assert_eq!(status(&app, &most).await, 200, "{}", most.len());
    let too_long = (8193..8196).find_map(of_length).unwrap();
    assert_eq!(status(&app, &too_long).await, 401, "{}", too_long.len());
    let less = text.replacen('{', &format!(r#"{{"padding":"{}","#, "x".repeat(4000)), 1);
    assert_eq!(status(&app, &resign(HEADER, &less, SECRET.as_bytes())).await, 200, "unknown claims are no fault");
}

#[tokio::test]
async fn a_changed_signature_or_another_secret_is_refused() {
    let (app, claims) = app_and_claims().await;
    let good = resign(HEADER, &claims.to_string(), SECRET.as_bytes());
    assert_eq!(status(&app, &resign(HEADER, &claims.to_string(), b"another secret of more than 32 bytes!")).await, 401);
    let (message, signature) = good.rsplit_once('.').unwrap();
    for i in 0..signature.len() {
        let mut bytes = signature.as_bytes().to_vec();
        bytes[i] = if bytes[i] == b'A' { b'B' } else { b'A' };
        assert_eq!(status(&app, &format!("{message}.{}", String::from_utf8(bytes).unwrap())).await, 401);
    }
    // The last base64 character of 32 bytes has two unused bits, which must be zero.
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        let other = format!("{}{last}", &good[..good.len() - 1]);
        assert_eq!(status(&app, &other).await, if other == good { 200 } else { 401 });
    }
}

#[tokio::test]
async fn a_foreign_key_and_the_public_key_as_a_secret_are_refused() {
    let app = App::start().await;
    let login = app.login("root").await;
    let jwt = login["token"].as_str().unwrap();
    let (header, claims) = (header_of(jwt), claims_of(jwt).to_string());
    assert_eq!(status(&app, &ForgedKey::new().sign(&header.to_string(), &claims)).await, 401);

    let jwks = app.anon().get("/.well-known/jwks.json").await.json();
    let point = |name: &str| {
        base64::Engine::decode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            jwks["keys"][0][name].as_str().unwrap(),
        )
        .unwrap()
    };
    let public = [vec![4], point("x"), point("y")].concat();
    for secret in [
        public.clone(),
        b64(&public).into_bytes(),
        jwks.to_string().into_bytes(),
        jwks["keys"][0].to_string().into_bytes(),
    ] {
        for alg in ["HS256", "ES256"] {
            let mut header = header.clone();
            header["alg"] = json!(alg);
            assert_eq!(status(&app, &resign(&header.to_string(), &claims, &secret)).await, 401);
        }
    }
    assert_eq!(status(&app, jwt).await, 200);
}

#[tokio::test]
async fn a_jwt_of_another_installation_is_refused() {
    let (one, other) = (App::start().await, App::start().await);
    let (_, jwt) = other.tokens("root").await;
    assert_eq!(one.with(jwt).get("/me").await.expect(401).problem(), "invalid-token");
}

#[tokio::test]
async fn each_algorithm_signs_and_a_change_of_algorithm_ends_no_session() {
    let app = App::start().await;
    let (_, es256) = app.tokens("root").await;
    for algorithm in ["ES256", "EdDSA", "RS256", "RS256"] {
        let later = App::on(app.database.clone(), &["--jwt-algorithm", algorithm]).await;
        let (_, jwt) = later.tokens("root").await;
        assert_eq!(header_of(&jwt["Bearer ".len()..])["alg"], algorithm);
        later.with(&jwt).get("/me").await.expect(200);
        later.with(&es256).get("/me").await.expect(200);
    }
    let last = App::on(app.database.clone(), &["--jwt-algorithm", "RS256"]).await;
    let keys = last.anon().get("/.well-known/jwks.json").await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 3, "one key an algorithm, made once");
}

#[tokio::test]
async fn a_token_is_invalid_at_the_moment_of_expiry() {
    let app = App::start().await;
    let (_, jwt) = app.tokens("root").await;
    app.advance_clock(Duration::from_millis(30 * 60 * 1000 - 1));
    app.with(&jwt).get("/me").await.expect(200);
    app.advance_clock(Duration::from_millis(1));
    app.with(&jwt).get("/me").await.expect(401);
}
