//! Plain data: what the service talks about, with no I/O and no clock of its own.

mod id;
mod key;
mod principal;
mod scope;
mod session;
mod time;
mod token;
mod user;

pub use id::{SessionId, UserId};
pub use key::{Algorithm, SealedKey};
pub use principal::{Method, Principal};
pub use scope::{Scope, Scopes};
pub use session::{Client, Session};
pub use time::{Clock, Timestamp};
pub use token::{OpaqueToken, TokenHash};
pub use user::{NewUser, PasswordHash, Roles, Status, User, fold_username, may_be_username};
