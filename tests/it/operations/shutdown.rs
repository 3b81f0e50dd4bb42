//! Shutdown: requests in progress finish, no new ones are accepted, and the process exits in time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{Answer, Binary};

/// Waits until the server has read the head and asks for the body.
fn wait_for_continue(stream: &mut TcpStream) {
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
}

#[tokio::test]
async fn on_sigterm_a_request_in_progress_finishes_while_ready_returns_503() {
    let folder = TempDir::new().unwrap();
    let mut server = Binary::new(folder.path()).serve();
    let mut idle = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert_ne!(idle.read(&mut [0; 4096]).unwrap(), 0);

    // A login whose body is still missing.
    let body = r#"{"username": "nobody", "password": "my-password"}"#;
    let mut slow = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).unwrap();
    wait_for_continue(&mut slow);
    slow.write_all(&body.as_bytes()[..10]).unwrap();
    server.terminate();

    idle.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0, "a connection that waits for nothing is closed");
    let ready = Answer::of(reqwest::Client::new().get(format!("{}/ready", server.url()))).await.expect(503);
    assert_eq!(ready.problem(), "draining");
    assert_eq!(ready.header("connection"), "close");

    slow.write_all(&body.as_bytes()[10..]).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("invalid-credentials"), "{answer}");
    assert!(server.child.wait().unwrap().success());
}

/// A balancer opens a connection, the server stops, and only then the request comes.
#[tokio::test]
async fn a_connection_that_was_made_before_the_listener_closed_is_still_answered() {
    let folder = TempDir::new().unwrap();
    let mut server = Binary::new(folder.path()).serve();
    // A request that keeps the server from ending for a while.
    let mut slow = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    slow.write_all(b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .unwrap();
    wait_for_continue(&mut slow);
    server.terminate();
    let ready = format!("{}/ready", server.url());
    while Answer::of(reqwest::Client::new().get(&ready)).await.status != 503 {}

    let mut late = [(); 20].map(|()| TcpStream::connect(("127.0.0.1", server.port)).unwrap());
    slow.write_all(b"{}").unwrap();
    slow.read_to_end(&mut Vec::new()).unwrap();
    while TcpStream::connect(("127.0.0.1", server.port)).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    for stream in &mut late {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert!(server.child.wait().unwrap().success());
}

#[test]
fn a_stalled_request_delays_shutdown_by_at_most_ten_seconds() {
    let folder = TempDir::new().unwrap();
    let mut server = Binary::new(folder.path()).serve();
    let mut stuck = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stuck
        .write_all(b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 99\r\n\r\n")
        .unwrap();
    wait_for_continue(&mut stuck);
    let asked = Instant::now();
    server.terminate();
    assert!(server.child.wait().unwrap().success());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

/// A load balancer asks now and then whether a server is ready, and sends requests until it has heard that it is not.
#[tokio::test]
async fn during_the_drain_time_requests_are_answered_and_their_connections_closed() {
    let folder = TempDir::new().unwrap();
    let mut server = Binary::new(folder.path()).args(&["--drain-time", "2s"]).serve();
    let mut kept = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..read]).to_lowercase()
    };
    assert!(!ask(&mut kept).contains("connection: close"));
    let asked = Instant::now();
    server.terminate();
    std::thread::sleep(Duration::from_millis(300));
    let last = ask(&mut kept);
    assert!(last.starts_with("http/1.1 200") && last.contains("connection: close"), "{last}");
    let client = reqwest::Client::new();
    while asked.elapsed() < Duration::from_millis(1_700) {
        let answer = Answer::of(client.get(format!("{}/health", server.url()))).await.expect(200);
        assert_eq!(answer.header("connection"), "close");
        Answer::of(client.get(format!("{}/ready", server.url()))).await.expect(503);
    }
    assert!(server.child.wait().unwrap().success());
    assert!((2..4).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
}
