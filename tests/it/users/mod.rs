//! Users: creation, search, changes and import.

mod change;
mod create;
mod directory;
mod import;
mod me;
mod search;
