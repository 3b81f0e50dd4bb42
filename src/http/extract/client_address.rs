//! The client address of a request.
//!
//! Rule: it is the address of the peer, unless the peer is a trusted proxy. Then it is the rightmost address in
//! `X-Forwarded-For`, or else in `Forwarded` (RFC 7239), that is not a trusted proxy. Each proxy appends the address it
//! saw, so the client may have written everything to the left of that.
//! Threat: a client that chooses the address that the audit trail, its sessions and limits see.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, USER_AGENT};
use axum::http::request::Parts;

use crate::http::App;
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;
use crate::model::{Client, Networks, Origin};

/// Where a stored `User-Agent` is cut, in characters.
const MAX_USER_AGENT: usize = 256;

/// The peer address of the connection.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Returns the client address of a request over a connection from `peer`. IPv4-mapped IPv6 addresses (RFC 4291,
/// section 2.5.5.2) become IPv4.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        if headers.contains_key("x-forwarded-for") {
            warn_of_untrusted_proxy(peer);
        }
        return peer;
    }
    // A proxy sets one of the two headers and passes on what its client wrote in the other. Nearly all proxies set
    // `X-Forwarded-For`, so it takes precedence.
    let hops: Vec<_> = match hops(headers, "x-forwarded-for") {
        Some(hops) => hops.iter().map(|hop| node(hop)).collect(),
        None => hops(headers, FORWARDED.as_str()).iter().flatten().map(|hop| forwarded_for(hop)).collect(),
    };
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        // Nothing to the left of an obfuscated or unreadable hop can be verified.
        let Some(address) = hop else { break };
        client = address;
        if !trusted.contains(address) {
            break;
        }
    }
    client
}

/// Says, once, what is probably a setting that somebody forgot: all clients of that proxy share its address and its limits.
fn warn_of_untrusted_proxy(peer: IpAddr) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::warn!(
            %peer,
            "X-Forwarded-For came from an address that COUNTERSIGN_TRUSTED_PROXIES does not name; if it is a proxy, its \
             clients share its limits"
        );
    });
}

/// Returns the comma-separated elements of all headers of this name; `None` if there is no such header.
fn hops(headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
    // A byte that is not text makes one hop unreadable, not those that proxies appended to it.
    let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(",").split(',').map(|hop| hop.trim().to_owned()).collect())
}

/// Returns the address in an element of `Forwarded`, such as `for="[2001:db8::1]:4711";proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(value.trim().trim_matches('"'))
}

/// Parses an address: `192.0.2.7`, `192.0.2.7:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let bare = || text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text).parse().ok();
    let address = text.parse::<SocketAddr>().map(|address| address.ip()).ok().or_else(bare)?;
    Some(address.to_canonical())
}

impl FromRequestParts<App> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        RequestContext::of(&parts.extensions).map(RequestContext::origin)
    }
}

impl FromRequestParts<App> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let origin = Origin::from_request_parts(parts, app).await?;
        let user_agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self { origin, user_agent: user_agent.map(|agent| agent.chars().take(MAX_USER_AGENT).collect()) })
    }
}
