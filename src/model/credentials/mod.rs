//! What a request shows, what it comes from, and whom it stands for.

mod key;
mod principal;
mod scope;
mod session;
mod token;

pub use self::key::{Algorithm, SealedKey};
pub use self::principal::{CredentialId, Holder, Method, Principal};
pub use self::scope::{Scope, Scopes};
pub use self::session::{Client, LiveSession, Origin, Session, StatusIndex, StatusList};
pub use self::token::{Lifetime, NewToken, OpaqueToken, PersonalSecret, PersonalToken, TokenHash};
