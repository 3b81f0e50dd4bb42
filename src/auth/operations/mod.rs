//! Operations on the whole installation: maintenance, backups, moving, diagnosis and figures.

pub mod backup;
pub mod copying;
pub mod doctor;
pub mod maintenance;
pub mod statistics;
