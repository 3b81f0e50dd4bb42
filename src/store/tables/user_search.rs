//! Lists of users: by role and status, by what their names begin with, and the directory that every user may read.

use crate::{
    error::Error,
    model::{Roles, Status, User, UserId, search_key},
    store::{
        Conn, Connection,
        query::fetch_all,
        tables::user_columns::{select_users, user},
    },
};

/// How often a search asks for more when all it found had been found before.
const MOST_LOOKS: usize = 5;

/// A user, and the key by which the search found them: their username, or the search key of their name or e-mail.
struct Found {
    key: String,
    user: User,
}

impl Found {
    /// Whether no other key of the same user that begins so comes before this one.
    fn is_first(&self, begin: &str) -> bool {
        let [name, email] = [&self.user.name, &self.user.email].map(|text| text.as_deref().map(search_key));
        let others = [Some(&self.user.username), name.as_ref(), email.as_ref()];
        others.into_iter().flatten().all(|other| !other.starts_with(begin) || *other >= self.key)
    }
}

/// What matches the roles of whoever has this one, or of everyone. A role's name has no `%`, but `_` is a letter in it.
fn role_pattern(role: Option<&str>) -> String {
    role.map_or("%".to_owned(), |role| format!("% {} %", role.replace('_', "\\_")))
}

impl<C: Connection> Conn<C> {
    /// Users with this role and status, if those are given, in the order they were made, from the one after `after`.
    pub async fn users(
        &mut self,
        role: Option<&str>,
        status: Option<Status>,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<User>, Error> {
        let (after, limit) = (after.unwrap_or_default(), i64::from(limit));
        let (status, pattern) = (status.map_or("", Status::as_str), role_pattern(role));
        // Nearly everyone is an active `user` and found on the way; who is something else has an index.
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

    /// Users whose username, name or e-mail begins with this, in the order of what does, from after `after`: the key and
    /// the id of the last one seen. Someone who is found by more than one comes once, by the first. Also gives where to go on,
    /// if there may be more: where very many were found before by something else, that may be sooner than at `limit`.
    pub async fn users_beginning_with(
        &mut self,
        begin: &str,
        role: Option<&str>,
        status: Option<Status>,
        after: Option<(String, UserId)>,
        limit: usize,
    ) -> Result<(Vec<User>, Option<(String, UserId)>), Error> {
        let (mut users, mut seen) = (Vec::new(), after.unwrap_or((begin.to_owned(), UserId::default())));
        let mut last = None;
        for _ in 0..MOST_LOOKS {
            // Most are found twice, by their username and by an e-mail address that begins with it.
            let wanted = limit.saturating_mul(2).saturating_add(2);
            let rows = self.found(begin, role, status, &seen, wanted).await?;
            let are_all = rows.len() < wanted;
            for row in rows {
                let place = (row.key.clone(), row.user.id);
                // Found by two that are the same, they come twice in a row.
                let is_next = row.is_first(begin) && place != seen;
                if is_next && users.len() == limit {
                    return Ok((users, last));
                }
                if is_next {
                    users.push(row.user);
                    last = Some(place.clone());
                }
                seen = place;
            }
            if are_all {
                return Ok((users, None));
            }
        }
        Ok((users, Some(seen)))
    }

    /// What begins with this, after what was seen, in its order.
    async fn found(
        &mut self,
        begin: &str,
        role: Option<&str>,
        status: Option<Status>,
        (key, id): &(String, UserId),
        limit: usize,
    ) -> Result<Vec<Found>, Error> {
        // Text is compared by its bytes, and nothing that goes on from here comes after the last code point.
        let end = format!("{begin}\u{10ffff}");
        let (status, pattern) = (status.map_or("", Status::as_str), role_pattern(role));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(select_users!(
            fetch_all(self),
            |row| Found { key: row.found_by, user: user!(row) },
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

    /// Ids and display names of active users in the order they were made, from the one after `after`.
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
