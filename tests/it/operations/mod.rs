//! What an operator sees: settings, start, shutdown, log, metrics, audit trail.

mod audit;
mod idempotency;
mod metrics;
mod settings;
mod shutdown;
mod start;
mod telemetry;
