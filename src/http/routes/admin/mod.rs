//! `/admin`: the routes that require the scope `admin`.

pub mod audit;
pub mod blocks;
pub mod import;
pub mod keys;
pub mod links;
pub mod sessions;
pub mod stats;
pub mod tokens;
pub mod users;
