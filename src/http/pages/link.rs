//! `/link/{token}`: the page that a one-time link opens.
//!
//! Rule: `GET` uses nothing up, since mail scanners open links before people do; only the form does. Threat: a link that is
//! spent before its owner sees it.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use minijinja::{Value, context};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::auth::OpenedLink;
use crate::error::{Error, FieldError};
use crate::http::App;
use crate::http::extract::{PathId, body, from_form, has_type};
use crate::http::problem::{self, Problem};
use crate::http::request_context::RequestContext;
use crate::model::{LinkPurpose, Origin, User};

/// What the form of a link sends. Which fields it has, the purpose of the link says.
#[derive(Deserialize)]
#[serde(default)]
struct Form {
    username: String,
    new_password: SecretString,
    again: SecretString,
}

impl Default for Form {
    fn default() -> Self {
        Self { username: String::new(), new_password: "".into(), again: "".into() }
    }
}

/// Shows the form that a link is for.
pub async fn show_link(app: App, PathId(token): PathId<String>) -> Result<Response, Problem> {
    let link = app.auth().open_link(&token.into()).await?;
    form_page(&app, &link, &Form::default(), None)
}

/// Takes the form, which uses the link up. One that is refused comes back with the reason.
pub async fn use_link(
    app: App,
    context: RequestContext,
    PathId(token): PathId<String>,
    request: Request,
) -> Result<Response, Problem> {
    if !has_type(request.headers(), "application/x-www-form-urlencoded") {
        return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE));
    }
    let form: Form = from_form(&body(request, &app).await?)?;
    let token = SecretString::from(token);
    let link = app.auth().open_link(&token).await?;
    match submit(&app, &token, &link, &form, context.origin()).await {
        Ok(user) => {
            context.record_link(&user);
            done_page(&app, &link, &user)
        }
        Err(Error::Invalid(errors)) => form_page(&app, &link, &form, errors.first()),
        Err(Error::UsernameTaken) => {
            let error = FieldError::new("username", "taken", "belongs to someone already");
            form_page(&app, &link, &form, Some(&error))
        }
        Err(error) => Err(error.into()),
    }
}

/// Does what the link is for.
async fn submit(
    app: &App,
    token: &SecretString,
    link: &OpenedLink,
    form: &Form,
    origin: Origin,
) -> Result<User, Error> {
    let is_same = form.new_password.expose_secret() == form.again.expose_secret();
    match link.purpose {
        LinkPurpose::EmailVerification => app.auth().confirm_address(token, origin).await,
        _ if !is_same => Err(Error::Invalid(vec![FieldError::new("new_password", "differs", "is not the same twice")])),
        LinkPurpose::Registration => {
            app.auth().complete_registration(token, &form.username, &form.new_password, origin).await
        }
        LinkPurpose::Invitation | LinkPurpose::PasswordReset => {
            app.auth().reset_password(token, &form.new_password, origin).await
        }
    }
}

/// The form of a link, with what is wrong with the last one.
fn form_page(app: &App, link: &OpenedLink, form: &Form, error: Option<&FieldError>) -> Result<Response, Problem> {
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let email = link.email.as_deref().unwrap_or_default();
    if link.purpose == LinkPurpose::EmailVerification {
        let values = context! { title => "Confirm your address", email };
        return app.pages().page(status, "confirm_address.html", values);
    }
    let title = match link.purpose {
        LinkPurpose::Registration => "Make an account",
        LinkPurpose::Invitation => "Welcome",
        _ => "Choose a new password",
    };
    let user = link.user.as_ref();
    let names = user.map_or([Some(email), None, None], User::names);
    let values = context! {
        title,
        email,
        purpose => link.purpose.as_str(),
        name => user.map(User::display_name),
        username => user.map_or(form.username.as_str(), |user| &user.username),
        names => names.iter().flatten().map(|name| Value::from(*name)).collect::<Vec<_>>(),
        min_length => app.auth().password_min_length(),
        refused_field => error.map(|error| if error.field == "username" { "username" } else { "new_password" }),
        refused => error.map(|error| error.message.as_str()),
    };
    app.pages().page(status, "choose_password.html", values)
}

/// What has come of a link.
fn done_page(app: &App, link: &OpenedLink, user: &User) -> Result<Response, Problem> {
    let title = match link.purpose {
        LinkPurpose::EmailVerification => "Your address is confirmed",
        LinkPurpose::Registration => "Your account is ready",
        LinkPurpose::Invitation | LinkPurpose::PasswordReset => "Your password is set",
    };
    let values = context! { title, purpose => link.purpose.as_str(), username => user.username.as_str() };
    app.pages().page(StatusCode::OK, "link_used.html", values)
}
