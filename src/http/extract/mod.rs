//! From a request to what a handler asks for: who is calling and from where, the body, the query, an id in the path.

mod body;
mod caller;
pub mod client_address;
pub mod conditional;
pub mod page;

pub use self::{
    body::{IdempotentJson, Json, PathId, Query, body, from_form, from_json, has_type, present},
    caller::{Admin, Anyone, Caller, Introspect, PasswordChange, Profile, Tokens, UsersRead, authorization},
    conditional::IfMatch,
};
