//! Work on the whole installation: looking after it while it runs, backups, and the doctor.

pub mod backup;
pub mod doctor;
pub mod maintenance;
