//! Operation: settings, start, shutdown, log, metrics, idempotency and the audit trail.

mod audit;
mod audit_chain;
mod idempotency;
mod metrics;
mod settings;
mod shutdown;
mod start;
mod telemetry;
