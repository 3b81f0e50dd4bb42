//! Sessions: begun, refreshed, seen and ended, and their JWTs.

mod administration;
mod jwt;
mod login;
mod logout;
mod own;
mod refresh;
pub mod status_lists;
