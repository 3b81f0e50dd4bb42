//! Pagination of lists.

use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

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
