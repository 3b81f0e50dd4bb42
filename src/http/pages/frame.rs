//! What pages have in common: who reads them, and the two ways in: to look at a page, and to send a form.
//!
//! Rule: a page is read by whoever the cookie says, and a form counts only if it comes from a page of this service and has
//! the token that this session's pages have. Both extractors name the scope that they require, as the routes do. Threat: a
//! page of another site that sends a form with its visitor's cookie (cross-site request forgery).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{LOCATION, REFERRER_POLICY, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use minijinja::value::Serde;
use minijinja::{Value, context};
use secrecy::SecretString;
use serde::Serialize;
use uuid::Uuid;

use crate::auth::{Authenticated, IdempotentRequest};
use crate::error::FieldError;
use crate::http::App;
use crate::http::extract::{Anyone, Caller, RequiredScope, body, has_type, require_own_page};
use crate::http::pages::Pages;
use crate::http::problem::{FOREIGN_PAGE, PASSWORD_CHANGE_REQUIRED, Problem, UNSUPPORTED_MEDIA_TYPE};
use crate::model::{Scope, TokenHash};

/// The field, or the header of a script's request, that has the token of the session's forms.
const FORM_TOKEN: &str = "form_token";
const FORM_TOKEN_HEADER: &str = "x-form-token";
/// The field that tells one showing of a form from another.
const ONCE: &str = "once";

/// What is around a page.
#[derive(Clone)]
pub struct Frame {
    pages: Pages,
    root: String,
    path: String,
    reader: Option<Reader>,
}

/// Who reads a page, for its templates.
#[derive(Clone, Serialize)]
struct Reader {
    name: String,
    username: String,
    is_admin: bool,
    has_profile: bool,
    form_token: String,
}

impl Frame {
    fn new(parts: &Parts, app: &App, principal: Option<&Arc<Authenticated>>) -> Self {
        let reader = principal.map(|principal| Reader {
            name: principal.user.display_name().to_owned(),
            username: principal.user.username.clone(),
            is_admin: principal.scopes.contains(Scope::Admin),
            has_profile: principal.scopes.contains(Scope::Profile),
            form_token: app.cookie().of(&parts.headers).map(form_token).unwrap_or_default(),
        });
        let path = parts.uri.path().to_owned();
        Self { pages: app.pages().clone(), root: Pages::root(&path), path, reader }
    }

    /// Whether somebody is signed in.
    pub fn is_signed_in(&self) -> bool {
        self.reader.is_some()
    }

    /// Renders a page.
    pub fn page(&self, status: StatusCode, template: &str, values: Value) -> Result<Response, Problem> {
        let path = self.path.trim_start_matches('/');
        let once = Uuid::new_v4().simple().to_string();
        let values = context! { reader => Serde(&self.reader), here => path, once, ..values };
        let mut response = self.pages.page(&self.root, status, template, values)?;
        // A form says where it is from only if its page lets it. The address of a one-time link is told nobody.
        if !self.path.starts_with("/link/") {
            response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        }
        Ok(response)
    }

    /// Renders a page with status 200.
    pub fn show(&self, template: &str, values: Value) -> Result<Response, Problem> {
        self.page(StatusCode::OK, template, values)
    }

    /// Goes to another page, which is given from the root of the service, without a slash at its beginning.
    pub fn go(&self, place: &str) -> Response {
        see_other(&format!("{}{place}", self.root))
    }

    /// Goes to sign in, and then back to the page `from`.
    fn sign_in(&self, from: &str) -> Response {
        let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("return_to", from).finish();
        self.go(&format!("signin?{query}"))
    }
}

/// The answer that makes a browser open this page (RFC 9110, section 15.4.4).
pub fn see_other(location: &str) -> Response {
    // A place has an id in it, or what a form sent; either may be anything but no header.
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("./"));
    (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
}

impl FromRequestParts<App> for Frame {
    type Rejection = Problem;

    /// For pages that everybody may read, signed in or not.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let caller = match Caller::<Anyone>::from_cookie(parts, app).await {
            // Whoever has to do something first is not signed in yet.
            Err(problem) if problem.kind.code == PASSWORD_CHANGE_REQUIRED.code => None,
            caller => caller?,
        };
        Ok(Self::new(parts, app, caller.as_ref().map(|caller| &caller.principal)))
    }
}

/// Somebody who is signed in, looking at a page. Everybody else is sent to sign in.
pub struct SignedIn<S> {
    /// Who it is.
    pub caller: Caller<S>,
    /// What is around the page.
    pub frame: Frame,
}

impl<S: RequiredScope> FromRequestParts<App> for SignedIn<S> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        match Caller::<S>::from_cookie(parts, app).await {
            Ok(Some(caller)) => {
                let frame = Frame::new(parts, app, Some(&caller.principal));
                Ok(Self { caller, frame })
            }
            Err(problem) if problem.kind.code != PASSWORD_CHANGE_REQUIRED.code => Err(problem.into_response()),
            Ok(None) | Err(_) => {
                // What was typed into a form is gone, but its page is found again.
                let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
                let from = if parts.method.is_safe() { target } else { page_of_form(parts.uri.path()).to_owned() };
                Err(Frame::new(parts, app, None).sign_in(&from))
            }
        }
    }
}

/// The page that has the form which is sent to this path: most forms are sent to their own page.
fn page_of_form(path: &str) -> &str {
    match path {
        "/admin/console/blocks" => "/admin",
        "/admin/console/audit/check" | "/admin/console/audit/export" => "/admin/console/audit",
        "/admin/console/export" => "/admin/console/import",
        _ if path.starts_with("/account/") => "/account",
        _ => path,
    }
}

/// A form that somebody has sent who is signed in.
pub struct Submitted<S> {
    /// Who it is.
    pub caller: Caller<S>,
    /// What is around the page.
    pub frame: Frame,
    /// What was typed and chosen.
    pub form: Form,
}

impl<S: RequiredScope> FromRequest<App> for Submitted<S> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let (mut parts, content) = request.into_parts();
        let SignedIn { caller, frame } = SignedIn::from_request_parts(&mut parts, app).await?;
        let form = Form::read(Request::from_parts(parts, content), app).await.map_err(IntoResponse::into_response)?;
        let token = frame.reader.as_ref().map(|reader| reader.form_token.as_str()).unwrap_or_default();
        check_form_token(token, form.get(FORM_TOKEN)).map_err(IntoResponse::into_response)?;
        Ok(Self { caller, frame, form })
    }
}

/// Somebody who is signed in, sending a file by a script: the token is in a header, and the body is the file.
pub struct Uploaded<S> {
    /// Who it is.
    pub caller: Caller<S>,
}

impl<S: RequiredScope> FromRequestParts<App> for Uploaded<S> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let SignedIn { caller, frame } = SignedIn::from_request_parts(parts, app).await?;
        require_own_page(&parts.headers, app.auth().public_url())
            .map_err(|error| Problem::from(error).into_response())?;
        let token = frame.reader.as_ref().map(|reader| reader.form_token.as_str()).unwrap_or_default();
        let sent = parts.headers.get(FORM_TOKEN_HEADER).and_then(|value| value.to_str().ok());
        check_form_token(token, sent.unwrap_or_default()).map_err(IntoResponse::into_response)?;
        Ok(Self { caller })
    }
}

/// The token of the forms of a session. Whoever does not have the cookie cannot know it.
fn form_token(cookie: &[u8]) -> String {
    hex::encode(TokenHash::of(&[b"countersign form ", cookie].concat()).as_bytes())
}

/// Compares the token of a form in constant time.
fn check_form_token(expected: &str, sent: &str) -> Result<(), Problem> {
    let [expected, sent] = [expected, sent].map(|token| TokenHash::of(token.as_bytes()));
    if expected.matches(sent.as_bytes()) { Ok(()) } else { Err(Problem::new(&FOREIGN_PAGE)) }
}

/// The fields of a form, and a hash of them all.
pub struct Form {
    fields: Vec<(String, String)>,
    hash: TokenHash,
}

impl Default for Form {
    fn default() -> Self {
        Self::of([])
    }
}

impl Form {
    /// Reads a form that a page of this service has sent.
    pub async fn read(request: Request, app: &App) -> Result<Self, Problem> {
        require_own_page(request.headers(), app.auth().public_url())?;
        Self::read_anywhere(request, app).await
    }

    /// Reads a form wherever it comes from: of a one-time link, whose secret says enough.
    pub async fn read_anywhere(request: Request, app: &App) -> Result<Self, Problem> {
        if !has_type(request.headers(), "application/x-www-form-urlencoded") {
            return Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE));
        }
        let body: Bytes = body(request, app).await?;
        Ok(Self { fields: form_urlencoded::parse(&body).into_owned().collect(), hash: TokenHash::of(&body) })
    }

    /// A form with these fields.
    pub fn of<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { fields, hash: TokenHash::of(b"") }
    }

    /// The request that sent this form, if the form has a key of its own: when the page of the answer is loaded again, the
    /// browser sends the form again, and nothing is to be made twice.
    pub fn once(&self, route: &str) -> Option<IdempotentRequest> {
        let showing = self.optional(ONCE).filter(|key| key.len() <= 64)?;
        // Another button of the same form is another request.
        let key = format!("{showing} {}", hex::encode(self.hash.as_bytes()));
        Some(IdempotentRequest { key, route: route.to_owned(), body: self.hash })
    }

    /// The value of a field; empty when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// The value of a field without spaces around it; none when nothing was typed.
    pub fn optional(&self, name: &str) -> Option<String> {
        Some(self.get(name).trim()).filter(|value| !value.is_empty()).map(ToOwned::to_owned)
    }

    /// The values of a field that may come several times.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a box was ticked.
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The value of a field that is shown nowhere.
    pub fn secret(&self, name: &str) -> SecretString {
        self.get(name).into()
    }
}

/// The messages of errors by the names of their fields, for a template.
pub fn by_field(errors: &[FieldError]) -> Value {
    Value::from_pairs(errors.iter().map(|error| (error.field.clone(), error.message.clone())))
}

/// Adds `Set-Cookie` headers to a response.
pub fn with_cookies(mut response: Response, cookies: Vec<HeaderValue>) -> Response {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
