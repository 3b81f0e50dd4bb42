//! The data types of the service. They do no I/O; time comes from [`Clock`] alone.

mod audit;
mod audit_chain;
mod block;
mod hash_cost;
mod id;
mod import;
mod key;
mod link;
mod nearest;
mod networks;
pub mod pagination;
mod principal;
mod scope;
mod session;
mod setting;
mod time;
mod token;
mod user;

pub use audit::{AuditFilter, AuditMethod, AuditRecord, Event, LoginCount, Outcome, Unsealed};
pub use audit_chain::{AuditHead, AuditRow, ChainKey};
pub use block::{Block, Reach};
pub use hash_cost::HashCost;
pub use id::{BlockId, MailId, SessionId, StatusListId, TokenId, UserId};
pub use import::{Conflict, Format, UserRecord, from_csv_cell, to_csv_cell};
pub use key::{Algorithm, SealedKey};
pub use link::{LinkPurpose, LinkSecret, LiveLink, QueuedMail, SecretPurpose};
pub use nearest::nearest;
pub use networks::{ClientNetwork, Networks};
pub use principal::{CredentialId, Holder, Method, Principal};
pub use scope::{Scope, Scopes};
pub use session::{Client, LiveSession, Origin, Session, StatusIndex, StatusList};
pub use setting::Setting;
pub use time::{Clock, Timestamp};
pub use token::{Lifetime, NewToken, OpaqueToken, PersonalSecret, PersonalToken, TokenHash};
pub use user::{
    HashedPassword, NewUser, PasswordHash, Roles, Status, Step, StoredPassword, User, UserFilter, UserPatch,
    fold_username, is_deliverable, is_valid_email, is_valid_role, is_valid_username,
};
