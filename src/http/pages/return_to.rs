//! Where a browser goes after it has signed in.
//!
//! Rule: to a page of this service, or to a page of an origin that the operator has named. Everything else is as if nothing
//! had been asked for. Threat: a link to our sign-in page that ends on somebody else's (an open redirect).

use crate::http::pages::Pages;

/// A page to go to after signing in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReturnTo {
    /// A page of this service: its path and query, from the root of the service.
    Own(String),
    /// A page of another service: its whole address, and its origin.
    Other {
        /// The address.
        url: String,
        /// The origin, as the operator wrote it.
        origin: String,
    },
}

impl ReturnTo {
    /// Takes the address of a page, if it may be gone to. It begins with `/` or with one of the `origins`.
    pub fn parse(text: &str, origins: &[String]) -> Option<Self> {
        // Browsers drop control characters and turn `\` into `/` when they read an address.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return None;
        }
        if text.starts_with('/') {
            let path = text.split(['?', '#']).next().unwrap_or_default();
            // Not out of the folder that a proxy may have put the service in.
            let is_plain = !["/.", "/%"].iter().any(|dots| path.contains(dots));
            return (is_plain && Pages::has(path)).then(|| Self::Own(text.to_owned()));
        }
        let ends_origin = |rest: &str| rest.is_empty() || rest.starts_with(['/', '?', '#']);
        let origin = origins.iter().find(|origin| text.strip_prefix(origin.as_str()).is_some_and(ends_origin))?;
        Some(Self::Other { url: text.to_owned(), origin: origin.clone() })
    }

    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Own(path) => path,
            Self::Other { url, .. } => url,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_pages_and_named_origins_are_gone_to() {
        let origins = ["https://app.example.com".to_owned(), "http://localhost:3000".to_owned()];
        for good in [
            "/account",
            "/admin/console/users?q=a&after=b",
            "https://app.example.com",
            "https://app.example.com/",
            "https://app.example.com/a/b?c=https://evil.example#d",
            "https://app.example.com?a",
            "http://localhost:3000/a",
        ] {
            assert_eq!(ReturnTo::parse(good, &origins).map(|page| page.as_str().to_owned()).as_deref(), Some(good));
        }
        for bad in [
            "",
            "account",
            "//evil.example",
            "/\\evil.example",
            "///evil.example/account",
            "/\t/evil.example",
            "/me",
            "/account/../../evil",
            "/account/%2e%2e/evil",
            "https://evil.example",
            "https://app.example.com.evil.example",
            "https://app.example.com@evil.example",
            "https://app.example.com:8443/",
            "https://app.example.com\\@evil.example",
            "https://app.example.com/\nSet-Cookie: a",
            "http://app.example.com/",
            "HTTPS://APP.EXAMPLE.COM/",
            "javascript:alert(1)",
            "data:text/html,hello",
        ] {
            assert_eq!(ReturnTo::parse(bad, &origins), None, "{bad}");
        }
    }
}
