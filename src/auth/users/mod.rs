//! Creating, finding, updating and deleting users.
//!
//! Rule: all fields are validated before the password is hashed, and the hash is made before the transaction begins;
//! disabling or deleting a user revokes their sessions, tokens and links in the same transaction; one active admin remains.
//! Threats: usernames that imitate others or break a header, a write lock held for the time of a hash, rights that
//! outlive their revocation, and an installation without an admin.

pub mod export;
pub mod first_admin;
pub mod import;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use validator::Validate;

use crate::auth::passwords::formats;
use crate::auth::{Actor, Auth, IdempotentRequest, Link, random};
use crate::error::{Error, FieldError};
use crate::mail::Subject;
use crate::model::pagination::cut_to;
use crate::model::{
    Event, LinkPurpose, NewUser, PasswordHash, Roles, SecretPurpose, Status, Timestamp, TokenHash, User, UserFilter,
    UserId, UserPatch, fold_username, is_valid_role, is_valid_username,
};
use crate::store::Tx;

/// The authority by which a user is created.
#[derive(Clone, Copy, Debug)]
pub enum Creator {
    /// A caller with the scope `admin`.
    Admin(Actor),
    /// The holder of the setup token.
    Setup(TokenHash, Actor),
    /// The operator, by a setting.
    Operator,
}

impl Creator {
    fn actor(self) -> Actor {
        match self {
            Self::Admin(actor) | Self::Setup(_, actor) => actor,
            Self::Operator => Actor::Operator,
        }
    }
}

/// The password of a new user.
#[derive(Clone, Copy, Debug)]
pub enum Password<'a> {
    /// This one.
    Given(&'a SecretString),
    /// None yet: the user chooses one with a link, which is sent to them if it is to be delivered.
    Invite {
        /// Whether to send it.
        deliver: bool,
    },
}

/// The response to the creation of a user, as it is stored for retries.
#[derive(Serialize, Deserialize)]
struct CreatedUser {
    #[serde(flatten)]
    user: User,
    /// The address and the expiry of the invitation.
    #[serde(default)]
    link: Option<(Option<String>, Timestamp)>,
}

/// The position in a list of users: the key by which the last one was found, and their id.
pub type Cursor = (String, UserId);

impl Auth {
    /// Creates a user, or returns the one that the same idempotent request created before. Without a password the user is
    /// invited: the link comes with the user. Fails with [`Error::Invalid`], which names all invalid fields,
    /// [`Error::UsernameTaken`], or [`Error::MailUnavailable`].
    pub async fn create_user(
        &self,
        creator: Creator,
        new: NewUser,
        password: Password<'_>,
        once: Option<IdempotentRequest>,
    ) -> Result<(User, Option<Link>), Error> {
        let new =
            NewUser { username: fold_username(&new.username), name: new.name.map(|name| name.nfc().collect()), ..new };
        self.check_new_user(creator, &new, password)?;
        let actor = creator.actor();
        let (hash, invite) = match password {
            Password::Given(password) => (self.hash_password(actor, password).await?, None),
            Password::Invite { deliver } => (formats::with_scheme(PasswordHash::none()), Some(deliver)),
        };
        let now = self.clock.now();
        let user = User {
            name: new.name,
            email: new.email,
            roles: new.roles.into_iter().collect(),
            must_change_password: new.must_change_password,
            ..User::new(UserId::new(now, random()), new.username, now)
        };
        let auth = self.clone();
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            if let Creator::Setup(token, _) = creator
                && (!tx.lock_secret(SecretPurpose::Setup, token, now).await? || tx.has_admin().await?)
            {
                return Err(Error::InvalidToken);
            }
            if let Some(CreatedUser { user, link }) = auth.stored_response(&mut tx, actor, once.as_ref(), now).await? {
                tx.commit().await?;
                return Ok((user, link.map(|(url, expires_at)| Link { url: url.map(Into::into), expires_at })));
            }
            tx.insert_user(&user, &hash).await?;
            let link = match invite {
                Some(deliver) => Some(auth.issue_link(&mut tx, &user, LinkPurpose::Invitation, deliver, now).await?),
                None => None,
            };
            // An invited administrator is none before they have a password.
            if user.roles.contains(Roles::ADMIN) && link.is_none() {
                tx.use_up_secret(SecretPurpose::Setup, None, now).await?;
            }
            let url = |link: &Link| link.url.as_ref().map(|url| url.expose_secret().to_owned());
            let stored = link.as_ref().map(|link| (url(link), link.expires_at));
            let created = CreatedUser { user, link: stored };
            auth.store_response(&mut tx, actor, once.as_ref(), &created, now).await?;
            let user = created.user;
            tx.record(actor.did(Event::UserCreated, now).on(user.id).with_detail(format!("roles: {}", user.roles)));
            if link.is_some() {
                tx.record(actor.did(Event::LinkCreated, now).on(user.id).to(LinkPurpose::Invitation.as_str()));
            }
            tx.commit().await?;
            Ok((user, link))
        })
        .await
    }

    fn check_new_user(&self, creator: Creator, new: &NewUser, password: Password<'_>) -> Result<(), Error> {
        let mut fields = FieldError::all(new.validate());
        // Otherwise whoever forgets the role finds out when nobody can do anything.
        if matches!(creator, Creator::Setup(..)) && !new.roles.iter().any(|role| role == Roles::ADMIN) {
            let message = "must include admin: the setup token makes the first administrator";
            fields.push(FieldError::new("roles", "admin-required", message));
        }
        let own = [Some(new.username.as_str()), new.name.as_deref(), new.email.as_deref()];
        match password {
            Password::Given(password) => fields.extend(self.check_policy("password", password, &own)),
            Password::Invite { deliver: true } if new.email.is_none() => {
                fields.push(FieldError::new("email", "required", "is missing; the invitation is sent there"));
            }
            Password::Invite { .. } => {}
        }
        if fields.is_empty() { Ok(()) } else { Err(Error::Invalid(fields)) }
    }

    /// Returns the user with this id, or [`Error::NotFound`].
    pub async fn user(&self, id: UserId) -> Result<User, Error> {
        self.store.read().await?.user(id).await?.ok_or(Error::NotFound)
    }

    /// Returns the user with this username, ignoring case, or [`Error::NotFound`].
    pub async fn user_named(&self, username: &str) -> Result<User, Error> {
        let username = fold_username(username);
        if !is_valid_username(&username) {
            return Err(Error::NotFound);
        }
        self.store.read().await?.user_named(&username).await?.ok_or(Error::NotFound)
    }

    /// Returns a page of the users that match the filter, and the cursor of the next page. With `begins_with` the order
    /// is that of the matching names, otherwise that of creation.
    pub async fn users(
        &self,
        filter: &UserFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<(Vec<User>, Option<Cursor>), Error> {
        let role = filter.role.as_deref();
        if role.is_some_and(|role| !is_valid_role(role)) {
            return Ok((Vec::new(), None));
        }
        let mut conn = self.store.read().await?;
        match filter.begins_with.as_deref().map(fold_username) {
            // PostgreSQL rejects a NUL byte, and no name contains one.
            Some(begin) if begin.contains('\0') => Ok((Vec::new(), None)),
            Some(begin) if !begin.is_empty() => {
                conn.users_beginning_with(&begin, role, filter.status, after, limit as usize).await
            }
            _ => {
                let after = after.map(|(_, id)| id);
                let mut users = conn.users(role, filter.status, after, limit.saturating_add(1)).await?;
                let more = cut_to(&mut users, limit);
                let next = users.last().filter(|_| more).map(|user| (String::new(), user.id));
                Ok((users, next))
            }
        }
    }

    /// Updates a user. Disabling revokes all sessions and tokens. Fails with [`Error::Stale`] if the user has none of
    /// the given `versions`, and with [`Error::LastAdmin`] if no active admin would remain.
    pub async fn update_user(
        &self,
        actor: Actor,
        id: UserId,
        versions: Option<Vec<Timestamp>>,
        patch: UserPatch,
    ) -> Result<User, Error> {
        let patch = UserPatch { name: patch.name.map(|name| name.map(|name| name.nfc().collect())), ..patch };
        let fields = FieldError::all(patch.validate());
        if !fields.is_empty() {
            return Err(Error::Invalid(fields));
        }
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            let admins = if patch.may_revoke_rights() { tx.lock_admins().await? } else { Vec::new() };
            let user = tx.locked_user(id, versions.as_deref()).await?;
            let changed = patch.apply(&user, now);
            if patch.may_revoke_rights() && !changed.is_active_admin() {
                ensure_admin_remains(&admins, id)?;
            }
            auth.write_change(&mut tx, actor, &user, &changed, now).await?;
            tx.commit().await?;
            Ok(changed)
        })
        .await
    }

    /// Deletes a user with all sessions and tokens. Fails with [`Error::Stale`] and [`Error::LastAdmin`] as an update
    /// does.
    pub async fn delete_user(&self, actor: Actor, id: UserId, versions: Option<Vec<Timestamp>>) -> Result<(), Error> {
        let (auth, now) = (self.clone(), self.clock.now());
        self.finish(async move {
            let mut tx = auth.write_as(actor).await?;
            let admins = tx.lock_admins().await?;
            let user = tx.locked_user(id, versions.as_deref()).await?;
            ensure_admin_remains(&admins, id)?;
            // Deleting the sessions with the user would not mark their JWTs as revoked in the status lists.
            tx.end_all_of(id, now).await?;
            tx.delete_user(id).await?;
            tx.record(actor.did(Event::UserDeleted, now).on(id).to(&user.username));
            tx.commit().await
        })
        .await
    }

    /// Returns a page of the directory, ids and display names of active users, and the cursor of the next page.
    pub async fn directory(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<(Vec<(UserId, String)>, Option<UserId>), Error> {
        let mut names = self.store.read().await?.directory(after, limit.saturating_add(1)).await?;
        let more = cut_to(&mut names, limit);
        let next = names.last().filter(|_| more).map(|(id, _)| *id);
        Ok((names, next))
    }
}

/// Returns [`Error::LastAdmin`] if `id` is the only active admin.
pub(in crate::auth) fn ensure_admin_remains(admins: &[UserId], id: UserId) -> Result<(), Error> {
    if admins == [id] { Err(Error::LastAdmin) } else { Ok(()) }
}

impl Auth {
    /// Writes the changes of a user with an audit record. Disabling revokes all sessions and tokens.
    pub(in crate::auth) async fn write_change(
        &self,
        tx: &mut Tx,
        actor: Actor,
        user: &User,
        changed: &User,
        now: Timestamp,
    ) -> Result<(), Error> {
        tx.update_user(changed).await?;
        if user.email != changed.email {
            // Whoever reads the mail of the old address is no longer meant.
            tx.end_links_of(user.id, now).await?;
            self.notify(tx, user, actor, Subject::EmailChanged, [], now).await?;
        }
        let event = match (user.status, changed.status) {
            (Status::Active, Status::Disabled) => Event::UserDisabled,
            (Status::Disabled, Status::Active) => Event::UserEnabled,
            _ => Event::UserChanged,
        };
        if event == Event::UserDisabled {
            tx.end_all_of(user.id, now).await?;
        }
        let record = actor.did(event, now).on(user.id);
        let changes = changes(user, changed);
        tx.record(if changes.is_empty() { record } else { record.with_detail(changes) });
        Ok(())
    }
}

/// What differs between two states of a user, such as `roles: +admin -editor; email`. Of names and addresses it says only
/// that they changed: the audit trail outlives the user.
fn changes(before: &User, after: &User) -> String {
    let gained = after.roles.iter().filter(|role| !before.roles.contains(role)).map(|role| format!("+{role}"));
    let lost = before.roles.iter().filter(|role| !after.roles.contains(role)).map(|role| format!("-{role}"));
    let roles: Vec<_> = gained.chain(lost).collect();
    let mut changes = Vec::new();
    if !roles.is_empty() {
        changes.push(format!("roles: {}", roles.join(" ")));
    }
    for (name, is_changed) in [
        ("name", before.name != after.name),
        ("email", before.email != after.email),
        ("must_change_password", before.must_change_password != after.must_change_password),
    ] {
        if is_changed {
            changes.push(name.to_owned());
        }
    }
    changes.join("; ")
}
