//! Passwords: hashing under load, and the limit on guessing.

mod guessing;
mod hash_pool;
mod recovery;
