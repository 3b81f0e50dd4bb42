//! A load generator for what wrk cannot do: an open loop at a constant rate, from many local addresses, or a list of
//! requests sent once. It prints its results as JSON.
#![allow(clippy::print_stdout, clippy::indexing_slicing, reason = "a tool of `scripts/bench`, not the service")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tokio::time;

/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most requests in flight; the server accepts at most 900 connections.
const MAX_IN_FLIGHT: usize = 800;
/// How long an idle connection is reused; the server closes it after ten seconds.
const MAX_IDLE: Duration = Duration::from_secs(5);
/// The reported percentiles of latency.
const PERCENTILES: [f64; 11] = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

#[derive(Parser)]
struct Args {
    /// The address of the server
    target: SocketAddr,
    /// A file of complete requests, each followed by a NUL; they are sent round-robin
    requests: PathBuf,
    /// The number of clients, each with an address of its own (from 127.1.0.1 on)
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// All clients have this one address instead
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// The duration, at most 300; without it each request is sent once
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: Option<u64>,
    /// Requests per second, open loop; without it each client waits for a response before its next request
    #[arg(long)]
    rate: Option<f64>,
    /// A file for the bodies of the responses, one per line
    #[arg(long)]
    bodies: Option<PathBuf>,
}

/// A response.
struct Answer {
    status: u16,
    has_retry_after: bool,
    body: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(client: usize, address: Option<Ipv4Addr>, target: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        let [high, low] = u16::try_from(client + 1).unwrap_or(1).to_be_bytes();
        socket.bind((address.unwrap_or(Ipv4Addr::new(127, 1, high, low)), 0).into())?;
        let stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    async fn send(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (mut end, mut answer) = (usize::MAX, None);
        while self.buffer.len() < end {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if answer.is_none()
                && let Some(head) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            {
                let (length, head_of) = read_head(&self.buffer[..head]).ok_or(io::ErrorKind::InvalidData)?;
                (end, answer) = (head + 4 + length, Some((head + 4, head_of)));
            }
        }
        let (body, answer) = answer.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Answer { body: self.buffer[body..].to_vec(), ..answer })
    }
}

/// Parses the head of a response. Returns the length of the body, and the response without it.
fn read_head(head: &[u8]) -> Option<(usize, Answer)> {
    let text = std::str::from_utf8(head).ok()?.to_ascii_lowercase();
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length = value("content-length:").map_or(Some(0), |length| length.parse().ok())?;
    Some((length, Answer { status, has_retry_after: value("retry-after:").is_some(), body: Vec::new() }))
}

/// The results of all requests.
#[derive(Default)]
struct Tally {
    /// By status: the latency of each response, and how many had no Retry-After.
    answers: BTreeMap<u16, (Vec<Duration>, u64)>,
    errors: BTreeMap<String, u64>,
    bodies: Option<BufWriter<File>>,
}

impl Tally {
    fn record(&mut self, took: Duration, answer: io::Result<Answer>) -> io::Result<()> {
        match answer {
            Ok(answer) => {
                let (took_all, silent) = self.answers.entry(answer.status).or_default();
                took_all.push(took);
                *silent += u64::from(!answer.has_retry_after);
                if let Some(bodies) = &mut self.bodies {
                    bodies.write_all(&answer.body)?;
                    bodies.write_all(b"\n")?;
                }
            }
            Err(error) => *self.errors.entry(error.kind().to_string()).or_default() += 1,
        }
        Ok(())
    }

    fn into_json(self, sent: u64, seconds: f64) -> Value {
        let answers = self.answers.into_iter().map(|(status, (mut took, silent))| {
            took.sort_unstable();
            let at = |percent: f64| {
                let last = took.len() - 1;
                let place = (percent / 100.0 * took.len() as f64).ceil() as usize;
                took[place.saturating_sub(1).min(last)].as_secs_f64() * 1e3
            };
            let milliseconds: BTreeMap<_, _> = PERCENTILES.map(|percent| (percent.to_string(), at(percent))).into();
            let count = took.len();
            (status.to_string(), json!({"count": count, "without_retry_after": silent, "ms": milliseconds}))
        });
        let answers: BTreeMap<_, _> = answers.collect();
        json!({"sent": sent, "seconds": seconds, "answers": answers, "errors": self.errors})
    }
}

/// The state that all clients share.
struct Load {
    target: SocketAddr,
    address: Option<Ipv4Addr>,
    requests: Vec<Vec<u8>>,
    /// By client: its idle connections, and since when each is idle.
    idle: RefCell<Vec<Vec<(Instant, Connection)>>>,
    tally: RefCell<Tally>,
}

impl Load {
    /// Sends one request of a client, on an idle connection or a new one.
    async fn send(&self, client: usize, turn: usize) -> io::Result<()> {
        let begun = Instant::now();
        let answer = time::timeout(TIMEOUT, async {
            let idle = self.idle.borrow_mut()[client].pop();
            let mut connection = match idle {
                Some((since, connection)) if since.elapsed() < MAX_IDLE => connection,
                _ => Connection::open(client, self.address, self.target).await?,
            };
            let answer = connection.send(&self.requests[turn % self.requests.len()]).await?;
            self.idle.borrow_mut()[client].push((Instant::now(), connection));
            Ok(answer)
        });
        let answer = answer.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        self.tally.borrow_mut().record(begun.elapsed(), answer)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let mut requests: Vec<_> = fs::read(&args.requests)?.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    requests.retain(|request| !request.is_empty());
    if requests.is_empty() || args.clients == 0 || args.clients > 60_000 {
        return Err("at least one request and from 1 to 60000 clients are needed".into());
    }
    let bodies = args.bodies.as_ref().map(File::create).transpose()?.map(BufWriter::new);
    let load = Rc::new(Load {
        target: args.target,
        address: args.address,
        requests,
        idle: RefCell::new((0..args.clients).map(|_| Vec::new()).collect()),
        tally: RefCell::new(Tally { bodies, ..Tally::default() }),
    });
    let (begun, local) = (Instant::now(), LocalSet::new());
    let sent = local
        .run_until(async {
            match (args.rate, args.seconds) {
                (Some(rate), Some(seconds)) => open_loop(&load, args.clients, rate, seconds).await,
                (_, seconds) => closed_loop(&load, args.clients, seconds).await,
            }
        })
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    drop(local);
    let load = Rc::into_inner(load).ok_or("a request is still in flight")?;
    println!("{}", load.tally.into_inner().into_json(sent, seconds));
    Ok(())
}

/// Sends requests at a constant rate, then waits for the remaining responses.
async fn open_loop(load: &Rc<Load>, clients: usize, rate: f64, seconds: u64) -> io::Result<u64> {
    let (begun, all) = (time::Instant::now(), (rate * seconds as f64) as usize);
    let mut in_flight = tokio::task::JoinSet::new();
    for turn in 0..all {
        time::sleep_until(begun + Duration::from_secs_f64(turn as f64 / rate)).await;
        while let Some(done) = in_flight.try_join_next() {
            done??;
        }
        if in_flight.len() >= MAX_IN_FLIGHT {
            load.tally.borrow_mut().record(Duration::ZERO, Err(io::Error::other("too many in flight")))?;
            continue;
        }
        let load = Rc::clone(load);
        in_flight.spawn_local(async move { load.send(turn % clients, turn).await });
    }
    while let Some(done) = in_flight.join_next().await {
        done??;
    }
    Ok(all as u64)
}

/// Closed loop: each client sends its next request after a response, for a time or until all have been sent once.
async fn closed_loop(load: &Rc<Load>, clients: usize, seconds: Option<u64>) -> io::Result<u64> {
    let next = Rc::new(RefCell::new(0));
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut in_flight = tokio::task::JoinSet::new();
    for client in 0..clients {
        let (load, next) = (Rc::clone(load), Rc::clone(&next));
        in_flight.spawn_local(async move {
            loop {
                let turn = next.replace_with(|turn| *turn + 1);
                if end.map_or(turn >= load.requests.len(), |end| Instant::now() >= end) {
                    return Ok::<_, io::Error>(());
                }
                load.send(client, turn).await?;
            }
        });
    }
    while let Some(done) = in_flight.join_next().await {
        done??;
    }
    let tally = load.tally.borrow();
    Ok(tally.answers.values().map(|(took, _)| took.len() as u64).sum::<u64>() + tally.errors.values().sum::<u64>())
}
