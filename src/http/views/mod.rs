//! The JSON representations of the model, shared by the routes and the command line.

mod audit;
mod import;
mod key;
mod session;
mod token;
mod user;

pub use self::{
    audit::AuditView,
    import::{RowView, SummaryView},
    key::{KeyList, KeyView},
    session::SessionList,
    token::{CreatedToken, TokenList},
    user::UserView,
};
