//! The cookie that holds a browser's session.
//!
//! Rule: the cookie holds the opaque token of a session, and nothing else is ever taken from it. It counts for pages and for
//! `/verify`, never for the JSON API, because browsers send it by themselves. Two cookies of its name are none: one of them
//! may be of another site under the same domain. Threats: cross-site request forgery, and a session that somebody else chose.

use std::time::Duration;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

/// The name and the attributes of the cookie (RFC 6265).
#[derive(Clone)]
pub struct SessionCookie {
    name: &'static str,
    attributes: String,
    is_shared: bool,
}

fn header(text: String) -> HeaderValue {
    // The token is a UUID, and the domain was checked when the service started.
    let mut value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

impl SessionCookie {
    /// The cookie of a service at this address. With `domain` browsers send it to all hosts in it; without, a service that is
    /// reached by HTTPS has it to itself, which the prefix of its name makes sure.
    pub fn new(public_url: &str, domain: Option<&str>) -> Self {
        let is_https = public_url.starts_with("https://");
        let secure = if is_https { "; Secure" } else { "" };
        let domain_attribute = domain.map(|domain| format!("; Domain={domain}")).unwrap_or_default();
        Self {
            name: if is_https && domain.is_none() { "__Host-countersign" } else { "countersign" },
            attributes: format!("; Path=/; HttpOnly; SameSite=Lax{secure}{domain_attribute}"),
            is_shared: domain.is_some(),
        }
    }

    /// The value of the cookie in a request.
    pub fn of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let mut values = self.values(headers);
        match (values.next(), values.next()) {
            (value, None) => value,
            (_, Some(_)) => None,
        }
    }

    /// Whether a request has several cookies of this name, so that none counts.
    pub fn is_ambiguous(&self, headers: &HeaderMap) -> bool {
        self.values(headers).nth(1).is_some()
    }

    fn values<'a>(&self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a [u8]> {
        let name = self.name.as_bytes();
        let pairs = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
        pairs.filter_map(move |pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"="))
    }

    /// The `Set-Cookie` headers that begin a session.
    pub fn set(&self, token: &str, lifetime: Duration) -> Vec<HeaderValue> {
        let Self { name, attributes, .. } = self;
        let cookie = header(format!("{name}={token}; Max-Age={}{attributes}", lifetime.as_secs()));
        [cookie].into_iter().chain(self.older_removal()).collect()
    }

    /// The `Set-Cookie` headers that remove the cookie.
    pub fn removal(&self) -> Vec<HeaderValue> {
        let Self { name, attributes, .. } = self;
        [header(format!("{name}=; Max-Age=0{attributes}"))].into_iter().chain(self.older_removal()).collect()
    }

    /// Removes the cookie of this name that the service set for itself alone, before it shared one: two would count as none.
    fn older_removal(&self) -> Option<HeaderValue> {
        let Self { name, .. } = self;
        self.is_shared.then(|| header(format!("{name}=; Max-Age=0; Path=/")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_in(cookies: &[&'static str]) -> Option<Vec<u8>> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, HeaderValue::from_static(cookie));
        }
        SessionCookie::new("https://auth.example.com", None).of(&headers).map(<[u8]>::to_vec)
    }

    #[test]
    fn the_cookie_is_found_by_its_whole_name_and_only_when_there_is_one() {
        assert_eq!(value_in(&["a=b; __Host-countersign=token; c=d"]), Some(b"token".to_vec()));
        assert_eq!(value_in(&["a=b", "__Host-countersign=token"]), Some(b"token".to_vec()));
        assert_eq!(value_in(&["__Host-countersign=one; __Host-countersign=two"]), None);
        assert_eq!(value_in(&["__Host-countersign=one", "__Host-countersign=two"]), None);
        for other in
            ["countersign=token", "x__Host-countersign=token", "__Host-countersignx=token", "__host-countersign=t", ""]
        {
            assert_eq!(value_in(&[other]), None, "{other}");
        }
    }

    #[test]
    fn the_cookie_says_who_may_have_it() {
        let set = |url: &str, domain: Option<&str>| {
            let headers = SessionCookie::new(url, domain).set("token", Duration::from_secs(60));
            assert_eq!(headers.len(), if domain.is_some() { 2 } else { 1 });
            headers[0].to_str().unwrap().to_owned()
        };
        let common = "Max-Age=60; Path=/; HttpOnly; SameSite=Lax";
        assert_eq!(set("https://a.example.com", None), format!("__Host-countersign=token; {common}; Secure"));
        assert_eq!(set("http://localhost:5000", None), format!("countersign=token; {common}"));
        let shared = format!("countersign=token; {common}; Secure; Domain=example.com");
        assert_eq!(set("https://a.example.com", Some("example.com")), shared);
    }

    #[test]
    fn two_cookies_of_the_name_are_ambiguous_and_one_is_removed_as_it_was_set() {
        let cookie = SessionCookie::new("https://auth.example.com", None);
        let headers = |text: &'static str| HeaderMap::from_iter([(COOKIE, HeaderValue::from_static(text))]);
        for (text, is_ambiguous) in
            [("a=b", false), ("__Host-countersign=1", false), ("__Host-countersign=1; __Host-countersign=2", true)]
        {
            assert_eq!(cookie.is_ambiguous(&headers(text)), is_ambiguous, "{text}");
        }
        let removal = |domain| SessionCookie::new("http://localhost:5000", domain).removal();
        let texts = |values: Vec<HeaderValue>| {
            assert!(values.iter().all(HeaderValue::is_sensitive));
            values.iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(texts(removal(None)), ["countersign=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"]);
        let shared = "countersign=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax; Domain=example.com";
        assert_eq!(texts(removal(Some("example.com"))), [shared, "countersign=; Max-Age=0; Path=/"]);
    }
}
