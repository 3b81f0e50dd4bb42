//! The columns of `users`, written once: how they are read, and how they are written.
//!
//! A new column of a user is added here, in the migrations, in [`User`] and in the view that shows it.

use serde::Serialize;

use crate::{
    error::Error,
    model::{HashedPassword, Status, User, UserId, search_key},
    store::{
        Tx,
        invalidation::Invalidate,
        query::{execute, on_each_store},
    },
};

/// Reads every column of a user but the hash: `select_users!(fetch_all(conn), |row| user!(row), "SELECT" + "FROM users …",
/// args…)`. Other columns end the first text, as in `"SELECT session_id,"`. The columns of a user have no table's name before
/// them, so a table that is joined to `users` must not have columns of the same names.
macro_rules! select_users {
    ($fetch:ident($($on:expr),+), |$row:ident| $make:expr, $before:tt $(+ $after:tt)* $(, $arg:expr)* $(,)?) => {
        $crate::store::query::$fetch!(
            $($on),+,
            |$row| $make,
            $before + r#" id AS "id!: crate::model::UserId", username AS "username!", name, email, roles AS "roles!",
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
            roles: $crate::model::Roles::from($row.roles),
            status: $row.status,
            must_change_password: $row.must_change_password,
            created_at: $row.created_at,
            updated_at: $row.updated_at,
            last_login_at: $row.last_login_at,
        }
    };
}
pub(in crate::store) use {select_users, user};

/// A new user as JSON, by the names of the columns. `name_key` and `email_key` are what searches compare with.
#[derive(Serialize)]
struct JsonRow<'a> {
    id: String,
    username: &'a str,
    name: Option<&'a str>,
    email: Option<&'a str>,
    roles: String,
    status: Status,
    password_hash: &'a str,
    password_scheme: &'a str,
    must_change_password: bool,
    created_at: i64,
    updated_at: i64,
    last_login_at: Option<i64>,
    name_key: Option<String>,
    email_key: Option<String>,
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
        let rows = users.iter().map(|(user, password)| JsonRow {
            id: user.id.0.simple().to_string(),
            username: &user.username,
            name: user.name.as_deref(),
            email: user.email.as_deref(),
            roles: user.roles.to_string(),
            status: user.status,
            password_hash: &password.hash.0,
            password_scheme: &password.scheme,
            must_change_password: user.must_change_password,
            created_at: user.created_at.0,
            updated_at: user.updated_at.0,
            last_login_at: user.last_login_at.map(|at| at.0),
            name_key: user.name.as_deref().map(search_key),
            email_key: user.email.as_deref().map(search_key),
        });
        let json = serde_json::to_string(&rows.collect::<Vec<_>>());
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
                SELECT unhex(value ->> 'id'), value ->> 'username', value ->> 'name', value ->> 'email', value ->> 'roles',
                value ->> 'status', value ->> 'password_hash', value ->> 'password_scheme',
                value ->> 'must_change_password', value ->> 'created_at', value ->> 'updated_at', value ->> 'last_login_at', value ->> 'name_key', value ->> 'email_key'
                FROM jsonb_each($1) WHERE TRUE ON CONFLICT DO NOTHING",
                users.json
            )
            .execute(driver)
            .await?
            .rows_affected(),
            postgres: |driver| sqlx::query!(
                "/* postgres */ INSERT INTO users (id, username, name, email, roles, status, password_hash,
                password_scheme, must_change_password, created_at, updated_at, last_login_at, name_key, email_key)
                SELECT id, username, name, email, roles, status, password_hash, password_scheme, must_change_password,
                created_at, updated_at, last_login_at, name_key, email_key
                FROM json_to_recordset(CAST(CAST($1 AS TEXT) AS JSON)) AS row (id UUID, username TEXT, name TEXT,
                email TEXT, roles TEXT, status TEXT, password_hash TEXT, password_scheme TEXT,
                must_change_password BOOLEAN,
                created_at BIGINT, updated_at BIGINT, last_login_at BIGINT, name_key TEXT, email_key TEXT)
                ON CONFLICT DO NOTHING",
                users.json
            )
            .execute(driver)
            .await?
            .rows_affected(),
        );
        Ok(inserted)
    }

    /// Writes what an administrator or the user may change of a user.
    pub async fn update_user(&mut self, user: &User) -> Result<(), Error> {
        let (roles, status) = (user.roles.to_string(), user.status.as_str());
        let (name_key, email_key) = (user.name.as_deref().map(search_key), user.email.as_deref().map(search_key));
        execute!(
            self,
            Invalidate::CredentialsOf(user.id.0),
            "UPDATE users SET name = $1, name_key = $2, email = $3, email_key = $4, roles = $5, status = $6,
            updated_at = $7 WHERE id = $8",
            user.name,
            name_key,
            user.email,
            email_key,
            roles,
            status,
            user.updated_at as _,
            user.id as _,
        )?;
        Ok(())
    }
}
