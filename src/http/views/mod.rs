//! The JSON representations of the model, shared by the routes and the command line.

mod audit;
mod block;
mod import;
mod key;
mod link;
mod session;
mod stats;
mod token;
mod user;

pub use self::audit::AuditView;
pub use self::block::BlockList;
pub use self::import::{RowView, SummaryView};
pub use self::key::{KeyList, KeyView};
pub use self::link::{CreatedUserView, LinkView};
pub use self::session::SessionList;
pub use self::stats::StatsView;
pub use self::token::{CreatedToken, TokenList, TokenView};
pub use self::user::UserView;
