//! The database: faults, poolers, migrations and durable writes.

mod faults;
mod pooler;
mod replicas;
mod upgrade;
mod writes;
