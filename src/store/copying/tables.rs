//! Which tables a copy has, and which it leaves to the target.

use crate::store::migrations::TABLE as MIGRATIONS;

/// Each table after those that its rows refer to.
pub const TABLES: [&str; 15] = [
    "users",
    "status_lists",
    "sessions",
    "revoked_statuses",
    "rotated_tokens",
    "personal_tokens",
    "signing_keys",
    "one_time_secrets",
    "idempotency_keys",
    "known_networks",
    "blocks",
    "outbox",
    "audit",
    "audit_start",
    "audit_head",
];
/// How a database got its schema, and what servers tell each other, are its own.
pub const NOT_COPIED: [&str; 5] = [MIGRATIONS, "changes", "change_head", "servers", "guesses"];
