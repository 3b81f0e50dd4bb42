//! `/link/{token}`: the page that a one-time link opens.
//!
//! Rule: `GET` uses nothing up, since mail scanners open links before people do; only the form does. Threat: a link that is
//! spent before its owner sees it.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use minijinja::{Value, context};
use secrecy::SecretString;

use crate::auth::OpenedLink;
use crate::error::{Error, FieldError};
use crate::http::App;
use crate::http::extract::PathId;
use crate::http::pages::frame::{Form, Frame};
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;
use crate::model::{LinkPurpose, Origin, User};

/// Shows the form that a link is for.
pub async fn show_link(app: App, frame: Frame, PathId(token): PathId<String>) -> Result<Response, Problem> {
    let link = app.auth().open_link(&token.into()).await?;
    form_page(&app, &frame, &link, &Form::default(), None)
}

/// Takes the form, which uses the link up. One that is refused comes back with the reason.
pub async fn use_link(
    app: App,
    frame: Frame,
    context: RequestContext,
    PathId(token): PathId<String>,
    request: Request,
) -> Result<Response, Problem> {
    let form = Form::read_anywhere(request, &app).await?;
    let token = SecretString::from(token);
    let link = app.auth().open_link(&token).await?;
    match submit(&app, &token, &link, &form, context.origin()).await {
        Ok(user) => {
            context.record_link(&user);
            done_page(&frame, &link, &user)
        }
        Err(Error::Invalid(errors)) => form_page(&app, &frame, &link, &form, errors.first()),
        Err(Error::UsernameTaken) => {
            let error = FieldError::new("username", "taken", "belongs to someone already");
            form_page(&app, &frame, &link, &form, Some(&error))
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
    let (is_same, password) = (form.get("new_password") == form.get("again"), form.secret("new_password"));
    match link.purpose {
        LinkPurpose::EmailVerification => app.auth().confirm_address(token, origin).await,
        _ if !is_same => Err(Error::Invalid(vec![FieldError::new("new_password", "differs", "is not the same twice")])),
        LinkPurpose::Registration => {
            app.auth().complete_registration(token, form.get("username"), &password, origin).await
        }
        LinkPurpose::Invitation | LinkPurpose::PasswordReset => {
            app.auth().reset_password(token, &password, origin).await
        }
    }
}

/// The form of a link, with what is wrong with the last one.
fn form_page(
    app: &App,
    frame: &Frame,
    link: &OpenedLink,
    form: &Form,
    error: Option<&FieldError>,
) -> Result<Response, Problem> {
    let status = if error.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let email = link.email.as_deref().unwrap_or_default();
    if link.purpose == LinkPurpose::EmailVerification {
        let values = context! { title => "Confirm your address", email };
        return frame.page(status, "confirm_address.html", values);
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
        username => user.map_or(form.get("username"), |user| &user.username),
        names => names.iter().flatten().map(|name| Value::from(*name)).collect::<Vec<_>>(),
        min_length => app.auth().password_min_length(),
        refused_field => error.map(|error| if error.field == "username" { "username" } else { "new_password" }),
        refused => error.map(|error| error.message.as_str()),
    };
    frame.page(status, "choose_password.html", values)
}

/// What has come of a link.
fn done_page(frame: &Frame, link: &OpenedLink, user: &User) -> Result<Response, Problem> {
    let title = match link.purpose {
        LinkPurpose::EmailVerification => "Your address is confirmed",
        LinkPurpose::Registration => "Your account is ready",
        LinkPurpose::Invitation | LinkPurpose::PasswordReset => "Your password is set",
    };
    let values = context! { title, purpose => link.purpose.as_str(), username => user.username.as_str() };
    frame.show("link_used.html", values)
}
