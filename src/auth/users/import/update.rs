//! Rows of an import whose user exists.

use crate::auth::Actor;
use crate::auth::passwords::formats;
use crate::auth::users::import::Outcome;
use crate::auth::users::{ensure_admin_remains, write_change};
use crate::error::{Error, FieldError};
use crate::model::{Event, SecretPurpose, Timestamp, User, UserId, UserPatch, UserRecord};
use crate::store::Tx;

/// Updates a user with the fields of a row, with the consequences that such a change has elsewhere. `admins` are the
/// active admins, whose rows are locked.
pub async fn update_from(
    tx: &mut Tx,
    actor: Actor,
    record: &UserRecord,
    admins: &mut Vec<UserId>,
    now: Timestamp,
) -> Result<(Outcome, Vec<FieldError>), Error> {
    let failed = |field, code, message| Ok((Outcome::Failed, vec![FieldError::new(field, code, message)]));
    let Some(user) = tx.user_named(&record.username).await? else {
        if record.password_hash.is_none() {
            return failed("password_hash", "required", "is missing");
        }
        // A dry run has not created the user of an earlier row.
        return Ok((Outcome::Updated, Vec::new()));
    };
    let user = tx.locked_user(user.id, None).await?;
    if record.id.is_some_and(|id| id != user.id) {
        return failed("id", "not-allowed", "is not the id of the user with this username");
    }
    let patch = UserPatch {
        name: record.name.clone().map(Some),
        email: record.email.clone().map(Some),
        roles: record.roles.clone(),
        status: record.status,
    };
    let changed = patch.apply(&user, now);
    if !changed.is_active_admin() && ensure_admin_remains(admins, user.id).is_err() {
        return failed("roles", "last-admin", "would leave no active admin");
    }
    let profile = update_profile(tx, actor, &user, &changed, now).await?;
    let password = update_password(tx, actor, record, &user, &changed, now).await?;
    admins.retain(|admin| *admin != user.id);
    if changed.is_active_admin() {
        admins.push(user.id);
        tx.use_up_secret(SecretPurpose::Setup, None, now).await?;
    }
    Ok((if profile || password { Outcome::Updated } else { Outcome::Unchanged }, Vec::new()))
}

/// Updates name, e-mail address, roles and status. Returns whether any of them changed.
async fn update_profile(tx: &mut Tx, actor: Actor, user: &User, changed: &User, now: Timestamp) -> Result<bool, Error> {
    let profile = |user: &User| (user.name.clone(), user.email.clone(), user.roles.clone(), user.status);
    if profile(user) == profile(changed) {
        return Ok(false);
    }
    write_change(tx, actor, user, changed, now).await?;
    Ok(true)
}

/// Updates the password hash and `must_change_password`. Returns whether either changed.
async fn update_password(
    tx: &mut Tx,
    actor: Actor,
    record: &UserRecord,
    user: &User,
    changed: &User,
    now: Timestamp,
) -> Result<bool, Error> {
    let must_change = record.must_change_password.unwrap_or(user.must_change_password);
    match &record.password_hash {
        Some(hash) if !tx.has_password_hash(user.id, hash).await? => {
            tx.set_password(user.id, &formats::with_scheme(hash.clone()), must_change, changed.updated_at).await?;
            tx.end_all_of(user.id, now).await?;
            tx.record(actor.did(Event::PasswordSet, now).on(user.id));
            Ok(true)
        }
        _ if must_change != user.must_change_password => {
            tx.set_must_change_password(user.id, must_change, changed.updated_at).await?;
            tx.record(actor.did(Event::UserChanged, now).on(user.id));
            Ok(true)
        }
        _ => Ok(false),
    }
}
