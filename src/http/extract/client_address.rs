//! The address that a request comes from.
//!
//! Rule: it is the peer of the connection. Only when that peer is a trusted proxy does `X-Forwarded-For` count, or without
//! it `Forwarded` (RFC 7239), read from the right: the first address that is not itself a trusted proxy. Each proxy appends the
//! address it saw, so everything to the left of that may have been written by the client.
//! Threat: a client that chooses the address which the audit trail, its sessions and limits see.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::FromRequestParts,
    http::{
        HeaderMap,
        header::{FORWARDED, USER_AGENT},
        request::Parts,
    },
};
use ipnet::IpNet;

use crate::{
    http::{App, problem::Problem, request_context::RequestContext},
    model::{Client, Origin},
};

/// How much of a `User-Agent` is kept, in characters.
const MAX_USER_AGENT: usize = 256;

/// The address at the other end of the connection.
#[derive(Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The networks whose word about a client's address is believed.
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

    /// The address of the client of a request that came over a connection from `peer`. IPv4 addresses that are written as
    /// IPv6 (RFC 4291, section 2.5.5.2) become IPv4.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return peer;
        }
        // A proxy writes one of the two headers and passes on what its client wrote in the other. Nearly all of them write
        // `X-Forwarded-For`, so that one wins.
        let hops: Vec<_> = match hops(headers, "x-forwarded-for") {
            Some(hops) => hops.iter().map(|hop| node(hop)).collect(),
            None => hops(headers, FORWARDED.as_str()).iter().flatten().map(|hop| forwarded_for(hop)).collect(),
        };
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            // A hop that hides its address, or that cannot be read, is as far as can be known.
            let Some(address) = hop else { break };
            client = address;
            if !self.contains(address) {
                break;
            }
        }
        client
    }
}

/// The comma-separated elements of a header that may come more than once; none when it is not there.
fn hops(headers: &HeaderMap, name: &str) -> Option<Vec<String>> {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    (!values.is_empty()).then(|| values.join(",").split(',').map(|hop| hop.trim().to_owned()).collect())
}

/// The address in an element of `Forwarded`, such as `for="[2001:db8::1]:4711";proto=https`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(value.trim().trim_matches('"'))
}

/// An address with or without a port: `192.0.2.7`, `192.0.2.7:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
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

    /// The client's address behind proxies in `10.0.0.0/8` and `fd00::/8`, which are trusted.
    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted = TrustedProxies::from(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        trusted.client_address(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
        for header in ["x-forwarded-for", "forwarded"] {
            assert_eq!(client("192.0.2.7", &[(header, "for=198.51.100.1")]), "192.0.2.7");
            assert_eq!(client("192.0.2.7", &[(header, "10.0.0.1")]), "192.0.2.7");
        }
        assert_eq!(client("::ffff:192.0.2.7", &[]), "192.0.2.7");
    }

    #[test]
    fn behind_trusted_proxies_it_is_the_rightmost_address_that_is_not_one_of_them() {
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
    fn what_cannot_be_read_leaves_the_last_hop_that_is_known() {
        for value in ["unknown", "_hidden", "", "198.51.100.1, nonsense", "10.1.1.1.1", "for=198.51.100.1"] {
            assert_eq!(client("10.0.0.1", &[("x-forwarded-for", value)]), "10.0.0.1", "{value}");
        }
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "198.51.100.1, unknown, 10.9.9.9")]), "10.9.9.9");
    }

    #[test]
    fn x_forwarded_for_counts_before_forwarded() {
        let both = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.2")];
        assert_eq!(client("10.0.0.1", &both), "198.51.100.1");
    }
}
