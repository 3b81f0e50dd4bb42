//! The database: migrations and durable writes.

mod faults;
mod upgrade;
mod writes;
