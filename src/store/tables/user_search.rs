//! Lists of users: by role and status, by prefix of their names, and the directory that every user may read.

use crate::error::Error;
use crate::model::{Roles, Status, User, UserId, fold_username};
use crate::store::query::fetch_all;
use crate::store::tables::user_columns::{select_users, user};
use crate::store::{Conn, Connection};

/// The most queries of one search: a query can return only users that were found before.
const MAX_QUERIES: usize = 5;

/// A user and the key that matched: their username, or the search key of their name or e-mail.
struct Match {
    key: String,
    user: User,
}

impl Match {
    /// Whether this is the first of the user's keys with this prefix. A user is listed by that one only.
    fn is_first(&self, prefix: &str) -> bool {
        let [name, email] = [&self.user.name, &self.user.email].map(|text| text.as_deref().map(fold_username));
        let others = [Some(&self.user.username), name.as_ref(), email.as_ref()];
        others.into_iter().flatten().all(|other| !other.starts_with(prefix) || *other >= self.key)
    }
}

/// The LIKE pattern for users with this role, or for all. A role's name has no `%`, but it may have `_`, a wildcard.
fn role_pattern(role: Option<&str>) -> String {
    role.map_or("%".to_owned(), |role| format!("% {} %", role.replace('_', "\\_")))
}

impl<C: Connection> Conn<C> {
    /// Users with this role and status, if given, in order of creation, after the user `after`.
    pub async fn users(
        &mut self,
        role: Option<&str>,
        status: Option<Status>,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<User>, Error> {
        let (after, limit) = (after.unwrap_or_default(), i64::from(limit));
        let (status, pattern) = (status.map_or("", Status::as_str), role_pattern(role));
        // Nearly all users are active with the role `user`, so a scan finds them soon. Partial indexes have the rest.
        Ok(match (role, status) {
            (_, "disabled") => select_users!(
                fetch_all(self),
                |row| user!(row),
                "SELECT"
                    + r"FROM users
                WHERE status = 'disabled' AND ' ' || roles || ' ' LIKE $1 ESCAPE '\' AND id > $2 ORDER BY id LIMIT $3",
                pattern,
                after as _,
                limit
            )?,
            (Some(role), _) if role != Roles::DEFAULT => select_users!(
                fetch_all(self),
                |row| user!(row),
                "SELECT"
                    + r"FROM users
                WHERE roles <> 'user' AND ' ' || roles || ' ' LIKE $1 ESCAPE '\' AND ($2 = '' OR status = $2) AND id > $3
                ORDER BY id LIMIT $4",
                pattern,
                status,
                after as _,
                limit
            )?,
            _ => select_users!(
                fetch_all(self),
                |row| user!(row),
                "SELECT"
                    + r"FROM users
                WHERE ' ' || roles || ' ' LIKE $1 ESCAPE '\' AND ($2 = '' OR status = $2) AND id > $3 ORDER BY id LIMIT $4",
                pattern,
                status,
                after as _,
                limit
            )?,
        })
    }

    /// Users whose username, name or e-mail begins with `prefix`, in order of the matching key, after the cursor
    /// `after`: the key and id of the last match. A user with several matches is listed once, by the first. Also
    /// returns the next cursor if there may be more. A page with many repeated matches may be shorter than `limit`.
    pub async fn users_beginning_with(
        &mut self,
        prefix: &str,
        role: Option<&str>,
        status: Option<Status>,
        after: Option<(String, UserId)>,
        limit: usize,
    ) -> Result<(Vec<User>, Option<(String, UserId)>), Error> {
        let (mut users, mut seen) = (Vec::new(), after.unwrap_or((prefix.to_owned(), UserId::default())));
        let mut last = None;
        for _ in 0..MAX_QUERIES {
            // Most users match twice: by their username, and by an e-mail address that begins with it.
            let wanted = limit.saturating_mul(2).saturating_add(2);
            let rows = self.matches(prefix, role, status, &seen, wanted).await?;
            let is_last_page = rows.len() < wanted;
            for row in rows {
                let cursor = (row.key.clone(), row.user.id);
                // A user with two equal keys comes twice in a row.
                let is_next = row.is_first(prefix) && cursor != seen;
                if is_next && users.len() == limit {
                    return Ok((users, last));
                }
                if is_next {
                    users.push(row.user);
                    last = Some(cursor.clone());
                }
                seen = cursor;
            }
            if is_last_page {
                return Ok((users, None));
            }
        }
        Ok((users, Some(seen)))
    }

    /// The keys that begin with `prefix`, in order, after this cursor.
    async fn matches(
        &mut self,
        prefix: &str,
        role: Option<&str>,
        status: Option<Status>,
        (key, id): &(String, UserId),
        limit: usize,
    ) -> Result<Vec<Match>, Error> {
        // Text is compared by bytes, so no text with this prefix sorts after the prefix with the last code point.
        let end = format!("{prefix}\u{10ffff}");
        let (status, pattern) = (status.map_or("", Status::as_str), role_pattern(role));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(select_users!(
            fetch_all(self),
            |row| Match { key: row.found_by, user: user!(row) },
            r#"SELECT found_by AS "found_by!","#
                + r#"FROM (
                SELECT * FROM (SELECT username AS found_by, users.* FROM users
                    WHERE username >= $1 AND username < $2 AND (username, id) > ($1, $3)
                    AND ' ' || roles || ' ' LIKE $4 ESCAPE '\' AND ($5 = '' OR status = $5) ORDER BY username, id LIMIT $6) AS a
                UNION ALL
                SELECT * FROM (SELECT name_key AS found_by, users.* FROM users
                    WHERE name_key >= $1 AND name_key < $2 AND (name_key, id) > ($1, $3)
                    AND ' ' || roles || ' ' LIKE $4 ESCAPE '\' AND ($5 = '' OR status = $5) ORDER BY name_key, id LIMIT $6) AS b
                UNION ALL
                SELECT * FROM (SELECT email_key AS found_by, users.* FROM users
                    WHERE email_key >= $1 AND email_key < $2 AND (email_key, id) > ($1, $3)
                    AND ' ' || roles || ' ' LIKE $4 ESCAPE '\' AND ($5 = '' OR status = $5) ORDER BY email_key, id LIMIT $6) AS c
            ) AS found ORDER BY found_by, id LIMIT $6"#,
            key,
            end,
            id as _,
            pattern,
            status,
            limit,
        )?)
    }

    /// Ids and display names of active users in order of creation, after the user `after`.
    pub async fn directory(&mut self, after: Option<UserId>, limit: u32) -> Result<Vec<(UserId, String)>, Error> {
        let (after, limit) = (after.unwrap_or_default(), i64::from(limit));
        Ok(fetch_all!(
            self,
            |row| (row.id, row.name),
            r#"SELECT id AS "id!: UserId", COALESCE(name, username) AS "name!" FROM users
            WHERE id > $1 AND status = 'active' ORDER BY id LIMIT $2"#,
            after as _,
            limit,
        )?)
    }
}
