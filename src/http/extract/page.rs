//! Pages of a list: how many, and from where.

use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{error::FieldError, http::problem::Problem, model::UserId};

/// The most a page holds.
const MAX_LIMIT: u32 = 1000;

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// How many at most.
    #[serde(default = "default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The id after which the page begins.
    after: Option<Uuid>,
}

/// How many when nobody said so.
pub fn default_limit() -> u32 {
    100
}

impl PageQuery {
    /// How many at most, from 1 to 1000.
    pub fn limit(&self) -> Result<u32, Problem> {
        checked(self.limit)
    }

    /// The user after whom the page begins.
    pub fn after(&self) -> Option<UserId> {
        self.after.map(UserId)
    }
}

/// How many at most, from 1 to 1000.
pub fn checked(limit: u32) -> Result<u32, Problem> {
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::validation(vec![FieldError::new("limit", "out-of-range", "must be from 1 to 1000")]))
    }
}
