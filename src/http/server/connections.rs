//! What one client may hold of the connections.
//!
//! Rule: an address has a limited number of connections at a time, unless it is that of a trusted proxy; whoever takes an
//! answer more slowly than [`MIN_CHUNK`] in [`MIN_CHUNK_TIME`] loses the connection. Threat: a client that keeps every
//! connection busy with hardly any work, so that nobody else gets one.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::current::Current;
use crate::model::ClientNetwork;

/// How much a client must send or take in [`MIN_CHUNK_TIME`], in bytes: some 4 KiB a second.
pub const MIN_CHUNK: usize = 64 * 1024;
/// See [`MIN_CHUNK`].
pub const MIN_CHUNK_TIME: Duration = Duration::from_secs(15);

/// The number of connections of each network.
#[derive(Clone)]
pub struct Seats {
    most: Option<u32>,
    current: Current,
    taken: Arc<Mutex<HashMap<ClientNetwork, u32>>>,
}

/// A connection that counts until this is dropped.
pub struct Seat(Option<(Seats, ClientNetwork)>);

impl Seats {
    /// At most `most` connections for each network that is not that of a trusted proxy.
    pub fn new(most: Option<u32>, current: Current) -> Self {
        Self { most, current, taken: Arc::default() }
    }

    /// Any number of connections for every network.
    pub fn unlimited() -> Self {
        Self::new(None, Current::default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientNetwork, u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a seat for a connection from `peer`; none when its network has as many as it may.
    pub fn take(&self, peer: IpAddr) -> Option<Seat> {
        let peer = peer.to_canonical();
        let is_proxy = || self.current.read().trusted_proxies.contains(peer);
        let Some(most) = self.most.filter(|_| !is_proxy()) else { return Some(Seat(None)) };
        let network = ClientNetwork::of(peer);
        let mut taken = self.lock();
        let count = taken.entry(network).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Seat(Some((self.clone(), network))))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((seats, network)) = self.0.take() else { return };
        let mut taken = seats.lock();
        if let Some(count) = taken.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&network);
            }
        }
    }
}

/// A stream whose writes fail when the peer takes them too slowly.
pub struct LeastRate<S> {
    stream: S,
    /// While a write waits for the peer: when it must have taken the next chunk, and what it has taken of it.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> LeastRate<S> {
    /// Watches the writes of a stream.
    pub fn new(stream: S) -> Self {
        Self { stream, waiting: None }
    }

    /// Passes on the outcome of a write, unless the peer is too slow.
    fn watch(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (&written, &mut self.waiting) {
            (Poll::Ready(Ok(count)), Some((_, taken))) => {
                *taken += count;
                if *taken >= MIN_CHUNK {
                    self.waiting = None;
                }
            }
            (Poll::Ready(_), _) => {}
            (Poll::Pending, waiting) => {
                let new = || (Box::pin(sleep_until(Instant::now() + MIN_CHUNK_TIME)), 0);
                let (deadline, _) = waiting.get_or_insert_with(new);
                ready!(deadline.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LeastRate<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LeastRate<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Everything was taken, so nothing is waited for.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.waiting = None;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::http::current::Values;

    #[test]
    fn an_address_has_so_many_seats_and_a_proxy_any_number() {
        let proxies = Values { trusted_proxies: "10.0.0.0/8".parse().unwrap(), ..Values::default() };
        let seats = Seats::new(Some(2), Current::new(proxies));
        let address = |text: &str| text.parse().unwrap();
        let first = seats.take(address("192.0.2.1"));
        let second = seats.take(address("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some() && seats.take(address("192.0.2.1")).is_none());
        assert!(seats.take(address("192.0.2.2")).is_some());
        drop(second);
        assert!(seats.take(address("192.0.2.1")).is_some());
        let proxied: Vec<_> = (0..9).map(|_| seats.take(address("10.1.2.3"))).collect();
        assert!(proxied.iter().all(Option::is_some));
        drop((first, proxied));
        assert!(seats.lock().is_empty(), "nothing is kept of who has left");
    }

    #[tokio::test(start_paused = true)]
    async fn two_kilobytes_every_five_seconds_are_too_slow() {
        let (ours, mut theirs) = duplex(4096);
        let reader = tokio::spawn(async move {
            let mut chunk = [0; 2048];
            while theirs.read_exact(&mut chunk).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        });
        let begun = Instant::now();
        let written = LeastRate::new(ours).write_all(&[0; 1024 * 1024]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(21), "{:?}", begun.elapsed());
        reader.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_line_gets_a_large_answer_whole() {
        let (ours, mut theirs) = duplex(4096);
        let reader = tokio::spawn(async move {
            let (mut chunk, mut all) = (vec![0; 8192], 0);
            while let Ok(1..) = theirs.read(&mut chunk).await.inspect(|count| all += count) {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            all
        });
        let mut ours = LeastRate::new(ours);
        ours.write_all(&[0; 1024 * 1024]).await.unwrap();
        ours.flush().await.unwrap();
        drop(ours);
        assert_eq!(reader.await.unwrap(), 1024 * 1024);
    }
}
