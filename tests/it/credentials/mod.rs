//! Credentials: parsing, checks, the cache, introspection and revocation.

mod cache;
mod grant;
mod headers;
mod introspection;
mod parse;
mod personal_tokens;
