//! **Countersign** keeps users, passwords and tokens, and answers one question fast: *who is calling, and may they?*
//!
//! A request proves itself by HTTP Basic, by an opaque token, by a JWT or by a personal access token, and all end in the same
//! [`model::Principal`].
//!
//! # The map
//!
//! Imports run one way, between these modules and within each of them (`tests/it/architecture.rs`):
//!
//! ```text
//! main → cli → http → auth → store → model
//! ```
//!
//! * [`model`] is plain data: users, sessions, tokens, scopes, and the clock.
//! * [`store`] is the only place that knows SQL: one file a table, one text for SQLite and PostgreSQL.
//! * [`auth`] is the whole service without HTTP: [`auth::Auth`]. Its folders are credentials, passwords, sessions, keys, users
//!   and operations.
//! * [`http`] is routes, middleware, and errors as `application/problem+json`.
//! * [`cli`] is the command line: [`cli::serve`] is the server from settings to shutdown.
//! * [`config`] is every setting, [`error`] everything that can go wrong, [`telemetry`] the log, [`private_file`] files that
//!   only their owner may read.
//!
//! # Seven words
//!
//! A *credential* is what a request shows: HTTP Basic, an opaque token, a JWT or a personal access token. Once it has been
//! checked, the caller is a [`model::Principal`]: a user, the *scopes* of the credential, and how it was proved. A *session* is
//! one login; its opaque token and its JWTs live and end together. Checked credentials stay in a *cache*
//! (`auth/credentials/cache.rs`); each write names what it makes stale there (*invalidation*, `store/invalidation/`). The
//! *audit trail* is a hash chain of what happened, written in the transaction that did it.
//!
//! # Three requests
//!
//! **Login**: `http/routes/login.rs` reads JSON, a form or Basic → `auth/sessions/login.rs` → `auth/passwords/mod.rs` reads the
//! hash and checks it on a thread of `auth/passwords/hash_pool.rs` → one transaction writes the session
//! (`store/tables/sessions.rs`) → `auth/sessions/jwt.rs` signs.
//!
//! **A request with a credential**: `http/extract/caller.rs` takes the one `Authorization` header →
//! `auth/credentials/mod.rs` looks in the cache, or else `parse.rs` tells the shape and it is checked: a signature and a
//! session, a token's row, or a password → the handler gets a [`model::Principal`] in an argument whose type names the scope.
//!
//! **An administrator creates a user**: `http/routes/admin/users.rs` → `auth/users/mod.rs` checks the fields, hashes the
//! password, then writes the row in one transaction (`store/tables/users.rs`).

#![cfg_attr(
    any(sqlx_prepare = "sqlite", sqlx_prepare = "postgres"),
    allow(warnings, reason = "scripts/sqlx-prepare compiles one store at a time")
)]

pub mod auth;
pub mod cli;
pub mod config;
pub mod error;
pub mod http;
pub mod model;
pub mod private_file;
pub mod store;
pub mod telemetry;
