//! The data types of the service. They do no I/O; time comes from [`Clock`] alone.

mod audit;
mod block;
mod credentials;
mod hash_cost;
mod id;
mod import;
mod link;
mod nearest;
mod networks;
pub mod pagination;
mod setting;
mod time;
mod user;

pub use audit::{
    AuditFilter, AuditHead, AuditMethod, AuditRecord, AuditRow, ChainKey, Event, LoginCount, Outcome, Unsealed,
};
pub use block::{Block, Reach};
pub use credentials::{
    Algorithm, Client, CredentialId, Holder, Lifetime, LiveSession, Method, NewToken, OpaqueToken, Origin,
    PersonalSecret, PersonalToken, Principal, Scope, Scopes, SealedKey, Session, StatusIndex, StatusList, TokenHash,
};
pub use hash_cost::HashCost;
pub use id::{BlockId, MailId, SessionId, StatusListId, TokenId, UserId};
pub use import::{Conflict, Format, UserRecord, from_csv_cell, to_csv_cell};
pub use link::{LinkPurpose, LinkSecret, LiveLink, QueuedMail, SecretPurpose};
pub use nearest::nearest;
pub use networks::{ClientNetwork, Networks};
pub use setting::Setting;
pub use time::{Clock, Timestamp};
pub use user::{
    HashedPassword, NewUser, PasswordHash, Roles, Status, Step, StoredPassword, User, UserFilter, UserPatch,
    fold_username, is_deliverable, is_valid_email, is_valid_role, is_valid_username,
};
