//! What is left of a request's body when the answer is there.
//!
//! Rule: a connection goes on only behind the last byte of a body. A short rest is read and thrown away; otherwise the answer
//! says `Connection: close` (RFC 9112, section 9.3). Threat: a client whose request was refused early sends its next one on the
//! same connection, and gets no answer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use futures_util::StreamExt;
use http_body::{Frame, SizeHint};
use tokio::time;

/// How much is thrown away, in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// How long that may take. What came with the head is there already.
const PATIENCE: Duration = Duration::from_millis(100);

/// The body of a request whose reader has let go of it, if it was not at its end.
pub struct UnreadBody {
    left: Arc<Mutex<Option<Body>>>,
    /// The client waits with its body until it is told to go on.
    waits: bool,
}

/// A body that comes back when it is dropped before its end.
struct Watched {
    body: Body,
    left: Arc<Mutex<Option<Body>>>,
}

impl UnreadBody {
    /// Watches the body of a request; none when it has none.
    pub fn watch(request: &mut Request) -> Option<Self> {
        if request.body().is_end_stream() {
            return None;
        }
        let left = Arc::new(Mutex::new(None));
        let waits = request.headers().contains_key(EXPECT);
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = Body::new(Watched { body, left: left.clone() });
        Some(Self { left, waits })
    }

    /// Reads what is left, within limits. Returns whether the body is at its end now.
    pub async fn finish(self) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(body) = left else { return true };
        let rest = async {
            let (mut body, mut bytes) = (body.into_data_stream(), 0);
            while let Some(data) = body.next().await {
                bytes += data.ok()?.len();
                if bytes > MAX_BYTES {
                    return None;
                }
            }
            Some(())
        };
        !self.waits && time::timeout(PATIENCE, rest).await.is_ok_and(|end| end.is_some())
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::mem::take(&mut self.body));
        }
    }
}
