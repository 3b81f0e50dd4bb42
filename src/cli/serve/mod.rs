//! `countersign serve`: the server, from settings to shutdown.

mod reload;
pub mod settings;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::NotifyState;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio::time;

use crate::auth::{Auth, FirstAdmin};
use crate::cli::serve::reload::reload;
use crate::cli::serve::settings::{access, terminals};
use crate::config::Config;
use crate::error::StartError;
use crate::http::{self, Access, App};
use crate::model::Clock;
use crate::telemetry::{self, Log};

/// How long shutdown waits for writes in progress.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or Ctrl-C.
pub fn run(config: &Config) -> Result<(), StartError> {
    keep_memory_private();
    let log = telemetry::start(&config.log, &config.collector, Clock::System)?;
    super::block_on(serve(config, &log))?
}

/// No debugger of the same user, and no core dump, gets at keys and passwords in memory. On Linux only; a failure is ignored.
fn keep_memory_private() {
    #[cfg(target_os = "linux")]
    let _refused = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

async fn serve(config: &Config, log: &Log) -> Result<(), StartError> {
    // Whoever sees the port open may send a signal.
    let (shutdown, hangups) = (shutdown_signal()?, Hangups::new()?);
    tokio::pin!(shutdown);
    // Bind first: a second server, started by mistake, fails before it touches the database.
    let listener = bind("COUNTERSIGN_LISTEN", config.server.listen).await?;
    let metrics = match config.server.metrics_listen {
        Some(address) => Some(bind("COUNTERSIGN_METRICS_LISTEN", address).await?),
        None => None,
    };
    let address = listener.local_addr().map_err(|error| StartError(error.to_string()))?;
    let access = Access { tracer: log.tracer(), ..access(config)? };
    let (auth, first_admin) = tokio::select! {
        opened = open(config, Clock::System) => opened?,
        () = http::serve_starting(&listener, access.tls.clone()) => return Ok(()),
        () = &mut shutdown => return Ok(()),
    };
    let _closed = io::stderr().write_all(welcome(&auth, &first_admin, config, address).as_bytes());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %address, database = auth.places().database, "started");

    if !address.ip().is_loopback() && config.server.trusted_proxies.is_empty() && access.tls.is_none() {
        tracing::warn!(
            %address,
            "passwords cross the network unencrypted unless a proxy with TLS is in front; name it in COUNTERSIGN_TRUSTED_PROXIES"
        );
    }
    let tokens = &config.settings.tokens;
    if let Some(public_url) = tokens.public_url.as_deref().filter(|address| *address != tokens.issuer()) {
        tracing::warn!(public_url, issuer = tokens.issuer(), "the issuer of JWTs is not the public address");
    }
    let service = auth.clone();
    let maintenance = tokio::spawn(async move { tokio::join!(service.run_maintenance(), service.run_outbox()) });
    if let Some(tls) = access.tls.clone() {
        tokio::spawn(async move { tls.watch().await });
    }
    tell_service_manager(&[NotifyState::Ready]);
    tokio::spawn(keep_watchdog());
    let app = App::new(auth.clone(), access);
    if let Some(listener) = metrics {
        let app = app.clone();
        tokio::spawn(async move { http::serve_metrics(&listener, app).await });
    }
    let service = http::serve(listener, app.clone(), async {
        tokio::select! {
            () = shutdown => {}
            () = reload_on_hangup(hangups, config.clone(), &app, log) => {}
        }
    });
    service.await;
    // Its transaction rolls back, and the next start does the work again.
    maintenance.abort();
    if time::timeout(STOP_TIMEOUT, auth.stop()).await.is_err() {
        tracing::warn!("writes were still in progress at shutdown");
    }
    tracing::info!("stopped");
    Ok(())
}

/// Reads the settings again on each SIGHUP. Ends when the terminal that the server runs on was closed, which is a SIGHUP too.
async fn reload_on_hangup(mut hangups: Hangups, mut config: Config, app: &App, log: &Log) {
    loop {
        hangups.next().await;
        if hangups.terminals != terminals() {
            return stopping();
        }
        // The time tells systemd that this is the answer to its own signal.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell_service_manager(&[NotifyState::Reloading, now]);
        }
        reload(&mut config, app, log);
        tell_service_manager(&[NotifyState::Ready]);
    }
}

/// The SIGHUPs that the process gets from now on.
struct Hangups {
    #[cfg(unix)]
    signals: tokio::signal::unix::Signal,
    /// Which streams are terminals. One that was closed is none any more.
    terminals: [bool; 3],
}

impl Hangups {
    fn new() -> Result<Self, StartError> {
        Ok(Self {
            // Asked first: a terminal that is closed before the next line ends the process, as SIGHUP does by itself.
            terminals: terminals(),
            #[cfg(unix)]
            signals: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
                .map_err(|error| StartError(format!("cannot handle SIGHUP: {error}")))?,
        })
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if self.signals.recv().await.is_some() {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// Tells systemd how the service is, if it is the one who started it.
fn tell_service_manager(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager was not told how the service is");
    }
}

/// Tells systemd's watchdog that work goes on, in the interval that it asks for; without it, nothing.
async fn keep_watchdog() {
    let Some(longest) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = time::interval(longest / 3);
    loop {
        ticks.tick().await;
        tell_service_manager(&[NotifyState::Watchdog]);
    }
}

async fn bind(setting: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| {
        let mend = "choose an address of this machine and a port that is free";
        StartError::setting(setting, format_args!("cannot listen on {address} ({error}); {mend}"))
    })
}

/// Starts the service with these settings and prepares the creation of the first admin.
pub async fn open(config: &Config, clock: Clock) -> Result<(Auth, FirstAdmin), StartError> {
    let admin = config.first_admin.admin()?;
    let auth = Auth::start(clock, config.settings.clone()).await?;
    let created = match admin {
        Some((username, password)) if auth.create_first_admin(username, &password).await? => {
            Some(FirstAdmin::Created(username.to_owned()))
        }
        Some(_) => Some(FirstAdmin::ExistedBefore),
        None => None,
    };
    let first_admin = auth.prepare_first_admin(config.first_admin.setup_token.as_ref()).await?;
    Ok((auth, created.unwrap_or(first_admin)))
}

/// Returns a future that completes on SIGTERM or Ctrl-C.
pub(super) fn shutdown_signal() -> Result<impl Future<Output = ()>, StartError> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| StartError(format!("cannot handle SIGTERM: {error}")))?;
    Ok(async move {
        let interrupt = tokio::signal::ctrl_c();
        #[cfg(unix)]
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt => {}
        }
        #[cfg(not(unix))]
        let _ = interrupt.await;
        stopping();
    })
}

/// Says that shutdown begins.
fn stopping() {
    tell_service_manager(&[NotifyState::Stopping]);
    tracing::info!("stopping");
}

/// The message printed at startup. It shows the setup token, once; the token appears nowhere else.
fn welcome(auth: &Auth, first_admin: &FirstAdmin, config: &Config, listening: SocketAddr) -> String {
    let issuer = config.settings.tokens.issuer();
    let scheme = if config.server.tls_cert.is_some() { "https" } else { "http" };
    let address = match listening.ip() {
        ip if ip.is_unspecified() || ip.is_loopback() => format!("localhost:{}", listening.port()),
        _ => listening.to_string(),
    };
    let local = format!("{scheme}://{address}");
    let page = config.settings.tokens.public_url.as_deref().map_or(local.as_str(), |url| url.trim_end_matches('/'));
    let places = auth.places();
    let key = places.key_file.as_ref().map_or("given".into(), |path| path.display().to_string());
    let curl = |token: &SecretString| {
        format!(
            "  First admin:  there is none yet. Open this page (the token in it is shown only now):\n\n    \
             {page}/setup#{token}\n\n  or use the shell:\n\n    \
             curl {scheme}://{address}/admin/users -H \"Authorization: Bearer {token}\" \\\n      \
             -H \"content-type: application/json\" \\\n      \
             -d '{{\"username\": \"admin\", \"password\": \"choose-a-password\", \"roles\": [\"user\", \"admin\"]}}'\n\n",
            token = token.expose_secret()
        )
    };
    let first = match first_admin {
        FirstAdmin::Exists => String::new(),
        FirstAdmin::Created(username) => format!("  First admin:  {username} was created from the settings\n"),
        FirstAdmin::ExistedBefore => {
            "  First admin:  there was one before, so COUNTERSIGN_ADMIN_USERNAME changed nothing\n".into()
        }
        FirstAdmin::NewToken(token) => curl(token),
        FirstAdmin::GivenToken => {
            format!(
                "  First admin:  there is none yet; {page}/setup asks for COUNTERSIGN_SETUP_TOKEN, and POST \
                 /admin/users takes it as a bearer token\n"
            )
        }
        FirstAdmin::EarlierToken => {
            "  First admin:  there is none yet; use the setup token shown at the first start, or \
             set COUNTERSIGN_SETUP_TOKEN and start again\n"
                .into()
        }
    };
    format!(
        "Countersign {} listens on {listening}\n  Database:     {}\n  Secret key:   {key}\n  JWT issuer:   {issuer}\n  \
         In a browser: {page}/\n  API document: {scheme}://{address}/docs and {scheme}://{address}/openapi.json\n{first}",
        env!("CARGO_PKG_VERSION"),
        places.database,
    )
}
