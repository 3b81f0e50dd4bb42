//! Pagination of lists.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::auth::Cursor;
use crate::error::FieldError;
use crate::http::problem::Problem;
use crate::model::UserId;

/// The largest page.
const MAX_LIMIT: u32 = 1000;

/// The page of a list that is requested.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// The maximum number of items.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The id of the last item of the previous page.
    after: Option<Uuid>,
}

/// The page size when none is requested.
pub fn default_limit() -> u32 {
    100
}

impl PageQuery {
    /// Returns the page size, from 1 to 1000.
    pub fn limit(&self) -> Result<u32, Problem> {
        validate_limit(self.limit)
    }

    /// The last user of the previous page.
    pub fn after(&self) -> Option<UserId> {
        self.after.map(UserId)
    }
}

/// Returns the page size if it is from 1 to 1000.
pub fn validate_limit(limit: u32) -> Result<u32, Problem> {
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::validation(vec![FieldError::new("limit", "out-of-range", "must be from 1 to 1000")]))
    }
}

/// Encodes a cursor: the last user's id and, in a search, the text that matched. It is not secret.
pub fn encode_cursor((key, id): Cursor) -> String {
    if key.is_empty() { id.to_string() } else { format!("{id}.{}", URL_SAFE_NO_PAD.encode(key)) }
}

/// Decodes a cursor that [`encode_cursor`] encoded.
pub fn decode_cursor(text: &str) -> Result<Cursor, Problem> {
    let decode = || {
        let (id, key) = text.split_once('.').unwrap_or((text, ""));
        let key = String::from_utf8(URL_SAFE_NO_PAD.decode(key).ok()?).ok().filter(|key| !key.contains('\0'))?;
        Some((key, id.parse().ok()?))
    };
    let invalid = || FieldError::new("after", "malformed", "must be the `next` of a page");
    decode().ok_or_else(|| Problem::validation(vec![invalid()]))
}
