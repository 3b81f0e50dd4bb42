//! The files that pages refer to, and the logo.

use std::fs;
use std::path::Path;

use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::error::StartError;
use crate::http::App;
use crate::http::extract::PathId;
use crate::http::problem::{NOT_FOUND, Problem};
use crate::model::TokenHash;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const FILES: [(&str, &str, &str); 5] = [
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ("import.js", SCRIPT, include_str!("assets/import.js")),
    ("page.js", SCRIPT, include_str!("assets/page.js")),
    ("password.js", SCRIPT, include_str!("assets/password.js")),
    ("style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
];
/// The largest logo, in bytes.
const MAX_LOGO: usize = 256 * 1024;
/// A picture runs nothing, even when someone opens it by itself: SVG may contain scripts.
const PICTURE_CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// The logo of whoever runs the service.
pub struct Logo {
    media_type: &'static str,
    bytes: Bytes,
}

impl Logo {
    /// Reads a PNG, JPEG, WebP or SVG file. What it is, its first bytes say and not its name.
    pub fn read(file: &Path) -> Result<Self, StartError> {
        let fault = |what: String| {
            let mend = "name a PNG, JPEG, WebP or SVG file of at most 256 KiB";
            StartError::setting("COUNTERSIGN_LOGO", format_args!("{} {what}; {mend}", file.display()))
        };
        let bytes = fs::read(file).map_err(|error| fault(format!("cannot be read ({error})")))?;
        if bytes.len() > MAX_LOGO {
            return Err(fault("is too large".to_owned()));
        }
        let media_type = media_type(&bytes).ok_or_else(|| fault("is no picture".to_owned()))?;
        Ok(Self { media_type, bytes: bytes.into() })
    }
}

fn media_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => {
            let text = str::from_utf8(bytes).ok()?.trim_start_matches('\u{feff}').trim_start();
            (text.starts_with('<') && text.contains("<svg")).then_some("image/svg+xml")
        }
    }
}

/// What changes whenever a file does, for the addresses of the files: browsers keep them for a while.
pub fn version() -> String {
    let all: String = FILES.iter().map(|(.., text)| *text).collect();
    hex::encode(TokenHash::of(all.as_bytes()).as_bytes().get(..4).unwrap_or_default())
}

/// Serves a file that pages refer to.
pub async fn get_asset(app: App, PathId(name): PathId<String>) -> Result<Response, Problem> {
    let files = FILES.iter().map(|(name, media_type, text)| (*name, *media_type, Bytes::from_static(text.as_bytes())));
    let logo = app.pages().0.logo.iter().map(|logo| ("logo", logo.media_type, logo.bytes.clone()));
    let found = files.chain(logo).find(|(known, ..)| *known == name);
    let (name, media_type, bytes) = found.ok_or_else(|| Problem::new(&NOT_FOUND))?;
    let policy = if name == "logo" { PICTURE_CSP } else { "default-src 'none'" };
    let headers =
        [(CONTENT_TYPE, media_type), (CACHE_CONTROL, "public, max-age=3600"), (CONTENT_SECURITY_POLICY, policy)];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    Ok((headers, bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logo_is_known_by_its_first_bytes() {
        assert_eq!(media_type(b"\x89PNG\r\n\x1a\n"), Some("image/png"));
        assert_eq!(media_type(b"RIFF\x10\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(
            media_type(b"<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
            Some("image/svg+xml")
        );
        assert_eq!(media_type(b"<html><script>"), None);
        assert_eq!(media_type(b""), None);
    }
}
