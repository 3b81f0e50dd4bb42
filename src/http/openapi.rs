//! The OpenAPI document, generated from the handlers. A test keeps `openapi.json` in the repository up to date.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Content, InfoBuilder, LicenseBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder,
};
use utoipa::{IntoResponses, Modify, OpenApi};

use crate::http::problem::{FieldProblem, ProblemBody};

/// The document without routes.
#[derive(OpenApi)]
#[openapi(
    components(schemas(ProblemBody<'_>, FieldProblem<'_>)),
    modifiers(&InfoAndSecuritySchemes),
    // In the order in which a newcomer needs them.
    tags(
        (name = "log in", description = "From a password to tokens, and the end of a session."),
        (name = "me", description = "What everyone may do with their own account."),
        (name = "check callers", description = "For services and proxies: who is calling, and what may they do?"),
        (name = "directory", description = "The active users, for everyone with the scope `users:read`."),
        (name = "get back in", description = "Links by mail: another password, an address, an account."),
        (name = "administer users", description = "Users, with their sessions, tokens and links. Needs the scope `admin`."),
        (name = "administer", description = "The rest of the installation. Needs the scope `admin`."),
        (name = "the service", description = "Whether it runs, and what it says of itself."),
    ),
)]
struct Base;

/// Sets `info` and the security schemes.
struct InfoAndSecuritySchemes;

impl Modify for InfoAndSecuritySchemes {
    fn modify(&self, document: &mut Document) {
        document.info = InfoBuilder::new()
            .title("Countersign API")
            .version(env!("CARGO_PKG_VERSION"))
            .description(Some(
                "Users, passwords and tokens. A request authenticates with HTTP Basic, an opaque token, a JWT or a \
                 personal access token: press **Authorize** to try the routes with one. Errors are \
                 `application/problem+json` (RFC 9457), and each has a page at `/problems/{code}`.",
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

/// Returns the document without routes.
pub fn base() -> Document {
    Base::openapi()
}

/// Serializes a document as indented JSON, with a unique id and a description for each operation.
pub fn to_json(mut document: Document) -> String {
    for item in document.paths.paths.values_mut() {
        // A handler of several methods has one operation id, and OpenAPI requires them to be unique.
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
            fill_descriptions(operation);
        }
        if let Some(operation) = &mut item.get {
            fill_descriptions(operation);
        }
    }
    document.to_pretty_json().unwrap_or_default() + "\n"
}

/// OpenAPI requires a description of every response; those without one get the reason phrase of their status.
fn fill_descriptions(operation: &mut Operation) {
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            let reason = status.parse().ok().and_then(|status: StatusCode| status.canonical_reason());
            response.description = reason.unwrap_or_default().to_owned();
        }
    }
}

/// Types for a handler's `responses(…)` that stand for the problems it can return.
macro_rules! problems {
    ($($Name:ident { $($status:literal $description:literal)* })*) => {$(
        pub struct $Name;

        impl IntoResponses for $Name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(($status.to_string(), problem($description))),*].into()
            }
        }
    )*};
}

problems! {
    AuthErrors {
        400 "`ambiguous-credential`: more than one `Authorization` header"
        401 "`authentication-required`, `invalid-token` or `invalid-credentials`"
        403 "`insufficient-scope`, at `/verify` also `insufficient-role`, `password-change-required` or `foreign-page`"
        429 "`too-many-attempts`, with `Retry-After`"
        503 "`unavailable` or `busy`, with `Retry-After`"
    }
    InvalidBody {
        400 "`malformed-json`, `malformed-request` or `ambiguous-credential`"
        408 "`request-timeout`"
        413 "`body-too-large`"
        415 "`unsupported-media-type`"
        422 "`validation`, with the fields in `errors`, or, where the request has an `Idempotency-Key`, `idempotency-key-reused`"
        503 "`unavailable` or `busy`, with `Retry-After`"
    }
    InvalidQuery { 422 "`validation`, with the fields in `errors`" }
    WrongPassword {
        401 "`invalid-credentials`"
        403 "`password-change-required` or `foreign-page`"
        429 "`too-many-attempts`, with `Retry-After`"
    }
    NoSession { 409 "`no-session`: HTTP Basic and personal tokens have none" }
    OpaqueRequired { 403 "`opaque-token-required`" }
    TooManyTokens { 409 "`too-many-tokens`" }
    NoRotation { 409 "`no-rotation`: with HS256 the key is a setting" }
    InvalidTokenRequest {
        400 "`invalid-request` or `ambiguous-credential`; at `/oauth/revoke` also `unsupported-token-type`"
        408 "`request-timeout`"
        413 "`body-too-large`"
        415 "`unsupported-media-type`"
    }
    LastAdmin { 409 "`last-admin`" }
    PreconditionFailed { 412 "`precondition-failed`: the resource is no longer what `If-Match` names" }
    UserDisabled { 409 "`user-disabled`" }
    LinkSpent { 410 "`link-spent`: it was used, has expired or was replaced" }
    EmailTaken { 409 "`email-taken`: another user has verified this address" }
    MailRequest {
        403 "`registration-closed`"
        429 "`too-many-attempts`: too many such requests from this address, with `Retry-After`"
        503 "`mail-unavailable`: the service sends no mail"
    }
    UsernameTaken { 409 "`username-taken`" }
    NotFound { 404 "`not-found`" }
    Unavailable { 503 "`unavailable`, `starting` or `draining`, with `Retry-After`" }
}

fn problem(description: &str) -> RefOr<Response> {
    let body = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description(description).content("application/problem+json", body).build().into()
}
