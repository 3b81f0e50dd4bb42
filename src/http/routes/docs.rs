//! The API document, Swagger UI, and the pages that explain problems. All files are embedded in the binary.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{Html, IntoResponse, Redirect, Response};
use utoipa_swagger_ui::Config;

use crate::error::{Error, FieldError};
use crate::http::extract::PathId;
use crate::http::openapi::NotFound;
use crate::http::problem::{KINDS, Kind, NOT_FOUND, Problem, ProblemContext};
use crate::model::Scope;

static DOCUMENT: LazyLock<String> = LazyLock::new(super::document);
static SWAGGER: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| Arc::new(Config::new(["/openapi.json"])));

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// Allows scripts of this origin only. Swagger UI needs inline styles.
const DOCS_CSP: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                        frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const PROBLEM_CSP: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Returns this API document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "the service",
    responses((status = 200, description = "The API as OpenAPI 3.1", body = Object)),
)]
pub async fn get_openapi() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT.as_str()).into_response()
}

/// Explains a kind of problem and what to do about it.
#[utoipa::path(
    get, path = "/problems/{code}", tag = "the service", params(("code" = String, Path, example = "invalid-token")),
    responses(
        (status = 200, description = "A page for people", content_type = "text/html", body = String),
        NotFound,
    ),
)]
pub async fn get_problem(PathId(code): PathId<String>) -> Result<Response, Problem> {
    let kind = KINDS.iter().find(|kind| kind.code == code).ok_or_else(|| Problem::new(&NOT_FOUND))?;
    let Kind { title, status, code, what, mend, read_on, .. } = kind;
    let example = escaped(&example(kind));
    let links = standards(*status).iter().map(|(name, address)| format!("<li><a href=\"{address}\">{name}</a>"));
    let links = links.collect::<String>();
    let tag = read_on.replace(' ', "%20");
    let page = format!(
        include_str!("problem.html"),
        title = title,
        status = status,
        code = code,
        what = what,
        mend = mend,
        example = example,
        tag = tag,
        read_on = read_on,
        links = links,
    );
    let policy = HeaderValue::from_static(PROBLEM_CSP);
    Ok(([(CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response())
}

/// An answer of this kind, as a program gets it.
fn example(kind: &'static Kind) -> String {
    let problem = match kind.code {
        "validation" => {
            Problem::validation(vec![FieldError::new("password", "too-short", "must have at least 8 characters")])
        }
        "insufficient-scope" => Problem::from(Error::Forbidden(Scope::Admin)),
        "invalid-token" => Problem::from(Error::InvalidToken),
        _ => Problem::new(kind),
    };
    let (id, mut headers) = ("eab0a64c0ec84f16a22b2304e33d9138", HeaderMap::new());
    let context = ProblemContext { by_page_script: false, is_oauth: false };
    let body: serde_json::Value =
        serde_json::from_slice(&problem.into_json(id, context, &mut headers)).unwrap_or_default();
    let mut text = format!("HTTP/1.1 {}\n", kind.status_code());
    for (name, value) in &headers {
        let _ = writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    let _ = write!(text, "\n{body:#}");
    text
}

/// The standards that a client of this status may want to read.
fn standards(status: u16) -> &'static [(&'static str, &'static str)] {
    const PROBLEMS: (&str, &str) = ("RFC 9457: this form of errors", "https://www.rfc-editor.org/rfc/rfc9457");
    const BASIC: (&str, &str) = ("RFC 7617: HTTP Basic", "https://www.rfc-editor.org/rfc/rfc7617");
    const BEARER: (&str, &str) = ("RFC 6750: bearer tokens", "https://www.rfc-editor.org/rfc/rfc6750");
    const RETRY: (&str, &str) = ("RFC 9110: Retry-After", "https://www.rfc-editor.org/rfc/rfc9110#field.retry-after");
    const IF_MATCH: (&str, &str) = ("RFC 9110: If-Match", "https://www.rfc-editor.org/rfc/rfc9110#field.if-match");
    match status {
        401 => &[BASIC, BEARER, PROBLEMS],
        403 => &[BEARER, PROBLEMS],
        412 => &[IF_MATCH, PROBLEMS],
        429 | 503 => &[RETRY, PROBLEMS],
        _ => &[PROBLEMS],
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Redirects to the trailing slash, since Swagger UI refers to its files by relative paths.
pub async fn redirect_to_docs() -> Redirect {
    Redirect::permanent("/docs/")
}

/// Serves the page of the API document: Swagger UI under our title, without the bar of its maker.
pub async fn get_docs_index() -> Response {
    page(HTML, include_str!("docs.html").into())
}

/// Serves a file of that page.
pub async fn get_docs_file(PathId(file): PathId<String>) -> Result<Response, Problem> {
    match file.as_str() {
        "start.js" => {
            Ok(page(HeaderValue::from_static("text/javascript; charset=utf-8"), include_str!("docs.js").into()))
        }
        "" | "index.html" | "swagger-initializer.js" | "oauth2-redirect.html" => Err(Problem::new(&NOT_FOUND)),
        file => docs_file(file),
    }
}

fn docs_file(file: &str) -> Result<Response, Problem> {
    let found = utoipa_swagger_ui::serve(file, Arc::clone(&SWAGGER)).ok().flatten();
    let found = found.ok_or_else(|| Problem::new(&NOT_FOUND))?;
    let media_type = HeaderValue::from_str(&found.content_type).unwrap_or(HeaderValue::from_static("text/plain"));
    Ok(page(
        media_type,
        match found.bytes {
            // No copy: with many slow readers, copies would take a lot of memory.
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        },
    ))
}

fn page(media_type: HeaderValue, bytes: Bytes) -> Response {
    let headers = [
        (CONTENT_TYPE, media_type),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(DOCS_CSP)),
    ];
    (headers, bytes).into_response()
}
