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
use crate::error::Error;
use crate::http::App;
use crate::http::extract::{PathId, body, from_form, has_type};
use crate::http::problem::{self, Problem};
use crate::http::request_context::RequestContext;
use crate::model::LinkPurpose;

/// What the form sends.
#[derive(Deserialize)]
struct ChosenPassword {
    new_password: SecretString,
    again: SecretString,
}

/// Shows the form that a link is for.
pub async fn show_link(app: App, PathId(token): PathId<String>) -> Result<Response, Problem> {
    let link = app.auth().open_link(&token.into()).await?;
    choose_password(&app, StatusCode::OK, &link, None)
}

/// Takes the form, which uses the link up. A password that is refused comes back with the reason.
pub async fn use_link(
    app: App,
    context: RequestContext,
    PathId(token): PathId<String>,
    request: Request,
) -> Result<Response, Problem> {
    if !has_type(request.headers(), "application/x-www-form-urlencoded") {
        return Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE));
    }
    let form: ChosenPassword = from_form(&body(request, &app).await?)?;
    let token = SecretString::from(token);
    let again = |reason: &str, link| choose_password(&app, StatusCode::UNPROCESSABLE_ENTITY, &link, Some(reason));
    if form.new_password.expose_secret() != form.again.expose_secret() {
        return again("is not the same twice", app.auth().open_link(&token).await?);
    }
    match app.auth().reset_password(&token, &form.new_password, context.origin()).await {
        Ok(user) => {
            context.record_link(&user);
            let values = context! { title => "Your password is set", username => user.username };
            app.pages().page(StatusCode::OK, "password_chosen.html", values)
        }
        Err(Error::Invalid(errors)) => {
            let reason = errors.first().map(|error| error.message.as_ref()).unwrap_or_default();
            again(reason, app.auth().open_link(&token).await?)
        }
        Err(error) => Err(error.into()),
    }
}

fn choose_password(
    app: &App,
    status: StatusCode,
    link: &OpenedLink,
    refused: Option<&str>,
) -> Result<Response, Problem> {
    let is_new = link.purpose == LinkPurpose::Invitation;
    let names: Vec<Value> = link.user.names().iter().flatten().map(|name| Value::from(*name)).collect();
    let values = context! {
        title => if is_new { "Welcome" } else { "Choose a new password" },
        is_new,
        name => link.user.display_name(),
        username => link.user.username.as_str(),
        names,
        min_length => app.auth().password_min_length(),
        refused,
    };
    app.pages().page(status, "choose_password.html", values)
}
