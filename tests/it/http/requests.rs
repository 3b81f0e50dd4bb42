//! Limits of requests: size, time and syntax.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, App, Binary, Database, PASSWORD, bearer};

/// Sends raw bytes and reads until the server closes the connection.
async fn raw(app: &App, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&app.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_over_64_kib_is_refused_with_or_without_its_length() {
    let app = App::start().await;
    let body = format!(r#"{{"username":"{}","password":"x"}}"#, "x".repeat(64 * 1024));
    let request = app.anon().request(Method::POST, "/login").header("content-type", "application/json");
    assert_eq!(Answer::of(request.body(body.clone())).await.expect(413).problem(), "body-too-large");
    let chunked = format!(
        "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert!(raw(&app, chunked.as_bytes()).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_malformed_and_not_too_large() {
    let app = App::start().await;
    let head = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let answer = raw(&app, format!("{head}1\r\n{{\r\nZZ\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("malformed-request"), "{answer}");
}

#[tokio::test]
async fn headers_over_16_kib_are_refused() {
    let app = App::start().await;
    let with = |bytes: usize| app.anon().request(Method::GET, "/health").header("x-padding", "x".repeat(bytes));
    Answer::of(with(15 * 1024)).await.expect(200);
    assert_eq!(Answer::of(with(16 * 1024)).await.expect(431).problem(), "headers-too-large");
    Answer::of(with(40 * 1024)).await.expect(431);
    let many =
        (0..200).fold(app.anon().request(Method::GET, "/health"), |request, i| request.header(format!("x-{i}"), "x"));
    Answer::of(many).await.expect(431);
    app.anon().get(&format!("/health?{}", "x".repeat(17 * 1024))).await.expect(431);
}

#[tokio::test]
async fn no_body_causes_a_5xx() {
    let app = App::start().await;
    let deep = "[".repeat(20_000);
    let bodies: &[&[u8]] = &[
        b"",
        b"{",
        b"null",
        b"[]",
        b"\"\"",
        b"1",
        b"1e999",
        b"{\"username\":\"\\ud800\",\"password\":\"x\"}",
        b"\xff\xfe",
        b"{\"username\":\"\xff\"}",
        deep.as_bytes(),
        b"\0",
        b"{\"username\":\"a\\u0000b\",\"password\":\"a\\u0000b\"}",
        b"{\"username\":null,\"password\":null}",
        b"username=%ff&password=%00",
    ];
    for (path, credential) in [("/login", None), ("/admin/users", Some(crate::support::basic("root", PASSWORD)))] {
        for content_type in [
            "application/json",
            "application/x-www-form-urlencoded",
            "text/plain",
            "multipart/form-data",
            "\u{7f}".trim_end_matches('\u{7f}'),
        ] {
            for body in bodies {
                let mut request =
                    app.anon().request(Method::POST, path).header("content-type", content_type).body(body.to_vec());
                if let Some(credential) = &credential {
                    request = request.header("authorization", credential);
                }
                let answer = Answer::of(request).await;
                assert!(answer.status.is_client_error(), "{path} {content_type} {body:?}: {answer:?}");
                answer.problem();
            }
        }
    }
}

#[tokio::test]
async fn a_nul_byte_in_a_username_is_an_unknown_username() {
    let app = App::start().await;
    for name in ["\0", "a\0b", "\u{ffff}", "😀"] {
        let answer = app.anon().post("/login", &json!({"username": name, "password": PASSWORD})).await;
        assert_eq!(answer.expect(401).problem(), "invalid-credentials", "{name:?}");
    }
}

#[tokio::test]
async fn an_incomplete_head_times_out_after_ten_seconds() {
    let app = App::start().await;
    let mut stream = TcpStream::connect(&app.address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    tokio::task::yield_now().await;
    // From here on, the runtime's clock jumps to the next timer.
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let waited = before.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(12)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn the_head_timeout_starts_anew_for_each_request() {
    let app = App::start().await;
    let mut stream = TcpStream::connect(&app.address).await.unwrap();
    let mut answer = vec![0; 4096];
    for _ in 0..3 {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200 "));
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(6)).await;
        tokio::time::resume();
    }
    stream.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    stream.read_to_end(&mut answer).await.unwrap();
    let waited = before.elapsed();
    assert!((Duration::from_secs(3)..Duration::from_secs(6)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn an_incomplete_body_times_out_after_fifteen_seconds() {
    let app = App::start().await;
    let mut stream = TcpStream::connect(&app.address).await.unwrap();
    let head = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::task::yield_now().await;
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("/problems/request-timeout"), "{answer}");
    let waited = before.elapsed();
    assert!((Duration::from_secs(14)..Duration::from_secs(17)).contains(&waited), "{waited:?}");
}

/// Otherwise 900 such clients would occupy every connection for ever.
#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_after_fifteen_seconds() {
    let app = App::start().await;
    let file = app.anon().get("/docs/swagger-ui-bundle.js").await.expect(200).text.len();
    let mut stream = TcpStream::connect(&app.address).await.unwrap();
    let requests = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n".repeat(30);
    stream.write_all(requests.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(16)).await;
    tokio::time::resume();
    let mut read = Vec::new();
    let _reset = stream.read_to_end(&mut read).await;
    assert!(read.len() < 30 * file, "all {} bytes were sent to it", read.len());
}

#[tokio::test]
async fn a_compressed_body_is_refused_with_the_reason() {
    let app = App::start().await;
    for (path, kind) in [("/login", "application/json"), ("/admin/import", "text/csv")] {
        let request = app.admin().request(Method::POST, path).header("content-type", kind);
        let answer =
            Answer::of(request.header("content-encoding", "gzip").body(vec![0x1f, 0x8b, 8, 0])).await.expect(415);
        assert!(answer.json()["detail"].as_str().unwrap().contains("compressed"), "{answer:?}");
    }
    let plain = app.anon().request(Method::POST, "/login").header("content-encoding", "identity");
    Answer::of(plain.json(&json!({"username": "root", "password": PASSWORD}))).await.expect(200);
}

#[tokio::test]
async fn malformed_http_is_refused_and_the_service_continues() {
    let app = App::start().await;
    for bytes in
        [&b"\x16\x03\x01\x02\0\x01"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\nhello\r\n\r\n"]
    {
        let answer = raw(&app, bytes).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 505"),
            "{answer}"
        );
    }
    let both = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n";
    let answer = raw(&app, both.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    app.anon().get("/health").await.expect(200);
}

/// The client disconnects while its write waits for another process to release the database.
#[tokio::test]
async fn a_write_finishes_and_is_logged_when_its_client_disconnects() {
    let database = Database::new().await;
    let server = Binary::new(database.folder.path())
        .env("DATABASE_URL", &database.url)
        .env("COUNTERSIGN_ADMIN_USERNAME", "root")
        .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
        .serve();
    let held = database.hold_writes().await;
    let body = json!({"username": "late", "password": PASSWORD}).to_string();
    let head = format!(
        "POST /admin/users HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        crate::support::basic("root", PASSWORD),
        body.len()
    );
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // Hashing takes a millisecond. After this pause the write waits for the lock, for at most 900 ms.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(100)).await;
    held.release().await;

    let client = reqwest::Client::new();
    let mut tries = 0;
    loop {
        let login =
            client.post(format!("{}/login", server.url())).json(&json!({"username": "late", "password": PASSWORD}));
        match Answer::of(login).await.status.as_u16() {
            200 => break,
            status => assert!(tries < 50, "{status}: the user was never created"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let log = server.stop().stdout;
    assert!(log.contains("method=POST route=\"/admin/users\" status=499"), "{log}");
}

#[tokio::test]
async fn every_response_has_a_request_id_no_caching_and_nosniff() {
    let app = App::start().await;
    let (opaque, _) = app.tokens("root").await;
    let mut ids = std::collections::HashSet::new();
    for path in ["/health", "/me", "/users", "/nothing", "/docs/"] {
        let answer = app.with(&opaque).get(path).await;
        assert!(ids.insert(answer.header("x-request-id").to_owned()) && answer.header("x-request-id").len() == 32);
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(["no-store", "no-cache"].contains(&answer.header("cache-control")), "{answer:?}");
    }
    let answer = app.with(bearer("x")).get("/me").await;
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// With 900 idle connections, the next one waits until one of them closes.
#[tokio::test]
async fn connections_beyond_the_cap_wait() {
    let Some(python) = crate::support::find_program("python3") else { return };
    let folder = tempfile::TempDir::new().unwrap();
    let server = Binary::new(folder.path()).serve();
    let script = r#"
import socket, sys, time
def connect(client=0):
    source = ("127.0.%d.%d" % divmod(client // 100 + 256, 256), 0)
    return socket.create_connection(("127.0.0.1", int(sys.argv[1])), source_address=source)
idle = [connect(i) for i in range(900)]
time.sleep(0.3)
late = connect(900)
late.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
late.settimeout(0.5)
try:
    sys.exit("it was answered: %r" % late.recv(100))
except TimeoutError:
    pass
idle.pop().close()
late.settimeout(5)
assert late.recv(100).startswith(b"HTTP/1.1 200")
"#;
    let done = std::process::Command::new(python).args(["-c", script, &server.port.to_string()]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn one_address_holds_so_many_connections_and_others_are_served() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Binary::new(folder.path()).args(&["--connections-per-address", "5"]).serve();
    let connect = async |source: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let mut stream = socket.connect(([127, 0, 0, 1], server.port).into()).await.unwrap();
        let _closed = stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer).await.map(|_| answer);
        (stream, read.is_ok_and(|answer| answer == *b"HTTP/1.1 200"))
    };
    let mut held = Vec::new();
    for _ in 0..5 {
        let (stream, answered) = connect([127, 0, 9, 1]).await;
        assert!(answered);
        held.push(stream);
    }
    assert!(!connect([127, 0, 9, 1]).await.1, "the sixth is closed");
    assert!(connect([127, 0, 9, 2]).await.1);
    held.pop();
    let mut tries = 0;
    while !connect([127, 0, 9, 1]).await.1 {
        tries += 1;
        assert!(tries < 50, "the place of a closed connection was never free again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Another process holds the lock of an unfinished transaction.
#[tokio::test]
async fn while_another_process_locks_the_database_writes_get_503_and_checks_continue() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    let held = app.database.hold_writes().await;
    let caller = app.with(&opaque);
    let asked = std::time::Instant::now();
    let writes = futures_util::future::join_all((0..10).map(|_| caller.send(Method::POST, "/refresh?rotate=true")));
    let checks = async {
        for _ in 0..20 {
            for token in [&opaque, &jwt] {
                app.with(token).get("/me").await.expect(200);
            }
        }
        asked.elapsed()
    };
    let (answers, checked) = tokio::join!(writes, checks);
    assert!(checked < Duration::from_secs(2), "{checked:?}");
    // Two seconds, plus one for a loaded machine.
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    for answer in answers {
        let answer = answer.expect(503);
        assert_eq!((answer.problem().as_str(), answer.header("retry-after")), ("unavailable", "1"));
    }
    held.release().await;
    app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
    app.with(&jwt).get("/me").await.expect(401);
}

/// A request that was authenticated and whose body is still missing.
struct PendingRequest(TcpStream);

impl PendingRequest {
    async fn begin(app: &App, path: &str, authorization: &str, kind: &str, body: &str) -> Self {
        let mut stream = TcpStream::connect(&app.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {authorization}\r\n\
             content-type: {kind}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 64];
        let read = stream.read(&mut answer).await.unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 100 "), "it was authenticated, and its body is asked for");
        Self(stream)
    }

    async fn end(mut self, body: &str) -> u16 {
        self.0.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// Otherwise a thief could keep a request open and use it after the logout.
#[tokio::test]
async fn a_credential_that_ends_while_the_body_is_read_is_refused() {
    let app = App::start().await;
    app.create("other", &["user", "admin"]).await;
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    let victim = app.personal_token("root", &json!({"name": "victim"})).await;
    let victim = victim["Bearer ".len()..].to_owned();
    for (path, kind, body) in [
        ("/me/tokens", json, r#"{"name": "a", "scopes": ["profile"]}"#.to_owned()),
        ("/admin/users", json, r#"{"username": "eve", "password": "my-password", "roles": ["admin"]}"#.to_owned()),
        ("/oauth/introspect", form, format!("token={victim}")),
        ("/oauth/revoke", form, format!("token={victim}")),
    ] {
        let begin = async |authorization: &str| PendingRequest::begin(&app, path, authorization, kind, &body).await;
        let (opaque, jwt) = app.tokens("root").await;
        let (by_opaque, by_jwt) = (begin(&opaque).await, begin(&jwt).await);
        app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
        assert_eq!((by_opaque.end(&body).await, by_jwt.end(&body).await), (401, 401), "{path}");

        let made = app
            .admin()
            .post("/me/tokens", &json!({"name": "b", "scopes": ["profile", "tokens", "introspect", "admin"]}))
            .await
            .expect(201)
            .json();
        let by_token = begin(&bearer(made["token"].as_str().unwrap())).await;
        app.admin().send(Method::DELETE, &format!("/me/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
        assert_eq!(by_token.end(&body).await, 401, "{path}");

        let others = crate::support::basic("other", PASSWORD);
        let by_basic = begin(&others).await;
        app.disable("other").await;
        assert_eq!(by_basic.end(&body).await, 401, "{path}");
        app.database.sql("UPDATE users SET status = 'active' WHERE username = 'other'").await;
        if path != "/me/tokens" && path != "/oauth/revoke" {
            let by_basic = begin(&others).await;
            app.database.sql("UPDATE users SET roles = 'user' WHERE username = 'other'").await;
            assert_eq!(by_basic.end(&body).await, 403, "{path}");
            app.database.sql("UPDATE users SET roles = 'admin user' WHERE username = 'other'").await;
        }
    }
    app.with(bearer(&victim)).get("/me").await.expect(200);
}

/// Sends the head of a request that is refused for its credential, then the parts of its body, and then asks for something else
/// on the same connection. Returns both answers.
async fn refused_early(app: &App, length: usize, parts: &[Vec<u8>]) -> (String, String) {
    let mut stream = TcpStream::connect(&app.address).await.unwrap();
    let head = format!(
        "POST /admin/users HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for part in parts {
        tokio::time::sleep(Duration::from_millis(5)).await;
        // The other end may have closed meanwhile.
        let _closed = stream.write_all(part).await;
    }
    let first = answer(&mut stream).await;
    let _closed = stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    (first, answer(&mut stream).await)
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 4096];
    let read = stream.read(&mut bytes).await.unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).to_lowercase()
}

#[tokio::test]
async fn a_connection_goes_on_behind_a_refused_body_or_the_answer_says_that_it_does_not() {
    let app = App::start().await;
    let (first, second) = refused_early(&app, 600, &[vec![b'x'; 300], vec![b'x'; 300]]).await;
    assert!(first.starts_with("http/1.1 401") && !first.contains("connection: close"), "{first}");
    assert!(second.starts_with("http/1.1 200"), "{second}");
    // What does not come in time, or is too much, is not waited for.
    for (length, sent) in [(600, 300), (5_000_000, 100_000)] {
        let (first, second) = refused_early(&app, length, &[vec![b'x'; sent]]).await;
        assert!(first.starts_with("http/1.1 401") && first.contains("connection: close"), "{first}");
        assert!(!second.contains("200 ok"), "{second}");
    }
}
