mod change;
mod import;
mod keys;
mod search;
mod sessions;
mod users;
