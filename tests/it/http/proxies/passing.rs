//! What goes through a proxy unchanged, once Countersign has said yes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{Proxy, countersign, get};

/// Checks that a proxy leaves alone what an application needs.
async fn check_passing(start: impl FnOnce(u16) -> Option<Proxy> + Send + 'static) {
    let (app, port) = countersign().await;
    let (opaque, _) = app.tokens("root").await;
    let checked = tokio::task::spawn_blocking(move || {
        let Some(proxy) = start(port) else { return };
        let good = format!("Authorization: {opaque}");
        headers_of_an_application(&proxy, &good);
        methods(&proxy, &good);
        large_body(&proxy, &good);
        web_socket(&proxy, &good);
        other_upgrades(&proxy, &good);
        events(&proxy, &good);
    });
    checked.await.unwrap();
}

fn headers_of_an_application(proxy: &Proxy, good: &str) {
    let sent = [
        "HX-Request",
        "X-Inertia",
        "X-Api-Version",
        "X-CSRF-Token",
        "X-Requested-With",
        "X-User-Agent",
        "X-Client-Version",
        "Turbo-Frame",
        "Idempotency-Key",
        "Traceparent",
        "If-None-Match",
        "Accept",
        "Cookie",
        "Origin",
        "A-Name-Nobody-Knows",
    ];
    let lines: Vec<_> = sent.iter().map(|name| format!("{name}: \"value of {name}\"")).collect();
    let seen = proxy.send(&get("/", &[&[good], &lines.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat()));
    assert_eq!(seen.status, 200, "{seen:?}");
    let headers = seen.upstream_headers();
    for name in sent {
        let expected = vec![format!("\"value of {name}\"")];
        assert_eq!(headers.get(&name.to_lowercase()), Some(&expected), "{name}");
    }
}

fn methods(proxy: &Proxy, good: &str) {
    for method in ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"] {
        let seen = proxy.send(&get("/", &[good, "Origin: https://app.example.org"]).replacen("GET", method, 1));
        let head = seen.head.to_lowercase();
        assert!(
            seen.status == 200 && head.contains(&format!("x-saw: {}", method.to_lowercase())),
            "{method}: {seen:?}"
        );
        assert_eq!(seen.body.is_empty(), method == "HEAD", "{method}");
    }
}

fn large_body(proxy: &Proxy, good: &str) {
    let (body, length) = ("x".repeat(900_000), 900_000);
    let head =
        format!("POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{good}\r\nContent-Length: {length}\r\n\r\n");
    let seen = proxy.send(&(head + &body));
    assert!(seen.status == 200 && seen.body.ends_with(&body), "{}", seen.head);
}

/// Sends this, and gives the connection.
fn open(proxy: &Proxy, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Reads until this has come.
fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let (mut seen, mut bytes) = (String::new(), [0; 4096]);
    while !seen.contains(text) {
        let read = stream.read(&mut bytes).unwrap_or_else(|error| panic!("no {text}: {error}: {seen}"));
        assert!(read > 0, "no {text}: {seen}");
        seen += &String::from_utf8_lossy(&bytes[..read]);
    }
    seen
}

fn upgrade(to: &str, credential: &str) -> String {
    format!(
        "GET /socket HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: {to}\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{credential}\r\n\r\n"
    )
}

fn web_socket(proxy: &Proxy, good: &str) {
    let before = proxy.upstream.hits();
    let refused = read_until(&mut open(proxy, &upgrade("websocket", "X-None: none")), "\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert_eq!(proxy.upstream.hits(), before);
    let mut socket = open(proxy, &upgrade("websocket", good));
    let accepted = read_until(&mut socket, "\r\n\r\n");
    assert!(accepted.starts_with("HTTP/1.1 101"), "{accepted}");
    for bytes in ["one", "another"] {
        socket.write_all(bytes.as_bytes()).unwrap();
        read_until(&mut socket, bytes);
    }
}

/// Requests in an h2c tunnel would bypass the check.
fn other_upgrades(proxy: &Proxy, good: &str) {
    let tunnel =
        ["Connection: close, Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"];
    let request = get("/", &[&[good], &tunnel[..]].concat()).replace("Connection: close\r\n", "");
    let seen = proxy.send(&request);
    assert_eq!(seen.status, 200, "{seen:?}");
    let headers = seen.upstream_headers();
    assert!(!headers.contains_key("upgrade") && !headers.contains_key("http2-settings"), "{headers:?}");
}

/// The first event arrives while the application keeps the second.
fn events(proxy: &Proxy, good: &str) {
    let mut stream = open(proxy, &get("/events", &[good, "Accept: text/event-stream"]));
    read_until(&mut stream, "data: first");
    proxy.upstream.go_on();
    read_until(&mut stream, "data: second");
}

#[tokio::test]
async fn nginx_leaves_alone_what_an_application_needs() {
    check_passing(Proxy::nginx).await;
}

#[tokio::test]
async fn caddy_leaves_alone_what_an_application_needs() {
    check_passing(Proxy::caddy).await;
}

#[tokio::test]
async fn traefik_leaves_alone_what_an_application_needs() {
    check_passing(Proxy::traefik).await;
}
