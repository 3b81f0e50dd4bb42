//! Operations on the whole installation: maintenance, backups, diagnosis and figures.

pub mod backup;
pub mod doctor;
pub mod maintenance;
pub mod statistics;
