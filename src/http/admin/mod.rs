//! `/admin`: what takes the scope `admin`.

pub mod users;
