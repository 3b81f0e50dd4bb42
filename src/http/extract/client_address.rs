//! The client address of a request.
//!
//! Rule: it is the address of the peer, unless the peer is a trusted proxy. Then it is the rightmost address in
//! `X-Forwarded-For`, or else in `Forwarded` (RFC 7239), that is not a trusted proxy. Each proxy appends the address it
//! saw, so the client may have written everything to the left of that.
//! Threat: a client that chooses the address that the audit trail, its sessions and limits see.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, USER_AGENT};
use axum::http::request::Parts;
use ipnet::IpNet;

use crate::http::App;
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;
use crate::model::{Client, Origin};

/// Where a stored `User-Agent` is cut, in characters.
const MAX_USER_AGENT: usize = 256;

/// The peer address of the connection.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The networks of the proxies whose forwarding headers are trusted.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl From<Vec<IpNet>> for TrustedProxies {
    fn from(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }
}

impl TrustedProxies {
    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns the client address of a request over a connection from `peer`. IPv4-mapped IPv6 addresses (RFC 4291,
    /// section 2.5.5.2) become IPv4.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
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
            if !self.contains(address) {
                break;
            }
        }
        client
    }
}

/// Returns the comma-separated elements of all headers of this name; `None` if there is no such header.
fn hops(headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The client address when the proxies in `10.0.0.0/8` and `fd00::/8` are trusted.
    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted = TrustedProxies::from(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        trusted.client_address(peer.parse().unwrap(), &map).to_string()
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
    }

    #[test]
    fn x_forwarded_for_takes_precedence_over_forwarded() {
        let both = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.2")];
        assert_eq!(client("10.0.0.1", &both), "198.51.100.1");
    }
}
