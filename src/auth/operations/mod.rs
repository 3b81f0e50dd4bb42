//! Operations on the whole installation: maintenance, backups and diagnosis.

pub mod backup;
pub mod doctor;
pub mod maintenance;
