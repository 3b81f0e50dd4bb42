//! Users: created, found, changed, imported.

mod change;
mod create;
mod directory;
mod import;
mod me;
mod search;
