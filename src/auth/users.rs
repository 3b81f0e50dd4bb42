//! Users: made and listed.
//!
//! Rule: every field keeps its rule before anything is hashed, and the hash is made before the transaction begins.
//! Threats: names that look like another's or break a header, and a write lock held for the length of a hash.

use secrecy::SecretString;
use unicode_normalization::UnicodeNormalization;
use validator::Validate;

use super::{Auth, random};
use crate::{
    error::{Error, FieldError},
    model::{NewUser, Roles, Status, TokenHash, User, UserId, fold_username},
};

/// On whose word a user is made.
#[derive(Clone, Copy, Debug)]
pub enum Creator {
    /// Someone with the scope `admin`.
    Admin,
    /// Whoever holds the setup token.
    Setup(TokenHash),
    /// The operator, by a setting.
    Operator,
}

impl Auth {
    /// Adds a user. [`Error::Invalid`] names every field that will not do; [`Error::UsernameTaken`].
    pub async fn create_user(&self, creator: Creator, new: NewUser, password: &SecretString) -> Result<User, Error> {
        let new =
            NewUser { username: fold_username(&new.username), name: new.name.map(|name| name.nfc().collect()), ..new };
        self.check_new_user(&new, password)?;
        let hash = self.hash_password(password).await?;
        let now = self.clock.now();
        let user = User {
            id: UserId::new(now, random()),
            username: new.username,
            name: new.name,
            email: new.email,
            roles: new.roles.into_iter().collect(),
            status: Status::Active,
            must_change_password: false,
            created_at: now,
            updated_at: now,
            last_login_at: None,
        };
        let auth = self.clone();
        self.finish(async move {
            let mut tx = auth.store.write().await?;
            if let Creator::Setup(token) = creator {
                tx.use_setup_token(token, now).await?;
            }
            tx.insert_user(&user, &hash).await?;
            if user.roles.contains(Roles::ADMIN) {
                tx.delete_setup_token().await?;
            }
            tx.commit().await?;
            Ok(user)
        })
        .await
    }

    fn check_new_user(&self, new: &NewUser, password: &SecretString) -> Result<(), Error> {
        let mut fields = FieldError::all(new.validate());
        fields.extend(self.password_rule(password));
        if fields.is_empty() { Ok(()) } else { Err(Error::Invalid(fields)) }
    }

    /// The user with this id.
    pub async fn user(&self, id: UserId) -> Result<User, Error> {
        self.store.read().await?.user(id).await?.ok_or(Error::NotFound)
    }

    /// A page of all users, and the cursor of the next one.
    pub async fn users(&self, after: Option<UserId>, limit: u32) -> Result<(Vec<User>, Option<UserId>), Error> {
        let mut users = self.store.read().await?.users(after, limit.saturating_add(1)).await?;
        let more = cut_to(&mut users, limit);
        let next = users.last().filter(|_| more).map(|user| user.id);
        Ok((users, next))
    }

    /// A page of the directory, ids and display names of active users, and the cursor of the next one.
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

/// Cuts the row too many that was asked for to learn whether there are more. Tells whether there are.
fn cut_to<T>(rows: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    more
}
