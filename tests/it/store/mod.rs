//! The database.

mod upgrade;
mod writes;
