mod change;
mod keys;
mod search;
mod sessions;
mod users;
