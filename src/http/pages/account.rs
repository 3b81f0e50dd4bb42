//! `/account`: what users see and change of their own.
//!
//! Rule: each form is one action, and the page comes back with what became of it. Sessions have all scopes of their user's
//! roles, and a role that grants `profile` grants `tokens`, so one scope stands for both.

use axum::http::StatusCode;
use axum::response::Response;
use minijinja::context;
use minijinja::value::Serde;
use serde::Deserialize;

use crate::auth::Authenticated;
use crate::error::{Error, FieldError};
use crate::http::App;
use crate::http::extract::{Caller, PathId, Profile, Query};
use crate::http::pages::frame::{Form, Frame, SignedIn, Submitted};
use crate::http::pages::sentences::sentences_for;
use crate::http::problem::{self, Problem};
use crate::http::views::{SessionList, TokenList, UserView};
use crate::model::{AuditFilter, Lifetime, NewToken, PersonalSecret, Scope, UserPatch};

/// How many records of the audit trail the page shows.
const RECENT: u32 = 20;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// What is said of a form that was taken: a code for the address of the page, the part of the page, and the words.
const SAID: [(&str, &str, &str); 7] = [
    ("name-saved", "profile", "Your name is saved."),
    ("email-saved", "email", "Your e-mail address is saved."),
    ("mail-sent", "email", "A mail is on its way to that address. It is yours here once you open the link in it."),
    (
        "password-changed",
        "password",
        "Your password is changed. You are signed out everywhere else, and your personal tokens are revoked.",
    ),
    ("session-ended", "sessions", "That session is ended. Whoever had it is signed out."),
    ("others-ended", "sessions", "You are signed out everywhere but here."),
    ("token-revoked", "tokens", "That token is revoked. Programs that use it are refused from now on."),
];

/// What has come of a form: at which part of the page, and what is to be said.
#[derive(Default)]
struct Outcome {
    /// The part of the page.
    at: &'static str,
    refused: Option<FieldError>,
    done: Option<&'static str>,
    /// A new personal token, which is shown this once.
    token: Option<String>,
}

/// What the address of the page may say.
#[derive(Deserialize)]
pub struct AccountQuery {
    /// A code of [`SAID`].
    #[serde(default)]
    said: String,
}

/// Shows the page.
pub async fn show_account(
    app: App,
    SignedIn { caller, frame }: SignedIn<Profile>,
    Query(query): Query<AccountQuery>,
) -> Result<Response, Problem> {
    let said = SAID.iter().find(|(code, ..)| *code == query.said);
    let outcome = said.map(|(_, at, words)| Outcome { at, done: Some(words), ..Outcome::default() });
    account(&app, &frame, &caller, StatusCode::OK, &outcome.unwrap_or_default(), &Form::default()).await
}

/// What is left in the address line after a form was refused leads to the page again.
pub async fn go_to_account(frame: Frame) -> Response {
    frame.go("account")
}

/// Does what a form of the page asks for.
pub async fn act(
    app: App,
    PathId(action): PathId<String>,
    Submitted { caller, frame, form }: Submitted<Profile>,
) -> Result<Response, Problem> {
    let (status, outcome) = match run(&app, &caller, &action, &form).await {
        Ok(Some(Done::Said(code))) => return Ok(frame.go(&format!("account?said={code}"))),
        Ok(Some(Done::Token(secret))) => {
            (StatusCode::OK, Outcome { at: "tokens", token: Some(secret.reveal()), ..Outcome::default() })
        }
        Ok(None) => return Err(Problem::new(&problem::NOT_FOUND)),
        Err((at, Error::Invalid(errors))) => {
            let refused = errors.into_iter().next();
            (StatusCode::UNPROCESSABLE_ENTITY, Outcome { at, refused, ..Outcome::default() })
        }
        Err((at, Error::InvalidCredentials)) => {
            let refused = Some(FieldError::new("current_password", "wrong", "is not right"));
            (StatusCode::UNPROCESSABLE_ENTITY, Outcome { at, refused, ..Outcome::default() })
        }
        Err((at, Error::TooManyTokens)) => {
            let message = "cannot be made: you have 100 of them; revoke one that is no longer needed";
            let refused = Some(FieldError::new("name", "too-many", message));
            (StatusCode::CONFLICT, Outcome { at, refused, ..Outcome::default() })
        }
        Err((_, error)) => return Err(error.into()),
    };
    account(&app, &frame, &caller, status, &outcome, &form).await
}

/// What was done: something to be said on the page, or a token to be shown.
enum Done {
    Said(&'static str),
    Token(PersonalSecret),
}

/// Runs an action; none when there is none of this name. An error comes with the part of the page that it belongs to.
async fn run(
    app: &App,
    caller: &Caller<Profile>,
    action: &str,
    form: &Form,
) -> Result<Option<Done>, (&'static str, Error)> {
    let (auth, actor, me) = (app.auth(), caller.actor(), caller.principal.user.id);
    let done = |code| Ok(Some(Done::Said(code)));
    match action {
        "name" => {
            let patch = UserPatch { name: Some(form.optional("name")), ..UserPatch::default() };
            auth.update_user(actor, me, None, patch).await.map_err(|error| ("profile", error))?;
            done("name-saved")
        }
        "email" => {
            let at = "email";
            let email = form.optional("email");
            let current = form.secret("current_password");
            match email {
                Some(email) if auth.has_mail() => {
                    auth.verify_address(&caller.principal, actor, email, &current)
                        .await
                        .map_err(|error| (at, error))?;
                    done("mail-sent")
                }
                email => {
                    let patch = UserPatch { email: Some(email), ..UserPatch::default() };
                    auth.update_user(actor, me, None, patch).await.map_err(|error| (at, error))?;
                    done("email-saved")
                }
            }
        }
        "password" => {
            let at = "password";
            if form.get("new_password") != form.get("again") {
                let differs = FieldError::new("new_password", "differs", "is not the same twice");
                return Err((at, Error::Invalid(vec![differs])));
            }
            let (current, new) = (form.secret("current_password"), form.secret("new_password"));
            auth.change_password(&caller.principal, actor, &current, &new).await.map_err(|error| (at, error))?;
            done("password-changed")
        }
        "end-session" => {
            let at = "sessions";
            let id = form.get("id").parse().map_err(|_| (at, Error::NotFound))?;
            auth.end_session(actor, Some(me), id).await.or_else(gone).map_err(|error| (at, error))?;
            done("session-ended")
        }
        "end-other-sessions" => {
            let ended = auth.end_sessions(actor, me, caller.principal.session).await;
            ended.map_err(|error| ("sessions", error))?;
            done("others-ended")
        }
        "create-token" => {
            let at = "tokens";
            let new = new_token(form).map_err(|error| (at, Error::Invalid(vec![error])))?;
            let (_, secret) = auth
                .create_token(&caller.principal, actor, new, form.once("/account/create-token"))
                .await
                .map_err(|error| (at, error))?;
            Ok(Some(Done::Token(secret)))
        }
        "revoke-token" => {
            let at = "tokens";
            let id = form.get("id").parse().map_err(|_| (at, Error::NotFound))?;
            auth.revoke_token(actor, Some(me), id).await.or_else(gone).map_err(|error| (at, error))?;
            done("token-revoked")
        }
        _ => Ok(None),
    }
}

/// What is gone already is as good as ended: it may have been ended in another tab.
fn gone(error: Error) -> Result<(), Error> {
    if matches!(error, Error::NotFound) { Ok(()) } else { Err(error) }
}

fn new_token(form: &Form) -> Result<NewToken, FieldError> {
    let scopes: Result<_, _> = form.all("scope").map(str::parse::<Scope>).collect();
    let scopes = scopes.map_err(|_| FieldError::new("scopes", "unknown", "are not known"))?;
    let expires_in = match form.get("days") {
        "never" => Lifetime::Unlimited,
        days => {
            let days = days.parse::<u64>().ok().filter(|days| (1..=3650).contains(days));
            let days = days.ok_or_else(|| FieldError::new("days", "malformed", "must be from 1 to 3650 days"))?;
            Lifetime::Seconds(days * DAY_SECONDS)
        }
    };
    Ok(NewToken { name: form.get("name").trim().to_owned(), scopes, expires_in: Some(expires_in) })
}

async fn account(
    app: &App,
    frame: &Frame,
    caller: &Caller<Profile>,
    status: StatusCode,
    outcome: &Outcome,
    form: &Form,
) -> Result<Response, Problem> {
    let (auth, principal): (_, &Authenticated) = (app.auth(), &caller.principal);
    let user = auth.user(principal.user.id).await?;
    let sessions = SessionList::new(auth.sessions(user.id).await?, principal.session);
    let tokens = TokenList::new(auth.tokens(user.id).await?);
    let filter = AuditFilter { user: Some(user.id), ..AuditFilter::default() };
    let (recent, _) = auth.audit(&filter, None, RECENT).await?;
    let values = context! {
        title => "Your account",
        user => Serde(UserView::from(&user)),
        sessions => Serde(&sessions),
        tokens => Serde(&tokens),
        recent => Serde(sentences_for(auth, user.id, recent).await?),
        scopes => principal.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
        has_mail => auth.has_mail(),
        min_length => auth.password_min_length(),
        outcome => context! {
            at => outcome.at,
            field => outcome.refused.as_ref().map(|error| error.field.as_str()),
            refused => outcome.refused.as_ref().map(|error| error.message.as_str()),
            done => outcome.done,
            token => outcome.token.as_deref(),
        },
        typed => context! { name => form.get("name"), email => form.get("email"), scopes => form.all("scope").map(ToOwned::to_owned).collect::<Vec<_>>() },
    };
    frame.page(status, "account.html", values)
}
