//! Sessions: login, refresh, lists and logout, and their JWTs.

mod administration;
mod jwt;
mod login;
mod logout;
mod own;
mod refresh;
pub mod status_lists;
