//! Operations on the whole installation: maintenance, backups, moving, servers that run together, diagnosis
//! and figures.

pub mod backup;
pub mod copying;
pub mod doctor;
pub mod gauges;
pub mod maintenance;
pub mod servers;
pub mod statistics;
