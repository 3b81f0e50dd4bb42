//! `/signin`, `/signout`, `/signup` and `/forgot`: how a browser's session begins and ends, and the two mails that lead to one.
//!
//! Rule: signing in is a login like any other, with its limits and its answers, and its opaque token goes into the cookie. Each
//! step that a login may ask for has its form here ([`Step`]). Threats: a link that signs its visitor in as somebody else, and
//! one that leads to another site afterwards (`return_to.rs`).

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use minijinja::context;
use serde::Deserialize;

use crate::auth::{Login, LoginOutcome};
use crate::error::{Error, FieldError};
use crate::http::App;
use crate::http::extract::{Anyone, Query};
use crate::http::pages::frame::{Form, Frame, Submitted, see_other, with_cookies};
use crate::http::pages::return_to::ReturnTo;
use crate::http::problem::Problem;
use crate::http::request_context::RequestContext;
use crate::model::{Client, Scope, Step};

/// What the address of the page may say.
#[derive(Deserialize)]
pub struct SignInQuery {
    /// Where to go afterwards.
    #[serde(default)]
    return_to: String,
}

/// What the form has: which step it is for, and why the last one was refused.
#[derive(Default)]
struct Prompt<'a> {
    username: &'a str,
    step: Option<Step>,
    refused: Option<&'a str>,
    refused_field: Option<&'a str>,
}

/// Shows the form, or who is signed in already. It goes nowhere by itself: a page that sends its visitors here over and over
/// would make a loop.
pub async fn show_sign_in(
    app: App,
    frame: Frame,
    headers: HeaderMap,
    Query(query): Query<SignInQuery>,
) -> Result<Response, Problem> {
    // Of this service at another time, or of another one in its domain. Only the browser's owner can tell.
    let refused = app.cookie().is_ambiguous(&headers).then_some(
        "Your browser has two cookies for signing in here, so that neither counts. Remove the cookies of this site.",
    );
    form(&app, &frame, StatusCode::OK, &query.return_to, &Prompt { refused, ..Prompt::default() })
}

/// Takes the form: begins a session, asks for the next step, or says why not.
pub async fn sign_in(
    app: App,
    frame: Frame,
    context: RequestContext,
    client: Client,
    request: Request,
) -> Result<Response, Problem> {
    let previous = app.cookie().of(request.headers()).map(<[u8]>::to_vec);
    let sent = Form::read(request, &app).await?;
    let (username, return_to) = (sent.get("username").trim(), sent.get("return_to"));
    let again = |status, prompt: &Prompt<'_>| form(&app, &frame, status, return_to, prompt);
    let prompt = Prompt { username, ..Prompt::default() };
    let mut password = sent.secret("password");
    if sent.has("new_password") {
        let prompt = Prompt { step: Some(Step::ChangePassword), ..prompt };
        let changed = match sent.get("new_password") == sent.get("again") {
            true => {
                app.auth()
                    .change_expired_password(username, &password, &sent.secret("new_password"), client.origin)
                    .await
            }
            false => Err(Error::Invalid(vec![FieldError::new("new_password", "differs", "is not the same twice")])),
        };
        match changed {
            Ok(()) => password = sent.secret("new_password"),
            Err(Error::Invalid(errors)) => {
                let refused = errors.first().map(|error| error.message.as_str());
                let prompt = Prompt { refused, refused_field: Some("new_password"), ..prompt };
                return again(StatusCode::UNPROCESSABLE_ENTITY, &prompt);
            }
            Err(Error::InvalidCredentials) => {
                let prompt = Prompt { refused: Some("The current password is not right."), ..prompt };
                return again(StatusCode::UNPROCESSABLE_ENTITY, &prompt);
            }
            Err(error) => return Err(error.into()),
        }
    }
    match app.auth().login(username, &password, client).await {
        Ok(LoginOutcome::Session(login)) => {
            context.record_login(&login.user);
            // One session for one browser.
            if let Some(previous) = previous
                && let Ok(previous) = app.auth().authenticate_session(&previous, context.origin()).await
                && let Err(error) = app.auth().logout(&previous, context.actor(&previous)).await
            {
                tracing::warn!(%error, "the session that a browser had before was not ended");
            }
            Ok(begun(&app, &frame, &login, return_to))
        }
        Ok(LoginOutcome::Pending(step)) => again(StatusCode::OK, &Prompt { step: Some(step), ..prompt }),
        Err(Error::InvalidCredentials) => {
            let refused = Some("No active account has this name and this password. Check both.");
            again(StatusCode::UNPROCESSABLE_ENTITY, &Prompt { refused, ..prompt })
        }
        Err(error) => Err(error.into()),
    }
}

/// The answer that hands over the session and goes on.
pub fn begun(app: &App, frame: &Frame, login: &Login, return_to: &str) -> Response {
    let cookie = app.cookie().set(&login.opaque.reveal(), login.opaque_expires_in);
    let response = match ReturnTo::parse(return_to, app.return_to()) {
        Some(ReturnTo::Own(path)) => frame.go(path.trim_start_matches('/')),
        Some(ReturnTo::Other { url, .. }) => see_other(&url),
        None if login.user.is_active_admin() => frame.go("admin"),
        None if login.user.roles.scopes().contains(Scope::Profile) => frame.go("account"),
        None => frame.go(""),
    };
    with_cookies(response, cookie)
}

fn form(
    app: &App,
    frame: &Frame,
    status: StatusCode,
    return_to: &str,
    prompt: &Prompt<'_>,
) -> Result<Response, Problem> {
    let return_to = ReturnTo::parse(return_to, app.return_to());
    // Browsers ask the policy of this page also for where the answer to its form leads.
    let onward = match &return_to {
        Some(ReturnTo::Other { origin, .. }) => Some(origin.as_str()),
        _ => None,
    };
    let values = context! {
        title => if prompt.step.is_some() { "Choose a new password" } else { "Sign in" },
        return_to => return_to.as_ref().map(ReturnTo::as_str),
        onward,
        username => prompt.username,
        must_change_password => prompt.step == Some(Step::ChangePassword),
        refused => prompt.refused,
        refused_field => prompt.refused_field,
        min_length => app.auth().password_min_length(),
        is_registration_open => app.auth().is_registration_open(),
        has_mail => app.auth().has_mail(),
    };
    let mut response = frame.page(status, "signin.html", values)?;
    if let Some(origin) = onward {
        super::allow_form_action(response.headers_mut(), origin);
    }
    Ok(response)
}

/// Asks whether to sign out, for links that other applications have here.
pub async fn show_sign_out(app: App, frame: Frame) -> Result<Response, Problem> {
    let page = frame.show("signout.html", context! { title => "Sign out" })?;
    // A cookie that counts for nothing is removed without being asked.
    Ok(if frame.is_signed_in() { page } else { with_cookies(page, app.cookie().removal()) })
}

/// Ends the session, and removes the cookie.
pub async fn sign_out(app: App, Submitted { caller, frame, .. }: Submitted<Anyone>) -> Result<Response, Problem> {
    app.auth().logout(&caller.principal, caller.actor()).await?;
    Ok(with_cookies(frame.go("?said=signed-out"), app.cookie().removal()))
}

/// Shows the form for a forgotten password, or says that there is no mail.
pub async fn show_forgot(app: App, frame: Frame) -> Result<Response, Problem> {
    forgot_page(&app, &frame, false)
}

/// Takes the request for a link. The page is the same whether or not there is such an account.
pub async fn forgot(app: App, frame: Frame, context: RequestContext, request: Request) -> Result<Response, Problem> {
    let sent = Form::read(request, &app).await?;
    app.auth().forgot_password(sent.get("login").trim(), context.origin()).await?;
    forgot_page(&app, &frame, true)
}

/// Shows the form for who wants an account, or says that administrators make them.
pub async fn show_sign_up(app: App, frame: Frame) -> Result<Response, Problem> {
    sign_up_page(&app, &frame, StatusCode::OK, "", None)
}

/// Takes the wish for an account. What comes of it, a mail says: the page is the same whether or not there is one already.
pub async fn sign_up(app: App, frame: Frame, context: RequestContext, request: Request) -> Result<Response, Problem> {
    let sent = Form::read(request, &app).await?;
    let email = sent.get("email").trim();
    match app.auth().register(email.to_owned(), context.origin()).await {
        Ok(()) => frame.show("signup.html", context! { title => "Look into your mail", is_sent => true }),
        Err(Error::Invalid(errors)) => {
            sign_up_page(&app, &frame, StatusCode::UNPROCESSABLE_ENTITY, email, errors.first())
        }
        Err(error) => Err(error.into()),
    }
}

fn sign_up_page(
    app: &App,
    frame: &Frame,
    status: StatusCode,
    email: &str,
    refused: Option<&FieldError>,
) -> Result<Response, Problem> {
    let values = context! {
        title => "Make an account",
        is_open => app.auth().is_registration_open(),
        email,
        refused => refused.map(|error| error.message.as_str()),
    };
    frame.page(status, "signup.html", values)
}

fn forgot_page(app: &App, frame: &Frame, is_sent: bool) -> Result<Response, Problem> {
    let title = if is_sent { "Look into your mail" } else { "Forgot your password?" };
    frame.show("forgot.html", context! { title, is_sent, has_mail => app.auth().has_mail() })
}
