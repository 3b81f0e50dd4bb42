//! Passwords: hashing under load.

mod hash_pool;
