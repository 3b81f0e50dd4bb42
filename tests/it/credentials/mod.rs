//! Credentials: read, checked, cached, introspected and revoked.

mod cache;
mod headers;
mod introspection;
mod parse;
mod personal_tokens;
