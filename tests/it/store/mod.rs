//! The database: migrations and durable writes.

mod upgrade;
mod writes;
