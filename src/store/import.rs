//! `users` by the thousand, for imports and exports. One statement takes a whole batch, which each store is handed in a form
//! of its own: SQLite reads JSON, PostgreSQL arrays. That is some ten times as fast as a statement a user.

use std::collections::{HashMap, HashSet};

use super::{
    Conn, Pools, Store, Tx, fetch_all,
    users::{user_of, user_row},
};
use crate::{
    error::Error,
    model::{PasswordHash, Status, Timestamp, User, UserId, search_key},
};

user_row! {
    struct WholeRow {
        password_hash: PasswordHash,
    }
}

impl From<WholeRow> for (User, PasswordHash) {
    fn from(row: WholeRow) -> Self {
        (user_of!(row), row.password_hash)
    }
}

impl Conn {
    /// Users and their hashes in the order of their ids, from the one after `after`.
    pub async fn users_with_hashes(&mut self, after: UserId, limit: u32) -> Result<Vec<(User, PasswordHash)>, Error> {
        let limit = i64::from(limit);
        let rows = fetch_all!(
            self,
            WholeRow,
            r#"SELECT id AS "id!: UserId", username AS "username!", name, email, roles AS "roles!",
            status AS "status!: Status", must_change_password AS "must_change_password!: bool",
            password_hash AS "password_hash!: PasswordHash", created_at AS "created_at!: Timestamp",
            updated_at AS "updated_at!: Timestamp", last_login_at AS "last_login_at: Timestamp" FROM users
            WHERE id > $1 ORDER BY id LIMIT $2"#,
            after as _,
            limit,
        )?;
        Ok(rows.into_iter().map(Into::into).collect())
    }
}

impl Tx {
    /// Makes room for many rows, until [`Tx::end_bulk`]: with SQLite, pages are kept and the log grows to half a gigabyte
    /// before it is written back, since rows in no order touch every page of an index again and again.
    pub async fn begin_bulk(&mut self) -> Result<(), Error> {
        let room = "PRAGMA cache_size = -131072; PRAGMA wal_autocheckpoint = 131072; PRAGMA journal_size_limit = -1";
        self.pragma(room).await
    }

    /// Gives back most of the memory of the pages, which are read again when they are needed: else it would grow with the
    /// file.
    pub async fn forget_pages(&mut self) -> Result<(), Error> {
        self.pragma("PRAGMA cache_size = -32768").await
    }

    /// Writes the log back with the next commit, and from then on as it is done otherwise.
    pub async fn end_bulk(&mut self) -> Result<(), Error> {
        let usual = "PRAGMA cache_size = -2000; PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 67108864";
        self.pragma(usual).await
    }

    /// Tells SQLite something about this connection; PostgreSQL needs none of it.
    #[cfg_attr(not(feature = "sqlite"), expect(unused_variables))]
    async fn pragma(&mut self, text: &'static str) -> Result<(), Error> {
        match &mut **self {
            #[cfg(feature = "sqlite")]
            Conn::Sqlite(conn) => sqlx::Executor::execute(&mut **conn, sqlx::raw_sql(text)).await.map(drop)?,
            #[cfg(feature = "postgres")]
            Conn::Postgres(_) => {}
        }
        Ok(())
    }

    /// Who of those with these ids is there, and their usernames.
    pub async fn owners_of(&mut self, ids: &[UserId]) -> Result<HashMap<UserId, String>, Error> {
        struct Owner {
            id: UserId,
            username: String,
        }
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let owners = match &mut **self {
            #[cfg(feature = "sqlite")]
            Conn::Sqlite(conn) => {
                let ids = json(&ids.iter().map(|id| id.0.simple().to_string()).collect::<Vec<_>>())?;
                sqlx::query_as!(
                    Owner,
                    r#"/* sqlite */ SELECT id AS "id!: UserId", username FROM users
                    WHERE id IN (SELECT unhex(value) FROM json_each($1))"#,
                    ids
                )
                .fetch_all(&mut **conn)
                .await?
            }
            #[cfg(feature = "postgres")]
            Conn::Postgres(conn) => {
                let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.0).collect();
                sqlx::query_as!(
                    Owner,
                    r#"/* postgres */ SELECT id AS "id!: UserId", username FROM users WHERE id = ANY($1)"#,
                    &ids
                )
                .fetch_all(&mut **conn)
                .await?
            }
        };
        Ok(owners.into_iter().map(|owner| (owner.id, owner.username)).collect())
    }

    /// Adds users, but those whose username or id somebody has.
    pub async fn insert_users(&mut self, users: &PackedUsers) -> Result<Made, Error> {
        let inserted = match (&mut **self, &users.rows) {
            #[cfg(feature = "sqlite")]
            (Conn::Sqlite(conn), PackedRows::Sqlite(rows)) => sqlx::query!(
                "/* sqlite */ INSERT INTO users (id, username, name, email, roles, status, password_hash,
                    must_change_password, created_at, updated_at, last_login_at, name_key, email_key)
                    SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5,
                    value ->> 6, value ->> 7, value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12
                    FROM jsonb_each($1) WHERE TRUE ON CONFLICT DO NOTHING",
                rows
            )
            .execute(&mut **conn)
            .await?
            .rows_affected(),
            #[cfg(feature = "postgres")]
            (Conn::Postgres(conn), PackedRows::Postgres(rows)) => insert_into_postgres(conn, rows).await?,
            #[cfg(all(feature = "sqlite", feature = "postgres"))]
            _ => return Err(Error::Internal("users were packed for another database".into())),
        };
        let inserted = usize::try_from(inserted).map_err(|error| Error::Internal(error.into()))?;
        Ok(if inserted == users.ids.len() {
            Made::All
        } else {
            Made::Some(self.owners_of(&users.ids).await?.into_keys().collect())
        })
    }
}

/// Which users an insert has made.
#[derive(Debug)]
pub enum Made {
    /// Each of them.
    All,
    /// These, and perhaps those who had their id before.
    Some(HashSet<UserId>),
}

impl Made {
    pub fn contains(&self, id: &UserId) -> bool {
        match self {
            Self::All => true,
            Self::Some(ids) => ids.contains(id),
        }
    }
}

/// Users in the form in which a store takes them all at once.
pub struct PackedUsers {
    ids: Vec<UserId>,
    rows: PackedRows,
}

enum PackedRows {
    #[cfg(feature = "sqlite")]
    Sqlite(String),
    #[cfg(feature = "postgres")]
    Postgres(Vec<(User, PasswordHash)>),
}

impl Store {
    /// Makes users ready to be added.
    pub fn pack_users(&self, users: &[(User, PasswordHash)]) -> Result<PackedUsers, Error> {
        let ids = users.iter().map(|(user, _)| user.id).collect();
        let rows = match &self.pools {
            #[cfg(feature = "sqlite")]
            Pools::Sqlite { .. } => {
                PackedRows::Sqlite(json(&users.iter().map(|(user, hash)| Fields::of(user, hash)).collect::<Vec<_>>())?)
            }
            #[cfg(feature = "postgres")]
            Pools::Postgres { .. } => PackedRows::Postgres(users.to_vec()),
        };
        Ok(PackedUsers { ids, rows })
    }
}

#[cfg(feature = "sqlite")]
fn json(values: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(values).map_err(|error| Error::Internal(error.into()))
}

/// A user as an array, in the order of the columns.
#[cfg(feature = "sqlite")]
#[derive(serde::Serialize)]
struct Fields<'a>(
    String,
    &'a str,
    Option<&'a str>,
    Option<&'a str>,
    String,
    &'a str,
    &'a str,
    bool,
    i64,
    i64,
    Option<i64>,
    Option<String>,
    Option<String>,
);

#[cfg(feature = "sqlite")]
impl<'a> Fields<'a> {
    fn of(user: &'a User, hash: &'a PasswordHash) -> Self {
        Self(
            user.id.0.simple().to_string(),
            &user.username,
            user.name.as_deref(),
            user.email.as_deref(),
            user.roles.to_string(),
            user.status.as_str(),
            &hash.0,
            user.must_change_password,
            user.created_at.0,
            user.updated_at.0,
            user.last_login_at.map(|at| at.0),
            user.name.as_deref().map(search_key),
            user.email.as_deref().map(search_key),
        )
    }
}

#[cfg(feature = "postgres")]
async fn insert_into_postgres(
    conn: &mut sqlx::PgConnection,
    users: &[(User, PasswordHash)],
) -> Result<u64, sqlx::Error> {
    fn column<T>(users: &[(User, PasswordHash)], field: impl Fn(&User) -> T) -> Vec<T> {
        users.iter().map(|(user, _)| field(user)).collect()
    }
    let hashes: Vec<String> = users.iter().map(|(_, hash)| hash.0.clone()).collect();
    let done = sqlx::query!(
        "/* postgres */ INSERT INTO users (id, username, name, email, roles, status, password_hash, must_change_password,
        created_at, updated_at, last_login_at, name_key, email_key)
        SELECT * FROM UNNEST($1::UUID[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT[],
        $8::BOOLEAN[], $9::BIGINT[], $10::BIGINT[], $11::BIGINT[], $12::TEXT[], $13::TEXT[]) ON CONFLICT DO NOTHING",
        &column(users, |user| user.id.0),
        &column(users, |user| user.username.clone()),
        &column(users, |user| user.name.clone()) as _,
        &column(users, |user| user.email.clone()) as _,
        &column(users, |user| user.roles.to_string()),
        &column(users, |user| user.status.as_str().to_owned()),
        &hashes,
        &column(users, |user| user.must_change_password),
        &column(users, |user| user.created_at.0),
        &column(users, |user| user.updated_at.0),
        &column(users, |user| user.last_login_at.map(|at| at.0)) as _,
        &column(users, |user| user.name.as_deref().map(search_key)) as _,
        &column(users, |user| user.email.as_deref().map(search_key)) as _,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
