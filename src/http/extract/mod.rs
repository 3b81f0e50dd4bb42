//! The axum extractors: the caller, the client address, the body, the query, conditional headers, ids in the path.

mod body;
mod caller;
pub mod client_address;
pub mod conditional;
mod cookie;
mod foreign_page;
pub mod pagination;

pub use self::body::{
    IdempotentJson, Json, PathId, Query, body, from_form, from_json, has_type, nullable, refuse_encoding,
};
pub use self::caller::{
    Admin, Anyone, Caller, Export, Introspect, PasswordChange, Profile, RequiredScope, Tokens, UsersRead, authorization,
};
pub use self::conditional::IfMatch;
pub use self::cookie::SessionCookie;
pub use self::foreign_page::{refuse_foreign_page, require_own_page};
