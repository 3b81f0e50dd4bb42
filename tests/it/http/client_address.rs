//! Behind trusted proxies, sessions, the audit trail and the access log have the address of the client. Nobody else can
//! choose that address.

use countersign::http::client_address;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{Answer, App, Binary, Database, PASSWORD, bearer};

const PROXIES: &str = "127.0.0.0/8,::1/128";

/// The `X-Forwarded-For` headers of a request, and the address of the client if [`PROXIES`] are trusted.
const FORWARDED: [(&[&str], &str); 6] = [
    (&[], "127.0.0.1"),
    (&["198.51.100.1"], "198.51.100.1"),
    (&["2001:db8::1, ::1"], "2001:db8::1"),
    // A proxy appends the address that it saw, so the client may have written everything to the left of it.
    (&["203.0.113.9, 198.51.100.2"], "198.51.100.2"),
    (&["127.0.0.9, 203.0.113.9, 198.51.100.3, 127.0.0.2, 127.0.0.1"], "198.51.100.3"),
    // Several headers are one list.
    (&["203.0.113.9", "198.51.100.4", "127.0.0.2"], "198.51.100.4"),
];

fn with_headers(request: RequestBuilder, forwarded: &[&str]) -> RequestBuilder {
    forwarded.iter().fold(request, |request, value| request.header("x-forwarded-for", *value))
}

/// Sends a wrong and a correct login with these headers. Returns the addresses in the session and in both audit records.
async fn recorded(app: &App, forwarded: &[&str]) -> [Value; 3] {
    let login = |password: &str| {
        let body = json!({"username": "root", "password": password});
        Answer::of(with_headers(app.anon().request(Method::POST, "/login").json(&body), forwarded))
    };
    login("wrong-password").await.expect(401);
    let login = login(PASSWORD).await.expect(200).json();
    let caller = app.with(bearer(login["opaque_token"].as_str().unwrap()));
    let sessions = caller.get("/me/sessions").await.expect(200).json();
    let session = sessions["items"].as_array().unwrap().iter().find(|session| session["current"] == true).unwrap();
    let newest = async |event: &str| {
        let page = caller.get(&format!("/admin/audit?limit=1&event={event}")).await.expect(200).json();
        page["items"][0]["address"].clone()
    };
    [session["address"].clone(), newest("login.succeeded").await, newest("login.failed").await]
}

#[tokio::test]
async fn sessions_and_audit_records_have_the_rightmost_address_that_is_no_trusted_proxy() {
    let app = App::start_with(&["--trusted-proxies", PROXIES]).await;
    for (forwarded, address) in FORWARDED {
        assert_eq!(recorded(&app, forwarded).await, [address; 3], "{forwarded:?}");
    }
}

#[tokio::test]
async fn without_trusted_proxies_sessions_and_audit_records_have_the_address_of_the_peer() {
    let app = App::start().await;
    for (forwarded, _) in FORWARDED {
        assert_eq!(recorded(&app, forwarded).await, ["127.0.0.1"; 3], "{forwarded:?}");
    }
}

/// The addresses in the access log after one request with each of the headers.
async fn logged(proxies: &str) -> Vec<String> {
    let database = Database::new().await;
    let server = Binary::new(database.folder.path())
        .env("DATABASE_URL", &database.url)
        .env("COUNTERSIGN_LOG_FORMAT", "json")
        .env("COUNTERSIGN_TRUSTED_PROXIES", proxies)
        .serve();
    let client = reqwest::Client::new();
    for (forwarded, _) in FORWARDED {
        Answer::of(with_headers(client.get(format!("{}/me", server.url())), forwarded)).await.expect(401);
    }
    let log = server.stop().stdout;
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let requests = lines.filter(|line| line["message"] == "request" && line["route"] == "/me");
    requests.map(|line| line["address"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_access_log_has_the_rightmost_address_that_is_no_trusted_proxy() {
    assert_eq!(logged(PROXIES).await, FORWARDED.map(|(_, address)| address));
    assert_eq!(logged("").await, ["127.0.0.1"; FORWARDED.len()]);
}

/// The client address when the proxies in `10.0.0.0/8` and `fd00::/8` are trusted.
fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
    let trusted = "10.0.0.0/8,fd00::/8".parse().unwrap();
    let mut map = reqwest::header::HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    client_address(peer.parse().unwrap(), &map, &trusted).to_string()
}

#[test]
fn forwarding_headers_of_an_untrusted_peer_are_ignored() {
    for header in ["x-forwarded-for", "forwarded"] {
        assert_eq!(client("192.0.2.7", &[(header, "for=198.51.100.1")]), "192.0.2.7");
        assert_eq!(client("192.0.2.7", &[(header, "10.0.0.1")]), "192.0.2.7");
    }
    assert_eq!(client("::ffff:192.0.2.7", &[]), "192.0.2.7");
}

#[test]
fn behind_trusted_proxies_the_client_is_the_rightmost_untrusted_address() {
    for (value, address) in [
        ("198.51.100.1", "198.51.100.1"),
        ("203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("203.0.113.9, 198.51.100.1, 10.1.1.1,10.2.2.2", "198.51.100.1"),
        ("10.1.1.1", "10.1.1.1"),
        ("198.51.100.1:4711", "198.51.100.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711, fd00::2", "2001:db8::1"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
    ] {
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", value)]), address, "{value}");
    }
    let twice = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "198.51.100.1, 10.1.1.1")];
    assert_eq!(client("10.0.0.1", &twice), "198.51.100.1");
    let element = r#"for=203.0.113.9, For="[2001:db8::1]:4711";proto=https;by=10.0.0.2"#;
    assert_eq!(client("10.0.0.1", &[("forwarded", element)]), "2001:db8::1");
}

#[test]
fn an_unreadable_hop_ends_the_search_at_the_last_known_hop() {
    for value in ["unknown", "_hidden", "", "198.51.100.1, nonsense", "10.1.1.1.1", "for=198.51.100.1"] {
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", value)]), "10.0.0.1", "{value}");
    }
    assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "198.51.100.1, unknown, 10.9.9.9")]), "10.9.9.9");
    // Neither does a byte that is no text hide what the proxy appended.
    let mut headers = reqwest::header::HeaderMap::new();
    headers.append("x-forwarded-for", reqwest::header::HeaderValue::from_bytes(b"\xff, 198.51.100.1").unwrap());
    let trusted = "10.0.0.0/8".parse().unwrap();
    assert_eq!(client_address("10.0.0.1".parse().unwrap(), &headers, &trusted).to_string(), "198.51.100.1");
}

#[test]
fn x_forwarded_for_takes_precedence_over_forwarded() {
    let both = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.2")];
    assert_eq!(client("10.0.0.1", &both), "198.51.100.1");
}

#[tokio::test]
async fn a_proxy_that_nobody_named_is_warned_of_once() {
    let database = Database::new().await;
    let server = Binary::new(database.folder.path()).env("DATABASE_URL", &database.url).serve();
    let client = reqwest::Client::new();
    for forwarded in [&[][..], &["198.51.100.1"], &["198.51.100.2"]] {
        Answer::of(with_headers(client.get(format!("{}/me", server.url())), forwarded)).await.expect(401);
    }
    let log = server.stop().stdout;
    assert_eq!(log.matches("COUNTERSIGN_TRUSTED_PROXIES does not name").count(), 1, "{log}");
}
