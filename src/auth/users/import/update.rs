//! Rows of an import whose user exists.

use crate::auth::Auth;
use crate::auth::passwords::formats;
use crate::auth::users::ensure_admin_remains;
use crate::auth::users::import::{Import, Invite, Outcome};
use crate::error::{Error, FieldError};
use crate::model::{Event, PasswordHash, SecretPurpose, Timestamp, User, UserId, UserPatch, UserRecord, fold_username};
use crate::store::Tx;

/// Updates a user with the fields of a row, with the consequences that such a change has elsewhere. `admins` are the
/// active admins, whose rows are locked.
pub async fn update_from(
    auth: &Auth,
    tx: &mut Tx,
    Import { actor, invite, .. }: Import,
    record: &UserRecord,
    admins: &mut Vec<UserId>,
    now: Timestamp,
) -> Result<(Outcome, Vec<FieldError>), Error> {
    let failed = |field, code, message| Ok((Outcome::Failed, vec![FieldError::new(field, code, message)]));
    let Some(user) = tx.user_named(&record.username).await? else {
        if record.password_hash.is_none() && invite == Invite::Nobody {
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
    let must_change_password = record.must_change_password.unwrap_or(user.must_change_password);
    let mut changed = User { must_change_password, ..patch.apply(&user, now) };
    if let (Some(is_verified), Some(email)) = (record.email_verified, &changed.email) {
        changed.email_verified = is_verified && !tx.is_email_taken(&fold_username(email), user.id).await?;
    }
    if !changed.is_active_admin() && ensure_admin_remains(admins, user.id).is_err() {
        return failed("roles", "last-admin", "would leave no active admin");
    }
    let hash = match &record.password_hash {
        // A row without a password takes none away.
        Some(hash) if !hash.is_none() && !tx.has_password_hash(user.id, hash).await? => {
            Some(formats::with_scheme(hash.clone()))
        }
        _ => None,
    };
    let fields =
        |user: &User| (user.name.clone(), user.email.clone(), user.email_verified, user.roles.clone(), user.status);
    let must_change_alone = hash.is_none() && must_change_password != user.must_change_password;
    let is_changed = fields(&user) != fields(&changed) || must_change_alone;
    if is_changed {
        auth.write_change(tx, actor, &user, &changed, now).await?;
    }
    if let Some(hash) = &hash {
        tx.set_password(user.id, hash, must_change_password, changed.updated_at).await?;
        tx.end_all_of(user.id, now).await?;
        tx.record(actor.did(Event::PasswordSet, now).on(user.id));
    }
    admins.retain(|admin| *admin != user.id);
    if changed.is_active_admin() && (hash.is_some() || !tx.has_password_hash(user.id, &PasswordHash::none()).await?) {
        admins.push(user.id);
        tx.use_up_secret(SecretPurpose::Setup, None, now).await?;
    }
    Ok((if is_changed || hash.is_some() { Outcome::Updated } else { Outcome::Unchanged }, Vec::new()))
}
