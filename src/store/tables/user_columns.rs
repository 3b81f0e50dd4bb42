//! The columns of `users`, written once: how they are read, and how they are written.
//!
//! A new column of a user is added here, in the migrations, in [`User`] and in the view that shows it.

use serde::Serialize;

use crate::error::Error;
use crate::model::{HashedPassword, Status, User, UserId, fold_username};
use crate::store::Tx;
use crate::store::invalidation::Invalidate;
use crate::store::query::{execute, in_time, on_each_store};

/// Reads every column of a user but the hash: `select_users!(fetch_all(conn), |row| user!(row), "SELECT" + "FROM users …",
/// args…)`. Other columns end the first text, as in `"SELECT session_id,"`. The columns of a user have no table's name before
/// them, so a table that is joined to `users` must not have columns of the same names.
macro_rules! select_users {
    ($fetch:ident($($on:expr),+), |$row:ident| $make:expr, $before:tt $(+ $after:tt)* $(, $arg:expr)* $(,)?) => {
        $crate::store::query::$fetch!(
            $($on),+,
            |$row| $make,
            $before + r#" id AS "id!: crate::model::UserId", username AS "username!", name, email, email_verified AS "email_verified!: bool", roles AS "roles!",
            status AS "status!: crate::model::Status", must_change_password AS "must_change_password!: bool",
            created_at AS "created_at!: crate::model::Timestamp", updated_at AS "updated_at!: crate::model::Timestamp",
            last_login_at AS "last_login_at: crate::model::Timestamp" "# $(+ $after)*
            $(, $arg)*
        )
    };
}

/// The user in a row of [`select_users!`].
macro_rules! user {
    ($row:ident) => {
        $crate::model::User {
            id: $row.id,
            username: $row.username,
            name: $row.name,
            email: $row.email,
            email_verified: $row.email_verified,
            roles: $crate::model::Roles::from($row.roles),
            status: $row.status,
            must_change_password: $row.must_change_password,
            created_at: $row.created_at,
            updated_at: $row.updated_at,
            last_login_at: $row.last_login_at,
        }
    };
}
pub(in crate::store) use select_users;
pub(in crate::store) use user;

/// A new user as a JSON array, in the order of the columns in [`Tx::insert_packed`]. The last two are what searches compare.
#[derive(Serialize)]
struct JsonRow<'a>(
    String,
    &'a str,
    Option<&'a str>,
    Option<&'a str>,
    String,
    Status,
    &'a str,
    &'a str,
    bool,
    i64,
    i64,
    Option<i64>,
    Option<String>,
    Option<String>,
);

impl<'a> JsonRow<'a> {
    fn new(user: &'a User, password: &'a HashedPassword) -> Self {
        Self(
            user.id.0.simple().to_string(),
            &user.username,
            user.name.as_deref(),
            user.email.as_deref(),
            user.roles.to_string(),
            user.status,
            &password.hash.0,
            &password.scheme,
            user.must_change_password,
            user.created_at.0,
            user.updated_at.0,
            user.last_login_at.map(|at| at.0),
            user.name.as_deref().map(fold_username),
            user.email.as_deref().map(fold_username),
        )
    }
}

/// New users, in the form in which a store takes many of them in one statement. That is some ten times as fast as a statement
/// for each user.
pub struct PackedUsers {
    pub(in crate::store) ids: Vec<UserId>,
    json: String,
}

impl PackedUsers {
    /// Packs users, which takes time and needs no connection.
    pub fn new(users: &[(User, HashedPassword)]) -> Result<Self, Error> {
        let rows: Vec<_> = users.iter().map(|(user, password)| JsonRow::new(user, password)).collect();
        let json = serde_json::to_string(&rows);
        let json = json.map_err(|error| Error::Internal(error.into()))?;
        Ok(Self { ids: users.iter().map(|(user, _)| user.id).collect(), json })
    }
}

impl Tx {
    /// Adds users, except those whose username or id is taken. Returns how many were added.
    pub(in crate::store) async fn insert_packed(&mut self, users: &PackedUsers) -> Result<u64, Error> {
        // A new user has no credentials that could be cached.
        self.invalidate(Invalidate::Nothing);
        let inserted = on_each_store!(
            self,
            sqlite: |driver| sqlx::query!(
                "/* sqlite */ INSERT INTO users (id, username, name, email, roles, status, password_hash,
                password_scheme, must_change_password, created_at, updated_at, last_login_at, name_key, email_key)
                SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13
                FROM jsonb_each($1) WHERE TRUE ON CONFLICT DO NOTHING",
                users.json
            )
            .execute(driver)
            .await?
            .rows_affected(),
            postgres: |driver| in_time(
                sqlx::query!(
                    "/* postgres */ INSERT INTO users (id, username, name, email, roles, status, password_hash,
                    password_scheme, must_change_password, created_at, updated_at, last_login_at, name_key, email_key)
                    SELECT CAST(value ->> 0 AS UUID), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
                    value ->> 6, value ->> 7, CAST(value ->> 8 AS BOOLEAN), CAST(value ->> 9 AS BIGINT),
                    CAST(value ->> 10 AS BIGINT), CAST(value ->> 11 AS BIGINT), value ->> 12, value ->> 13
                    FROM JSONB_ARRAY_ELEMENTS(CAST(CAST($1 AS TEXT) AS JSONB)) ON CONFLICT DO NOTHING",
                    users.json
                )
                .execute(driver),
            )
            .await?
            .rows_affected(),
        );
        Ok(inserted)
    }

    /// Writes all that can change of a user but the password and the last login.
    pub async fn update_user(&mut self, user: &User) -> Result<(), Error> {
        let (roles, status) = (user.roles.to_string(), user.status.as_str());
        let (name_key, email_key) = (user.name.as_deref().map(fold_username), user.email.as_deref().map(fold_username));
        execute!(
            self,
            Invalidate::CredentialsOf(user.id.0),
            "UPDATE users SET name = $1, name_key = $2, email = $3, email_key = $4, email_verified = $5, roles = $6,
            status = $7, must_change_password = $8, updated_at = $9 WHERE id = $10",
            user.name,
            name_key,
            user.email,
            email_key,
            user.email_verified,
            roles,
            status,
            user.must_change_password,
            user.updated_at as _,
            user.id as _,
        )?;
        Ok(())
    }
}
