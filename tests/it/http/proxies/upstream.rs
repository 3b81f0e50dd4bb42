//! The application behind a proxy.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// An upstream that returns the head and the body of each request. `/events` is a stream of two events, of which the second is
/// sent only when [`Upstream::go_on`] says so; a WebSocket returns the bytes it gets.
pub struct Upstream {
    pub port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    hits: AtomicUsize,
    goes_on: AtomicBool,
}

impl Upstream {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(&mut stream.unwrap(), &state));
            }
        });
        Self { port, state }
    }

    /// How many requests have come.
    pub fn hits(&self) -> usize {
        self.state.hits.load(Ordering::SeqCst)
    }

    /// Lets the stream of events end.
    pub fn go_on(&self) {
        self.state.goes_on.store(true, Ordering::SeqCst);
    }
}

fn serve(stream: &mut TcpStream, state: &State) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut head, mut length, mut is_chunked) = (Vec::new(), 0, false);
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).ok().filter(|read| *read > 0)?;
        let text = String::from_utf8_lossy(&line).to_lowercase();
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        is_chunked |= text.starts_with("transfer-encoding:") && text.contains("chunked");
        head.extend(&line);
        if line == b"\r\n" {
            break;
        }
    }
    assert!(!is_chunked, "no test sends a body without its length");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    state.hits.fetch_add(1, Ordering::SeqCst);
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let method = text.split(' ').next()?.to_uppercase();
    if text.contains("\r\nupgrade: websocket\r\n") {
        return echo(stream, &mut reader);
    }
    if text.contains(" /events ") {
        return events(stream, state);
    }
    head.extend(body);
    let length = head.len();
    let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\nx-saw: {method}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(answer.as_bytes()).ok()?;
    if method == "HEAD" { Some(()) } else { stream.write_all(&head).ok() }
}

fn echo(stream: &mut TcpStream, reader: &mut BufReader<TcpStream>) -> Option<()> {
    let accepted = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n";
    stream.write_all(accepted.as_bytes()).ok()?;
    let mut bytes = [0; 64];
    loop {
        let read = reader.read(&mut bytes).ok().filter(|read| *read > 0)?;
        stream.write_all(&bytes[..read]).ok()?;
    }
}

fn events(stream: &mut TcpStream, state: &State) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(b"data: first\n\n").ok()?;
    while !state.goes_on.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(10));
    }
    stream.write_all(b"data: second\n\n").ok()
}
