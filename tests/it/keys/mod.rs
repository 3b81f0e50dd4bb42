//! Signing keys: rotation.

mod rotation;
