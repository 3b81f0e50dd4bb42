//! `/setup`: the page on which the holder of the setup token makes the first administrator.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use minijinja::context;

use crate::auth::{Actor, Creator, LoginOutcome, Password};
use crate::error::{Error, FieldError};
use crate::http::App;
use crate::http::pages::frame::{Form, Frame, by_field};
use crate::http::pages::signin;
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;
use crate::model::{AuditMethod, Client, NewUser, Roles};

/// Shows the form. The link to it has the token after a `#`, where no proxy logs it; a script puts it into its field.
pub async fn show_setup(app: App, frame: Frame) -> Result<Response, Problem> {
    form(&app, &frame, StatusCode::OK, &Form::default(), &[]).await
}

/// Makes the administrator, and signs them in.
pub async fn set_up(
    app: App,
    frame: Frame,
    context: RequestContext,
    client: Client,
    request: Request,
) -> Result<Response, Problem> {
    let sent = Form::read(request, &app).await?;
    match first_admin(&app, &sent, &client).await {
        Ok(()) => {}
        Err(Error::Invalid(errors)) => {
            return form(&app, &frame, StatusCode::UNPROCESSABLE_ENTITY, &sent, &errors).await;
        }
        Err(Error::UsernameTaken) => {
            let taken = FieldError::new("username", "taken", "belongs to someone already");
            return form(&app, &frame, StatusCode::CONFLICT, &sent, &[taken]).await;
        }
        Err(error) => return Err(error.into()),
    }
    context.record_setup();
    match app.auth().login(sent.get("username").trim(), &sent.secret("new_password"), client).await? {
        LoginOutcome::Session(login) => Ok(signin::begun(&app, &frame, &login, "/admin")),
        LoginOutcome::Pending(_) => Ok(frame.go("signin")),
    }
}

async fn first_admin(app: &App, sent: &Form, client: &Client) -> Result<(), Error> {
    let field = |name, code, message: &str| Error::Invalid(vec![FieldError::new(name, code, message)]);
    let header = format!("Bearer {}", sent.get("token").trim());
    let Some(token) = app.auth().setup_token(header.as_bytes()).await? else {
        return Err(field("token", "unknown", "is not the one that the service showed when it first started"));
    };
    if sent.get("new_password") != sent.get("again") {
        return Err(field("password", "differs", "is not the same twice"));
    }
    let new = NewUser {
        username: sent.get("username").trim().to_owned(),
        name: None,
        email: sent.optional("email"),
        roles: vec![Roles::DEFAULT.to_owned(), Roles::ADMIN.to_owned()],
        must_change_password: false,
    };
    let actor = Actor::Unknown { method: AuditMethod::Setup, origin: client.origin };
    let password = sent.secret("new_password");
    app.auth().create_user(Creator::Setup(token, actor), new, Password::Given(&password), None).await.map(drop)
}

async fn form(
    app: &App,
    frame: &Frame,
    status: StatusCode,
    sent: &Form,
    errors: &[FieldError],
) -> Result<Response, Problem> {
    let values = context! {
        title => "Make the first administrator",
        has_admin => app.auth().has_admin().await?,
        token => sent.get("token"),
        username => sent.get("username"),
        email => sent.get("email"),
        min_length => app.auth().password_min_length(),
        errors => by_field(errors),
    };
    frame.page(status, "setup.html", values)
}
