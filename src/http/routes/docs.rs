//! The API document, Swagger UI, and the pages that explain problems. All files are embedded in the binary.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Redirect, Response};
use utoipa_swagger_ui::Config;

use crate::http::extract::PathId;
use crate::http::openapi::NotFound;
use crate::http::problem::{KINDS, NOT_FOUND, Problem};

static DOCUMENT: LazyLock<String> = LazyLock::new(super::document);
static SWAGGER: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::new(["/openapi.json"]).try_it_out_enabled(true).validator_url("none")));

/// Allows scripts of this origin only. Swagger UI needs inline styles.
const DOCS_CSP: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                        frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const PROBLEM_CSP: &str =
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Returns this API document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "open",
    responses((status = 200, description = "The API as OpenAPI 3.1", body = Object)),
)]
pub async fn get_openapi() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT.as_str()).into_response()
}

/// Explains a kind of problem and what to do about it.
#[utoipa::path(
    get, path = "/problems/{code}", tag = "open", params(("code" = String, Path, example = "invalid-token")),
    responses(
        (status = 200, description = "A page for people", content_type = "text/html", body = String),
        NotFound,
    ),
)]
pub async fn get_problem(PathId(code): PathId<String>) -> Result<Response, Problem> {
    let kind = KINDS.iter().find(|kind| kind.code == code).ok_or_else(|| Problem::new(&NOT_FOUND))?;
    let (title, status, code, about) = (kind.title, kind.status, kind.code, kind.about);
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title} · Countersign</title><style>body{{font:1rem/1.5 system-ui,\
         sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}}\
         @media(prefers-color-scheme:dark){{body{{color:#eee;background:#1a1a1a}}}}</style><h1>{title}</h1>\
         <p><code>{status} {code}</code></p><p>{about}</p></html>"
    );
    let policy = HeaderValue::from_static(PROBLEM_CSP);
    Ok(([(CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response())
}

/// Redirects to the trailing slash, since Swagger UI refers to its files by relative paths.
pub async fn redirect_to_docs() -> Redirect {
    Redirect::permanent("/docs/")
}

/// Serves the page of Swagger UI.
pub async fn get_docs_index() -> Result<Response, Problem> {
    docs_file("")
}

/// Serves a file of Swagger UI.
pub async fn get_docs_file(PathId(file): PathId<String>) -> Result<Response, Problem> {
    docs_file(&file)
}

fn docs_file(file: &str) -> Result<Response, Problem> {
    let found = utoipa_swagger_ui::serve(file, Arc::clone(&SWAGGER)).ok().flatten();
    let found = found.ok_or_else(|| Problem::new(&NOT_FOUND))?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_str(&found.content_type).unwrap_or(HeaderValue::from_static("text/plain"))),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(DOCS_CSP)),
    ];
    let bytes = match found.bytes {
        // No copy: with many slow readers, copies would take a lot of memory.
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    Ok((headers, bytes).into_response())
}
