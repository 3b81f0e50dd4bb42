//! Requests that another site's page made a browser send.
//!
//! Rule: HTTP Basic does nothing for such a request if its method is unsafe or its answer gives much away. A browser that has
//! once asked its user for a password sends it with every request, whoever's page caused it; a bearer token it never sends
//! by itself. Browsers say where a request comes from in `Sec-Fetch-Site` (Fetch Metadata), older ones in `Origin`. Programs
//! send neither. Threat: cross-site request forgery.

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};

use crate::error::Error;

/// Refuses a request that came from another site's page. `own` is the address of this service as its clients know it.
pub fn refuse_foreign_page(headers: &HeaderMap, own: &str) -> Result<(), Error> {
    let is_foreign = match headers.get("sec-fetch-site") {
        Some(site) => site != "same-origin" && site != "none",
        None => headers.get(ORIGIN).is_some_and(|origin| !is_own(origin, headers.get(HOST), own)),
    };
    if is_foreign { Err(Error::ForeignPage) } else { Ok(()) }
}

/// Refuses a request unless a page of this service sent it: browsers say so of every form, in one header or the other.
pub fn require_own_page(headers: &HeaderMap, own: &str) -> Result<(), Error> {
    if headers.contains_key("sec-fetch-site") || headers.contains_key(ORIGIN) {
        return refuse_foreign_page(headers, own);
    }
    Err(Error::ForeignPage)
}

/// Whether an `Origin` is this service: at the address that its clients know, or that this request was sent to.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>, own: &str) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let own_origin = own.split('/').take(3).collect::<Vec<_>>().join("/");
    origin.eq_ignore_ascii_case(&own_origin)
        || host.is_some_and(|host| authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        refuse_foreign_page(&headers.collect(), "https://auth.example.com").is_err()
    }

    #[test]
    fn a_form_comes_from_a_page_that_says_where_it_is_from() {
        let own = "https://auth.example.com";
        assert!(require_own_page(&HeaderMap::new(), own).is_err());
        let header = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(axum::http::HeaderName::from_static(name), HeaderValue::from_static(value))])
        };
        assert!(require_own_page(&header("sec-fetch-site", "same-origin"), own).is_ok());
        assert!(require_own_page(&header("origin", own), own).is_ok());
        assert!(require_own_page(&header("origin", "null"), own).is_err());
        assert!(require_own_page(&header("sec-fetch-site", "same-site"), own).is_err());
    }

    #[test]
    fn a_page_of_another_origin_is_foreign_and_a_program_is_none() {
        for own in [
            &[][..],
            &[("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "same-origin"), ("origin", "https://proxied.example.com")],
            &[("origin", "https://auth.example.com"), ("host", "127.0.0.1:5000")],
            &[("origin", "http://localhost:5000"), ("host", "localhost:5000")],
        ] {
            assert!(!is_refused(own), "{own:?}");
        }
        for foreign in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://auth.example.com")],
            &[("origin", "https://evil.example"), ("host", "localhost:5000")],
            &[("origin", "null"), ("host", "localhost:5000")],
            &[("origin", "https://auth.example.com.evil.example"), ("host", "localhost:5000")],
        ] {
            assert!(is_refused(foreign), "{foreign:?}");
        }
    }
}
