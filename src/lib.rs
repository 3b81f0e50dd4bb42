//! **Countersign** keeps users, passwords and tokens, and answers one question fast: *who is calling, and may they?*
//!
//! A request proves itself by HTTP Basic, by an opaque token, by a JWT or by a personal access token, and all end in the same
//! [`model::Principal`].
//!
//! # The map
//!
//! Imports run one way:
//!
//! ```text
//! main → cli → http → auth → store → model
//! ```
//!
//! * [`model`] is plain data: users, sessions, tokens, scopes, and the clock.
//! * [`store`] is the only place that knows SQL. One text for every query, SQLite and PostgreSQL.
//! * [`auth`] is the whole service without a door: [`auth::Auth`].
//! * [`http`] is the door: routes, who is calling, errors as `application/problem+json`.
//! * [`cli`] starts it: [`cli::serve`] is the server from settings to shutdown.
//! * [`config`] is every setting, [`error`] everything that can go wrong, [`telemetry`] the log.
//!
//! # Three walks
//!
//! **Login**: `http/login.rs` reads JSON, a form or Basic → `auth/login.rs` → `auth/passwords.rs` reads the hash and checks
//! it in the bounded pool of `auth/hashing.rs` → one transaction writes the session → `auth/jwt.rs` signs.
//!
//! **A request with a credential**: `http/extract.rs` takes the one `Authorization` header → `auth/credential.rs` tells its
//! shape and, unless `auth/verified.rs` knows it, checks it: signature, then session (`store/sessions.rs`), or password →
//! the handler gets a [`model::Principal`] in an argument whose type names the scope it takes.
//!
//! **An admin creates a user**: `http/admin/users.rs` → `auth/users.rs` checks the fields, hashes, then writes the row in
//! one transaction (`store/users.rs`).

pub mod auth;
pub mod cli;
pub mod config;
pub mod error;
pub mod http;
pub mod model;
pub mod store;
pub mod telemetry;
