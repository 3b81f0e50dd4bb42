//! The API document, made from the handlers. `openapi.json` at the top level is this, and a test keeps it so.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::{
    IntoResponses, Modify, OpenApi,
    openapi::{
        Content, InfoBuilder, LicenseBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder,
        path::Operation,
        security::{Http, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::http::problem::{FieldProblem, ProblemBody};

/// What the document says before any route is in it.
#[derive(OpenApi)]
#[openapi(components(schemas(ProblemBody<'_>, FieldProblem<'_>)), modifiers(&Frame))]
struct Base;

struct Frame;

impl Modify for Frame {
    fn modify(&self, document: &mut Document) {
        document.info = InfoBuilder::new()
            .title("Countersign")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some(
                "Users, passwords and tokens. A request proves itself by HTTP Basic, by an opaque token, by a JWT or by a \
                 personal access token; \
                 errors are `application/problem+json` (RFC 9457).",
            ))
            .license(Some(LicenseBuilder::new().name("MIT OR Apache-2.0").build()))
            .build();
        let components = document.components.get_or_insert_default();
        let mut basic = Http::new(HttpAuthScheme::Basic);
        basic.description = Some("Username and password, UTF-8 (RFC 7617).".to_owned());
        components.add_security_scheme("basic", SecurityScheme::Http(basic));
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token: the JWT or the opaque UUID of `POST /login`, or a personal access token."))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// What the document says before any route is in it.
pub fn base() -> Document {
    Base::openapi()
}

/// A whole document as JSON, for people to read.
pub fn to_json(mut document: Document) -> String {
    for item in document.paths.paths.values_mut() {
        // A handler of several methods has one name, and the document wants one for each.
        let others = [
            ("put", &mut item.put),
            ("post", &mut item.post),
            ("delete", &mut item.delete),
            ("head", &mut item.head),
            ("patch", &mut item.patch),
        ];
        let first = item.get.as_ref().and_then(|operation| operation.operation_id.clone());
        for (method, operation) in others {
            let Some(operation) = operation else { continue };
            if operation.operation_id == first {
                operation.operation_id = first.as_ref().map(|id| format!("{id}_{method}"));
            }
            describe(operation);
        }
        if let Some(operation) = &mut item.get {
            describe(operation);
        }
    }
    document.to_pretty_json().unwrap_or_default() + "\n"
}

/// The document wants a word on every answer; where the type of the body says it all, the status is repeated.
fn describe(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            let reason = status.parse().ok().and_then(|status: StatusCode| status.canonical_reason());
            response.description = reason.unwrap_or_default().to_owned();
        }
    }
}

/// Types that stand in a handler's `responses(…)` for the problems it can answer with.
macro_rules! problems {
    ($($(#[$doc:meta])* $Name:ident { $($status:literal $about:literal)* })*) => {$(
        $(#[$doc])*
        pub struct $Name;

        impl IntoResponses for $Name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(($status.to_string(), problem($about))),*].into()
            }
        }
    )*};
}

problems! {
    /// A route that wants to know who is calling.
    AuthErrors {
        400 "`ambiguous-credential`: more than one `Authorization` header"
        401 "`authentication-required`, `invalid-token` or `invalid-credentials`"
        403 "`insufficient-scope` or `password-change-required`"
        503 "`unavailable` or `busy`, with `Retry-After`"
    }
    /// A route that reads a body.
    InvalidBody {
        400 "`malformed-json`, `malformed-request` or `ambiguous-credential`"
        408 "`request-timeout`"
        413 "`body-too-large`"
        415 "`unsupported-media-type`"
        422 "`validation`, with the fields in `errors`"
        503 "`unavailable` or `busy`, with `Retry-After`"
    }
    /// A route that reads a query.
    InvalidQuery { 422 "`validation`, with the fields in `errors`" }
    /// A route that checks a username and a password.
    WrongPassword {
        401 "`invalid-credentials`"
        403 "`password-change-required`"
    }
    /// A route that ends a session.
    NoSession { 409 "`no-session`: HTTP Basic and personal tokens have none" }
    /// A route that takes one kind of credential.
    OpaqueRequired { 403 "`opaque-token-required`" }
    /// A route that makes personal access tokens.
    TooManyTokens { 409 "`too-many-tokens`" }
    /// A route that turns keys over.
    NoRotation { 409 "`no-rotation`: with HS256 the key is a setting" }
    /// A route that is given a token in a form.
    InvalidTokenRequest {
        400 "`invalid-request` or `ambiguous-credential`; at `/oauth/revoke` also `unsupported-token-type`"
        408 "`request-timeout`"
        413 "`body-too-large`"
        415 "`unsupported-media-type`"
    }
    /// A route that could take away the last admin.
    LastAdmin { 409 "`last-admin`" }
    /// A route that heeds `If-Match`.
    ChangedMeanwhile { 412 "`precondition-failed`: it is not what `If-Match` names any more" }
    /// A route that gives a username.
    UsernameTaken { 409 "`username-taken`" }
    /// A route to one thing of many.
    NotFound { 404 "`not-found`" }
    /// A route that can be out of reach.
    Unavailable { 503 "`unavailable`, `starting` or `draining`, with `Retry-After`" }
}

fn problem(about: &str) -> RefOr<Response> {
    let body = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description(about).content("application/problem+json", body).build().into()
}
