//! What must hold for any input, one function for each kind of it. `scripts/fuzz` looks for an input that breaks one, guided by
//! coverage; `tests/it/fuzzing.rs` tries the corpus and changes of it, on stable Rust.
#![allow(clippy::expect_used, clippy::panic, reason = "a panic is how a fuzz target reports what it found")]

mod service;

use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr};

use aws_lc_rs::hmac;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use countersign::auth::{Credential, ParsedHash, Rows};
use countersign::http::client_address;
use countersign::model::{Format, Networks, PasswordHash, PersonalSecret, fold_username, is_valid_username};
use secrecy::ExposeSecret;
use serde_json::Value;

use self::service::{JWT_SECRET, NOW_SECONDS, send, session};

/// A property, by the name of its fuzz target.
pub type Property = fn(&[u8]);

/// All of them.
pub const PROPERTIES: [(&str, Property); 9] = [
    ("authorization", authorization),
    ("jwt", jwt),
    ("personal_token", personal_token),
    ("forwarded_headers", forwarded_headers),
    ("password_hash", password_hash),
    ("import_csv", import_csv),
    ("import_ndjson", import_ndjson),
    ("body", body),
    ("query", query),
];

/// An `Authorization` header is refused, or read in the one way that its RFC allows.
pub fn authorization(header: &[u8]) {
    let Ok(credential) = Credential::parse(header) else { return };
    let text = std::str::from_utf8(header).expect("only text is accepted");
    let (_scheme, value) = text.split_once(' ').expect("a scheme ends at a space");
    let value = value.trim_start_matches(' ');
    match credential {
        Credential::Basic { username, password } => {
            assert!(!username.is_empty() && !username.contains(':') && !password.expose_secret().is_empty());
            let pair = format!("{}:{}", *username, password.expose_secret());
            assert!(!pair.chars().any(char::is_control));
            assert_eq!(STANDARD.encode(pair), value);
        }
        Credential::Opaque(token) => assert_eq!(token.reveal(), value),
        Credential::Personal(secret) => assert_eq!(secret.reveal(), value),
        Credential::Jwt(token) => {
            assert_eq!(token, value);
            assert_eq!(token.split('.').filter(|part| !part.is_empty()).count(), 3);
        }
    }
}

/// A JWT with a valid signature, of a header and claims in two lines, is accepted only if everything in it is as it must be.
pub fn jwt(input: &[u8]) {
    accepts_jwt(input);
}

/// Whether the JWT of [`jwt`] is accepted. In place of the ids in the corpus it has those of a live session.
pub fn accepts_jwt(input: &[u8]) -> bool {
    const SUB: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
    const SID: &str = "01890a5d-ac96-774b-bcce-b302099a8058";
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (header, claims) = (input.get(..end).unwrap_or_default(), input.get(end + 1..).unwrap_or_default());
    let session = session();
    let (user, id) = (session["sub"].as_str().expect("text"), session["sid"].as_str().expect("text"));
    let claims = match std::str::from_utf8(claims) {
        Ok(text) => text.replace(SUB, user).replace(SID, id).into_bytes(),
        Err(_) => claims.to_vec(),
    };
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, JWT_SECRET.as_bytes()), message.as_bytes());
    let token = format!("Bearer {message}.{}", URL_SAFE_NO_PAD.encode(tag));
    match send(Method::GET, "/me", &[("authorization", token.as_bytes())], b"").0 {
        200 => {}
        401 => return false,
        other => panic!("{other}"),
    }
    let header: Members = serde_json::from_slice(header).expect("the header is JSON");
    assert_eq!(header.sorted(), [("alg", "HS256".into()), ("kid", "hs256".into()), ("typ", "at+jwt".into())]);
    let claims: Members = serde_json::from_slice(&claims).expect("the claims are JSON");
    let claims = claims.sorted();
    assert!(claims.is_sorted_by(|(a, _), (b, _)| a < b), "a claim comes twice");
    let claim = |name| claims.iter().find(|(claim, _)| *claim == name).map(|(_, value)| value.clone()).expect(name);
    let is_uuid = |name, expected: &str| {
        let text = claim(name).as_str().expect("a UUID is text").to_ascii_lowercase().replace('-', "");
        assert!(text.contains(&expected.replace('-', "")), "{name} is {text}");
    };
    assert_eq!((claim("iss"), claim("aud")), (session["iss"].clone(), session["aud"].clone()));
    is_uuid("sub", user);
    is_uuid("sid", id);
    assert!(claim("jti").is_string());
    let seconds = |name| claim(name).as_i64().expect("a time is a whole number");
    assert!(seconds("exp") > NOW_SECONDS && seconds("nbf") <= NOW_SECONDS + 5 && seconds("iat") <= NOW_SECONDS + 5);
    true
}

/// A personal token has one spelling, and no other token is one bit away from it.
pub fn personal_token(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(secret) = PersonalSecret::parse(text)
    {
        assert_eq!(secret.reveal(), text);
    }
    let Some((random, rest)) = input.split_first_chunk::<32>() else { return };
    let secret = PersonalSecret::new(*random);
    let mut text = secret.reveal().into_bytes();
    let parsed = PersonalSecret::parse(&secret.reveal()).expect("a new token is one");
    assert_eq!(parsed.hash().as_bytes(), secret.hash().as_bytes());
    let Some([position, bit]) = rest.first_chunk() else { return };
    let length = text.len();
    if let Some(byte) = text.get_mut(usize::from(*position) % length) {
        *byte ^= 1 << (bit % 7);
    }
    let changed = String::from_utf8(text).expect("ASCII stays ASCII");
    assert!(PersonalSecret::parse(&changed).is_none(), "{changed}");
}

/// Only a trusted proxy says who the client is, and only with what it wrote at the right end.
pub fn forwarded_headers(input: &[u8]) {
    const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    let trusted: Networks = "127.0.0.0/8,::1".parse().expect("networks");
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let (name, value) = match line.split_first() {
            Some((b'x', value)) => (HeaderName::from_static("x-forwarded-for"), value),
            Some((_, value)) => (HeaderName::from_static("forwarded"), value),
            None => continue,
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    assert_eq!(client_address(STRANGER, &headers, &trusted), STRANGER);

    let (name, hop) = if headers.contains_key("x-forwarded-for") {
        ("x-forwarded-for", "203.0.113.9")
    } else {
        ("forwarded", "for=203.0.113.9")
    };
    let with = |before: Option<&'static str>, after: Option<&'static str>| {
        let own = headers.get_all(name).iter().cloned();
        let values =
            before.map(HeaderValue::from_static).into_iter().chain(own).chain(after.map(HeaderValue::from_static));
        let mut headers = headers.clone();
        headers.remove(name);
        for value in values {
            headers.append(name, value);
        }
        client_address(PROXY, &headers, &trusted)
    };
    let client = with(None, None);
    assert_eq!(with(None, Some(hop)), CLIENT, "what the proxy appended counts");
    if !trusted.contains(client) {
        assert_eq!(with(Some(hop), None), client, "what the client wrote before it does not");
    }
}

/// A stored hash is refused, or costs no more than the limits and can be run.
pub fn password_hash(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Some(hash) = ParsedHash::parse(&PasswordHash(text.to_owned())) else { return };
    assert!(text.len() <= 512 && hash.scheme.is_within_limits());
    // What a hash of our own costs in a test; more would only be slow.
    if hash.scheme.work() <= 256 && hash.scheme.memory_kib() <= 1024 {
        assert!(!hash.verify(&mut Vec::new(), b"no hash in the corpus is of this"));
    }
}

/// See [`import`].
pub fn import_csv(input: &[u8]) {
    import(Format::Csv, input);
}

/// See [`import`].
pub fn import_ndjson(input: &[u8]) {
    import(Format::Ndjson, input);
}

/// The rows of a file come in order, and each is valid or says what is not.
fn import(format: Format, file: &[u8]) {
    let mut rows = Rows::read(format, Cursor::new(file.to_vec())).expect("a thread can be started");
    let mut last = 0;
    while let Some(batch) = service::block_on(rows.next()) {
        let Ok(batch) = batch else { break };
        for row in batch {
            // Where lines end now with CR and now with LF, two rows may have one number.
            assert!(row.line >= last, "line {} after {last}", row.line);
            last = row.line;
            match row.record {
                Ok(record) => {
                    assert_eq!(row.username.as_ref(), Some(&record.username));
                    assert!(is_valid_username(&record.username) && fold_username(&record.username) == record.username);
                    // A user without a password has a hash that nothing matches.
                    let is_known = |hash| ParsedHash::parse(&hash).is_some();
                    assert!(record.password_hash.is_none_or(|hash| hash.is_none() || is_known(hash)));
                }
                Err(errors) => assert!(!errors.is_empty()),
            }
        }
    }
}

/// A body is accepted, or refused with a problem: bad input alone is no fault of the service. The first byte chooses the route.
pub fn body(input: &[u8]) {
    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";
    let routes = [
        (Method::POST, "/login", JSON),
        (Method::POST, "/login", FORM),
        (Method::POST, "/admin/users", JSON),
        (Method::PATCH, "/admin/users/{id}", JSON),
        (Method::PUT, "/admin/users/{id}/password", JSON),
        (Method::PATCH, "/me", JSON),
        (Method::POST, "/me/password", JSON),
        (Method::POST, "/me/tokens", JSON),
        (Method::POST, "/oauth/introspect", FORM),
        (Method::POST, "/oauth/revoke", FORM),
        (Method::POST, "/refresh", JSON),
        (Method::POST, "/admin/users/{id}/link", JSON),
        (Method::POST, "/password/forgot", JSON),
        (Method::POST, "/password/reset", JSON),
        (Method::POST, "/me/email", JSON),
        (Method::POST, "/email/verify", JSON),
        (Method::POST, "/register", JSON),
        (Method::POST, "/register/complete", JSON),
    ];
    let Some((route, body)) = input.split_first() else { return };
    let Some((method, path, content_type)) = routes.get(usize::from(*route) % routes.len()).cloned() else { return };
    let (path, admin) = (path.replace("{id}", &service::other_user()), service::admin());
    let mut headers = vec![("content-type", content_type.as_bytes())];
    // A login has its credential in the body.
    if path != "/login" {
        headers.push(("authorization", admin.as_bytes()));
    }
    assert_is_no_fault(send(method, &path, &headers, body));
}

/// A query or an id in a path is accepted, or refused with a problem. The first byte chooses the route.
pub fn query(input: &[u8]) {
    const PATHS: [&str; 8] = [
        "/admin/users?",
        "/admin/audit?",
        "/users?",
        "/admin/export?",
        "/admin/users/",
        "/admin/sessions/",
        "/statuslists/",
        "/problems/",
    ];
    let Some((path, text)) = input.split_first() else { return };
    let path = PATHS.get(usize::from(*path) % PATHS.len()).copied().unwrap_or_default();
    // What a client cannot put into a request line is encoded, as a client would.
    let text: String = text
        .iter()
        .map(|byte| match byte {
            b'!'..=b'~' if !b"\"#<>\\^`{|}".contains(byte) => char::from(*byte).to_string(),
            byte => format!("%{byte:02x}"),
        })
        .collect();
    let admin = service::admin();
    assert_is_no_fault(send(Method::GET, &format!("{path}{text}"), &[("authorization", admin.as_bytes())], b""));
}

fn assert_is_no_fault((status, answer): (u16, Vec<u8>)) {
    assert!(status < 500, "{status} {}", String::from_utf8_lossy(&answer));
    if status >= 400 {
        let problem: Value = serde_json::from_slice(&answer).expect("an error is JSON");
        assert!(problem["type"].is_string() && problem["status"] == status, "{problem}");
    }
}

/// The members of a JSON object as they were sent, duplicates included.
struct Members(Vec<(String, Value)>);

impl Members {
    fn sorted(&self) -> Vec<(&str, Value)> {
        let mut members: Vec<_> = self.0.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        members.sort_by_key(|(name, _)| *name);
        members
    }
}

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
