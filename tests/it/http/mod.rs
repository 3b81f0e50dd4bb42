//! What every request has, and the routes that belong to no other folder.

mod article;
mod docs;
mod errors;
mod examples;
mod health;
mod proxies;
mod requests;
mod scopes;
mod verify;
mod well_known;
