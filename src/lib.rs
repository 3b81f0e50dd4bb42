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
//! * [`model`] is plain data: users, sessions, tokens, scopes, time.
//! * [`mail`] is what mails say and how they get to the SMTP server. When they are sent is `auth`'s.
//! * [`store`] is the only place that knows SQL: one file a table, one text for SQLite and PostgreSQL.
//! * [`auth`] is the whole service, without HTTP and without SQL: [`auth::Auth`]. Its folders are credentials, passwords,
//!   recovery (links, addresses, registration), sessions, keys, users and operations (maintenance, backup, doctor); beside
//!   them lie the audit trail, the outbox of mails, idempotent requests, grants (why a caller may act), and the opening of the database with its keys.
//! * [`http`] is routes, the JSON views they answer with, extractors, middleware, and errors as `application/problem+json`;
//!   its `pages` are for people: sign-in, account, and the console of administrators.
//! * [`cli`] is the command line: [`cli::serve`] is the server from settings to shutdown.
//!
//! [`config`] is every setting and command; `cli`, `auth`, `mail` and `telemetry` import it. [`error`] is everything that can go
//! wrong ([`http`] gives each its status), [`telemetry`] the log and what is sent to a collector, [`private_file`] files that only their owner may read.
//!
//! # Seven words
//!
//! * A *credential* is what a request shows: HTTP Basic, or a bearer that is an *opaque token* (a random UUID) or a JWT, both
//!   of one login, or a *personal token*, which users make for their programs.
//! * A *principal* is who is calling, once the credential has been checked: a user, and the *scopes* of the credential.
//! * A *session* is one login. Its opaque token and its JWTs live and end together.
//! * The *credential cache* keeps checked credentials in memory. *Invalidation* makes entries stale: each SQL statement that
//!   writes names whose credentials it touches, and its commit advances a version number that entries are compared with.
//! * A *status list* (an IETF draft) tells services that verify JWTs by themselves which sessions have ended.
//! * A *one-time secret* is good for one use: that of a link, with which a user chooses a password, and the setup token, which
//!   creates the first administrator.
//! * The *audit trail* is a hash chain of what happened, written in the transaction that did it.
//!
//! # Six requests
//!
//! **Login**: `http/routes/login.rs` reads JSON, a form or Basic → `auth/sessions/login.rs` → `auth/passwords/mod.rs` reads the
//! hash and takes a slot of the limit on guessing (`limiter.rs`) → the password waits for its turn in a fair queue
//! (`hash_queue.rs`) and is checked on a thread of `hash_pool.rs` → one transaction writes the session
//! (`store/tables/sessions.rs`) → `auth/sessions/jwt.rs` signs the JWT. What the user must do first, such as choosing another
//! password, is one method: [`model::User::pending_step`].
//!
//! **A request with a credential**: `http/extract/caller.rs` takes the one `Authorization` header →
//! `auth/credentials/mod.rs` asks the cache (`cache.rs`), or else tells the shape (`parse.rs`) and checks it: a JWT by
//! `auth/sessions/jwt.rs` and its session, a token by its row, Basic by `auth/passwords/mod.rs` → the handler gets a
//! [`model::Principal`] in a `Caller` argument, whose type names the scope that the route requires.
//!
//! **An administrator creates a user**: `http/routes/admin/users.rs` → `auth/users/mod.rs` checks the fields, hashes the
//! password, then writes the row in one transaction (`store/tables/users.rs`), which begins by confirming that the
//! administrator still is one (`auth/credentials/confirm.rs`).
//!
//! **Somebody has forgotten a password**: `http/routes/password.rs` → `auth/recovery/mod.rs` writes the request to the outbox,
//! whoever is asked for, and answers → the worker (`auth/outbox.rs`) looks for the user and writes a link and a mail in one
//! transaction → the mail goes out (`mail/`) → the page of the link (`http/pages/link.rs`) takes the new password.
//!
//! **An administrator disables a user**: `http/routes/admin/users.rs` or, in the console, `http/pages/console/user.rs` →
//! `auth/users/mod.rs` → the transaction locks the administrators, of whom one must
//! remain, updates the row and ends the user's sessions and personal tokens → its commit invalidates their credentials
//! (`store/invalidation/`), before the answer. On SQLite the commit may be shared with others (`store/sqlite/writer.rs`).
//!
//! **A browser sends a form**: `http/pages/frame.rs` takes the session from the cookie (`http/extract/cookie.rs`), asks where the
//! form is from, and compares its token → the page's handler calls [`auth::Auth`] as a route does → it goes on to a page that
//! says what was done, or the template comes back with what is wrong.

#![cfg_attr(
    any(sqlx_prepare = "sqlite", sqlx_prepare = "postgres"),
    allow(warnings, reason = "scripts/sqlx-prepare compiles one store at a time")
)]

pub mod auth;
pub mod cli;
pub mod config;
pub mod error;
pub mod http;
pub mod mail;
pub mod model;
pub mod private_file;
pub mod store;
pub mod telemetry;
