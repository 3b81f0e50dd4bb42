//! Limits and errors of all requests, and the routes of no other module.

mod article;
mod client_address;
mod cors;
mod docs;
mod errors;
mod examples;
mod foreign_pages;
mod health;
mod proxies;
mod requests;
mod schemathesis;
mod scopes;
pub mod tls;
mod verify;
mod well_known;
