//! `/admin/console/users/new` and `/admin/console/users/{id}`: making a user, and all that can be done with one.

use axum::http::StatusCode;
use axum::response::Response;
use minijinja::value::Serde;
use minijinja::{Value, context};
use secrecy::ExposeSecret;

use crate::auth::{Creator, Link, Password};
use crate::error::{Error, FieldError};
use crate::http::App;
use crate::http::extract::{Admin, Caller, PathId, Query};
use crate::http::pages::console::{SaidQuery, said};
use crate::http::pages::frame::{Form, Frame, SignedIn, Submitted, by_field};
use crate::http::pages::sentences::sentences;
use crate::http::problem::{self, Problem};
use crate::http::views::{SessionList, TokenList, UserView};
use crate::model::{AuditFilter, LinkPurpose, NewUser, Roles, SessionId, Status, Timestamp, UserId, UserPatch};

/// How many records of the audit trail the page shows.
const RECENT: u32 = 20;

/// Shows the form for a new user.
pub async fn show_new_user(app: App, SignedIn { frame, .. }: SignedIn<Admin>) -> Result<Response, Problem> {
    new_user_page(&app, &frame, StatusCode::OK, &Form::of([("user", "on")]), &[])
}

/// Creates or invites a user. An invitation that is not mailed is shown this once.
pub async fn create_user(app: App, Submitted { caller, frame, form }: Submitted<Admin>) -> Result<Response, Problem> {
    let new = NewUser {
        username: form.get("username").trim().to_owned(),
        name: form.optional("name"),
        email: form.optional("email"),
        roles: roles(&form),
        must_change_password: form.has("must_change_password"),
    };
    let given = form.secret("password");
    let password = match form.get("how") {
        "mail" => Password::Invite { deliver: true },
        "link" => Password::Invite { deliver: false },
        _ => Password::Given(&given),
    };
    let created = match app
        .auth()
        .create_user(Creator::Admin(caller.actor()), new, password, form.once("/admin/console/users/new"))
        .await
    {
        Ok(created) => created,
        Err(Error::Invalid(errors)) => {
            return new_user_page(&app, &frame, StatusCode::UNPROCESSABLE_ENTITY, &form, &errors);
        }
        Err(Error::UsernameTaken) => {
            let taken = FieldError::new("username", "taken", "belongs to someone already");
            return new_user_page(&app, &frame, StatusCode::CONFLICT, &form, &[taken]);
        }
        Err(error) => return Err(error.into()),
    };
    match created {
        (user, Some(link @ Link { url: Some(_), .. })) => {
            page(&app, &frame, None, user.id, StatusCode::OK, Extra { link: Some(link), ..Extra::default() }).await
        }
        (user, Some(_)) => Ok(frame.go(&format!("admin/console/users/{}?said=mailed", user.id))),
        (user, None) => Ok(frame.go(&format!("admin/console/users/{}?said=created", user.id))),
    }
}

fn new_user_page(
    app: &App,
    frame: &Frame,
    status: StatusCode,
    form: &Form,
    errors: &[FieldError],
) -> Result<Response, Problem> {
    let values = context! {
        title => "New user",
        has_mail => app.auth().has_mail(),
        min_length => app.auth().password_min_length(),
        typed => typed(form),
        errors => by_field(errors),
    };
    frame.page(status, "console/user_new.html", values)
}

/// What was typed and chosen, to be shown again. Passwords are not among it.
fn typed(form: &Form) -> Value {
    context! {
        username => form.get("username"),
        name => form.get("name"),
        email => form.get("email"),
        user => form.has(Roles::DEFAULT),
        admin => form.has(Roles::ADMIN),
        other_roles => form.get("other_roles"),
        how => form.get("how"),
        must_change_password => form.has("must_change_password"),
    }
}

/// The two roles that mean something to the service have boxes, all others are typed.
fn roles(form: &Form) -> Vec<String> {
    let ticked = [Roles::DEFAULT, Roles::ADMIN].into_iter().filter(|role| form.has(role));
    let typed = form.get("other_roles").split([' ', ',', ';']).filter(|role| !role.is_empty());
    ticked.chain(typed).map(str::to_lowercase).collect()
}

/// What the page of a user shows besides the user.
#[derive(Default)]
struct Extra<'a> {
    said: Option<&'static str>,
    /// A new link, which is shown this once.
    link: Option<Link>,
    errors: Vec<FieldError>,
    /// Whether it was refused because the user has changed meanwhile.
    is_stale: bool,
    /// What was typed into the form that was refused.
    typed: Option<&'a Form>,
}

/// Shows a user.
pub async fn show_user(
    app: App,
    SignedIn { caller, frame }: SignedIn<Admin>,
    PathId(id): PathId<UserId>,
    Query(query): Query<SaidQuery>,
) -> Result<Response, Problem> {
    let extra = Extra { said: said(&query.said), ..Extra::default() };
    page(&app, &frame, caller.principal.session, id, StatusCode::OK, extra).await
}

async fn page(
    app: &App,
    frame: &Frame,
    current: Option<SessionId>,
    id: UserId,
    status: StatusCode,
    extra: Extra<'_>,
) -> Result<Response, Problem> {
    let auth = app.auth();
    let user = auth.user(id).await?;
    let others = user.roles.iter().filter(|role| ![Roles::DEFAULT, Roles::ADMIN].contains(role));
    let filter = AuditFilter { user: Some(id), ..AuditFilter::default() };
    let (recent, _) = auth.audit(&filter, None, RECENT).await?;
    let values = context! {
        title => user.display_name(),
        user => Serde(UserView::from(&user)),
        // Of the user that the form was filled in for, so that a change of somebody else still shows; once it has shown, whoever
        // saves again means to replace it.
        version => match extra.typed {
            Some(form) if !extra.is_stale => form.get("version").to_owned(),
            _ => user.updated_at.0.to_string(),
        },
        is_stale => extra.is_stale,
        other_roles => others.collect::<Vec<_>>().join(" "),
        has_password => auth.has_password(id).await?,
        has_mail => auth.has_mail(),
        sessions => Serde(SessionList::new(auth.sessions(id).await?, current)),
        tokens => Serde(TokenList::new(auth.tokens(id).await?)),
        recent => Serde(sentences(auth, recent).await?),
        said => extra.said,
        link => extra.link.as_ref().and_then(|link| Some(link.url.as_ref()?.expose_secret())),
        link_until => extra.link.as_ref().map(|link| link.expires_at.to_string()),
        typed => extra.typed.map(typed),
        errors => by_field(&extra.errors),
    };
    frame.page(status, "console/user.html", values)
}

/// What has come of an action.
enum Done {
    /// Something to be said on the page of the user.
    Said(&'static str),
    /// A link to be shown.
    Link(Link),
    /// There is no such user any more.
    Deleted,
}

/// Does what a form of the page asks for.
pub async fn act(
    app: App,
    PathId(id): PathId<UserId>,
    Submitted { caller, frame, form }: Submitted<Admin>,
) -> Result<Response, Problem> {
    let current = caller.principal.session;
    let done = match form.get("action") {
        "save" => save(&app, &caller, id, &form).await,
        "disable" | "enable" => {
            let (status, said) = match form.get("action") {
                "disable" => (Status::Disabled, "disabled"),
                _ => (Status::Active, "enabled"),
            };
            let patch = UserPatch { status: Some(status), ..UserPatch::default() };
            app.auth().update_user(caller.actor(), id, None, patch).await.map(|_| Done::Said(said))
        }
        "delete" => app.auth().delete_user(caller.actor(), id, None).await.map(|()| Done::Deleted),
        "invitation" | "password-reset" => {
            let purpose = match form.get("action") {
                "invitation" => LinkPurpose::Invitation,
                _ => LinkPurpose::PasswordReset,
            };
            let once = form.once("/admin/console/users/{id}");
            let link = app.auth().create_link(caller.actor(), id, purpose, form.has("deliver"), once).await;
            link.map(|link| if link.url.is_some() { Done::Link(link) } else { Done::Said("mailed") })
        }
        "end-session" => match form.get("id").parse() {
            Ok(session) => {
                let ended = app.auth().end_session(caller.actor(), Some(id), session).await;
                ended.map(|()| Done::Said("session-ended"))
            }
            Err(_) => Err(Error::NotFound),
        },
        "end-sessions" => app.auth().end_sessions(caller.actor(), id, None).await.map(|_| Done::Said("sessions-ended")),
        "revoke-token" => match form.get("id").parse() {
            Ok(token) => {
                let revoked = app.auth().revoke_token(caller.actor(), Some(id), token).await;
                revoked.map(|()| Done::Said("token-revoked"))
            }
            Err(_) => Err(Error::NotFound),
        },
        "revoke-tokens" => app.auth().revoke_tokens(caller.actor(), id).await.map(|_| Done::Said("tokens-revoked")),
        _ => return Err(Problem::new(&problem::NOT_FOUND)),
    };
    match done {
        Ok(Done::Said(code)) => Ok(frame.go(&format!("admin/console/users/{id}?said={code}"))),
        Ok(Done::Deleted) => Ok(frame.go("admin/console/users?said=deleted")),
        Ok(Done::Link(link)) => {
            page(&app, &frame, current, id, StatusCode::OK, Extra { link: Some(link), ..Extra::default() }).await
        }
        Err(Error::Invalid(errors)) => {
            let typed = Some(&form).filter(|form| form.get("action") == "save");
            let extra = Extra { errors, typed, ..Extra::default() };
            page(&app, &frame, current, id, StatusCode::UNPROCESSABLE_ENTITY, extra).await
        }
        Err(Error::Stale) => {
            let extra = Extra { is_stale: true, typed: Some(&form), ..Extra::default() };
            page(&app, &frame, current, id, StatusCode::CONFLICT, extra).await
        }
        Err(Error::LastAdmin) => {
            let extra = Extra { said: said("last-admin"), ..Extra::default() };
            page(&app, &frame, current, id, StatusCode::CONFLICT, extra).await
        }
        Err(Error::NotFound) if app.auth().user(id).await.is_ok() => {
            Ok(frame.go(&format!("admin/console/users/{id}?said=gone")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Saves the form, unless the user was changed since it was shown.
async fn save(app: &App, caller: &Caller<Admin>, id: UserId, form: &Form) -> Result<Done, Error> {
    let version = form.get("version").parse().map(Timestamp).map_err(|_| Error::Stale)?;
    let patch = UserPatch {
        name: Some(form.optional("name")),
        email: Some(form.optional("email")),
        roles: Some(roles(form)),
        status: None,
    };
    app.auth().update_user(caller.actor(), id, Some(vec![version]), patch).await.map(|_| Done::Said("saved"))
}
