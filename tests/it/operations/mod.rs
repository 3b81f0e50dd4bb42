//! Operation: servers behind a balancer, settings, start, shutdown, log, metrics, idempotency and the audit trail.

mod audit;
mod audit_chain;
mod idempotency;
mod metrics;
mod servers;
mod settings;
mod shutdown;
mod start;
mod telemetry;
