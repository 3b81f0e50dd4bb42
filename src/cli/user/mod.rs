//! `countersign user`: creates, lists and changes users.

pub mod export;
pub mod import;

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write};

use secrecy::{ExposeSecret, SecretString};

use crate::auth::{Actor, Auth, Creator, Link, Password};
use crate::cli::table::{cell, line};
use crate::cli::{confirm, explain, find, json_line, looking, print, print_page, with_auth};
use crate::config::{Config, UserCommand};
use crate::error::CommandError;
use crate::http::views::{LinkView, UserView};
use crate::model::{LinkPurpose, NewUser, Roles, Status, User, UserFilter, UserPatch};

/// Users read per page.
const PAGE: u32 = 1000;

/// Runs `countersign user`.
pub fn run(config: &Config, command: &UserCommand) -> Result<(), CommandError> {
    let work = async |auth: &Auth| answer(auth, command).await;
    print(&match command {
        UserCommand::List { .. } | UserCommand::Show { .. } => looking(config, work),
        _ => with_auth(config, work),
    }?)
}

async fn answer(auth: &Auth, command: &UserCommand) -> Result<String, CommandError> {
    match command {
        UserCommand::Create { username, name, email, roles, must_change_password, invite, deliver } => {
            let roles = if roles.is_empty() { vec![Roles::DEFAULT.to_owned()] } else { roles.clone() };
            let new = NewUser {
                username: username.clone(),
                name: name.clone(),
                email: email.clone(),
                roles,
                must_change_password: *must_change_password,
            };
            let password = if *invite { None } else { Some(read_password()?) };
            let password = match &password {
                Some(password) => Password::Given(password),
                None => Password::Invite { deliver: *deliver },
            };
            let created = auth.create_user(Creator::Operator, new, password, None).await.map_err(explain)?;
            match created {
                (_, Some(link)) => show(&link, false),
                (user, None) => Ok(format!("{} was made, with the id {}\n", user.username, user.id)),
            }
        }
        UserCommand::Link { username, purpose, deliver, json } => {
            let user = find(auth, username).await?;
            let purpose = match purpose {
                Some(purpose) => *purpose,
                None if auth.has_password(user.id).await.map_err(explain)? => LinkPurpose::PasswordReset,
                None => LinkPurpose::Invitation,
            };
            let link = auth.create_link(Actor::Operator, user.id, purpose, *deliver, None).await.map_err(explain)?;
            show(&link, *json)
        }
        UserCommand::List { begins_with, role, json } => {
            list(auth, begins_with.clone(), role.clone(), *json).await?;
            Ok(String::new())
        }
        UserCommand::Show { username, json: true } => json_line(&UserView::from(&find(auth, username).await?)),
        UserCommand::Show { username, json: false } => Ok(details(&find(auth, username).await?)),
        UserCommand::SetPassword { username, must_change_password } => {
            let user = find(auth, username).await?;
            let done = auth.set_password(Actor::Operator, user.id, &read_password()?, *must_change_password).await;
            done.map_err(explain)?;
            Ok(format!("{} has a new password\n", user.username))
        }
        UserCommand::Disable { username } => change_status(auth, username, Status::Disabled).await,
        UserCommand::Enable { username } => change_status(auth, username, Status::Active).await,
        UserCommand::Delete { username, sure } => {
            let user = find(auth, username).await?;
            confirm(*sure, &format!("This deletes {}, with all sessions and tokens.", user.username))?;
            auth.delete_user(Actor::Operator, user.id, None).await.map_err(explain)?;
            Ok(format!("{} was deleted\n", user.username))
        }
        UserCommand::Role { username, add, remove } => {
            let user = find(auth, username).await?;
            let kept = user.roles.iter().filter(|role| !remove.iter().any(|gone| gone == role)).map(ToOwned::to_owned);
            let roles = Some(kept.chain(add.iter().cloned()).collect());
            let patch = UserPatch { roles, ..UserPatch::default() };
            // A concurrent change of the user fails this one: the roles were computed from what was read.
            let read = Some(vec![user.updated_at]);
            let user = auth.update_user(Actor::Operator, user.id, read, patch).await.map_err(explain)?;
            Ok(format!("{} has the roles: {}\n", user.username, user.roles))
        }
    }
}

/// The link alone on standard output, so that a script can take it; what there is to know about it on standard error.
fn show(link: &Link, json: bool) -> Result<String, CommandError> {
    if json {
        return json_line(&LinkView::from(link));
    }
    let Some(url) = &link.url else {
        return Ok(format!("a server sends it within seconds; it works once, until {}\n", link.expires_at));
    };
    let about = format!("Hand this over; it works once, until {}.\n", link.expires_at);
    let _closed = std::io::stderr().write_all(about.as_bytes());
    Ok(format!("{}\n", url.expose_secret()))
}

async fn change_status(auth: &Auth, username: &str, status: Status) -> Result<String, CommandError> {
    let user = find(auth, username).await?;
    let patch = UserPatch { status: Some(status), ..UserPatch::default() };
    let user = auth.update_user(Actor::Operator, user.id, None, patch).await.map_err(explain)?;
    Ok(format!("{} is {}\n", user.username, user.status.as_str()))
}

async fn list(auth: &Auth, begins_with: Option<String>, role: Option<String>, json: bool) -> Result<(), CommandError> {
    let filter = UserFilter { begins_with, role, status: None };
    let row = |cells: [&str; 4]| line(&cells, [24, 8, 24, 24]);
    let mut text = if json { String::new() } else { row(["USERNAME", "STATUS", "ROLES", "LAST LOGIN"]) };
    let mut after = None;
    loop {
        let (users, next) = auth.users(&filter, after, PAGE).await?;
        for user in users {
            if json {
                text += &json_line(&UserView::from(&user))?;
            } else {
                let (roles, last_login) = (user.roles.to_string(), cell(user.last_login_at));
                text += &row([&user.username, user.status.as_str(), &roles, &last_login]);
            }
        }
        if !print_page(&text)? || next.is_none() {
            return Ok(());
        }
        (after, text) = (next, String::new());
    }
}

fn details(user: &User) -> String {
    let mut text = String::new();
    for (what, value) in [
        ("Username", user.username.clone()),
        ("Id", user.id.to_string()),
        ("Name", cell(user.name.as_ref())),
        ("E-mail", cell(user.email.as_ref())),
        ("Roles", user.roles.to_string()),
        ("Status", user.status.as_str().to_owned()),
        ("Created", user.created_at.to_string()),
        ("Last login", cell(user.last_login_at)),
    ] {
        let _infallible = writeln!(text, "{what:<11} {value}");
    }
    text
}

/// Reads a password twice without echo from a terminal, or else the first line of standard input. Never an argument:
/// other users of the machine can read those.
fn read_password() -> Result<SecretString, CommandError> {
    let cannot = |error: std::io::Error| CommandError(format!("the password cannot be read: {error}"));
    if !std::io::stdin().is_terminal() {
        let mut line = zeroize::Zeroizing::new(String::new());
        std::io::stdin().lock().read_line(&mut line).map_err(cannot)?;
        return Ok(line.trim_end_matches(['\r', '\n']).into());
    }
    let password = rpassword::prompt_password("Password: ").map_err(cannot)?;
    let again = zeroize::Zeroizing::new(rpassword::prompt_password("Once more: ").map_err(cannot)?);
    if password == *again {
        Ok(password.into())
    } else {
        Err(CommandError("the passwords do not match; nothing was changed".into()))
    }
}
