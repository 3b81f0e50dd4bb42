//! Operation: servers behind a balancer, settings, start, shutdown, log, metrics, figures, maintenance, idempotency and the audit
//! trail.

mod audit;
mod audit_chain;
mod fail2ban;
mod figures;
mod idempotency;
mod maintenance;
mod metrics;
mod monitoring;
mod otlp;
mod reload;
mod servers;
mod service_manager;
mod settings;
mod shutdown;
mod start;
mod telemetry;
