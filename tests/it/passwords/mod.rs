//! Passwords: hashed.

mod hash_pool;
