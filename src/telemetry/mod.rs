//! The log: one line for each request, and warnings and errors, on standard output, and for a collector of OpenTelemetry.

mod collector;

use std::fmt::{self, Write};
use std::io::{self, BufWriter, IsTerminal};
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracer;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::format::{FormatEvent, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatFields, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use self::collector::Collector;
use crate::config::{CollectorSettings, LogFormat, LogSettings};
use crate::error::StartError;
use crate::model::Clock;

/// The most lines that are buffered; further lines are dropped.
const MAX_BUFFERED_LINES: usize = 32 * 1024;
/// How long lines are collected for one system call.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);

/// Parses log levels in the syntax of `RUST_LOG`.
pub fn levels(text: &str) -> Result<EnvFilter, StartError> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|_| StartError::setting("RUST_LOG", "must be levels such as info, debug or info,countersign=debug"))
}

/// Checks that traces and logs can be sent with these settings, if they name a collector. It need not be there.
pub fn check_collector(settings: &CollectorSettings) -> Result<(), StartError> {
    collector::exporters(settings).map(drop)
}

/// The log of the process, which is written until this is dropped.
pub struct Log {
    // Ends first, because it may have something to say.
    collector: Option<Collector>,
    filter: reload::Handle<EnvFilter, Registry>,
    _writer: WorkerGuard,
}

impl Log {
    /// What begins the spans of requests, when there is a collector for them.
    pub fn tracer(&self) -> Option<SdkTracer> {
        self.collector.as_ref().map(Collector::tracer)
    }

    /// From now on logs at these levels.
    pub fn set_levels(&self, levels: EnvFilter) -> Result<(), StartError> {
        self.filter.reload(levels).map_err(|error| StartError(format!("the levels of the log cannot be set: {error}")))
    }
}

/// Starts the log with these settings. A thread of its own writes the lines. When the buffer is full, lines are dropped: a
/// stalled log must not stop the service.
pub fn start(settings: &LogSettings, collector: &CollectorSettings, clock: Clock) -> Result<Log, StartError> {
    let (filter, handle) = reload::Layer::new(levels(&settings.log)?);
    let collector = Collector::of(collector)?;
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_BUFFERED_LINES)
        .finish(PauseAfterFlush(BufWriter::new(io::stdout())));
    let registry = tracing_subscriber::registry().with(filter).with(collector.as_ref().map(Collector::log_layer));
    let started = match settings.log_format {
        LogFormat::Text if io::stdout().is_terminal() => {
            registry.with(layer().with_writer(writer).with_target(false)).try_init()
        }
        LogFormat::Text => registry.with(layer().with_writer(writer).event_format(PlainFormat(clock))).try_init(),
        LogFormat::Json => registry.with(layer().with_writer(writer).json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| StartError(format!("the log cannot be started: {error}")))?;
    Ok(Log { collector, filter: handle, _writer: guard })
}

/// A writer that sleeps after each flush. The log thread flushes when its queue is empty. Without the pause it would be
/// woken for every single line under load.
struct PauseAfterFlush<W>(W);

impl<W: io::Write> io::Write for PauseAfterFlush<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        std::thread::sleep(FLUSH_PAUSE);
        Ok(())
    }
}

/// Formats lines as for a terminal, without colours. The formatter of `tracing_subscriber` scans each value for escape
/// sequences even when colours are off, which is slow with one line per request.
struct PlainFormat(Clock);

impl<S, N> FormatEvent<S, N> for PlainFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        write!(writer, "{} {:>5}", self.0.now(), event.metadata().level().as_str())?;
        let mut fields = Fields { line: Escaped(writer.by_ref()), written: Ok(()) };
        event.record(&mut fields);
        fields.written?;
        writer.write_char('\n')
    }
}

/// Writes the fields of an event in their order.
struct Fields<'a> {
    line: Escaped<'a>,
    written: fmt::Result,
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.written = self.written.and_then(|()| {
            // Field names are literals in source code, so they need no escaping.
            let line = &mut self.line.0;
            line.write_char(' ')?;
            if field.name() != "message" {
                line.write_str(field.name())?;
                line.write_char('=')?;
            }
            write!(self.line, "{value:?}")
        });
    }
}

/// Escapes control characters, so that a value cannot begin a new line or control a terminal.
struct Escaped<'a>(Writer<'a>);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // In UTF-8, C1 control characters are two bytes, of which this is the first.
        const C1: u8 = 0xc2;
        // It does not stop at the first match, so that the compiler can vectorise it.
        let has_control = text.bytes().fold(false, |found, byte| found | byte.is_ascii_control() | (byte == C1));
        if !has_control {
            return self.0.write_str(text);
        }
        text.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(self.0, "{}", c.escape_default()),
            c => self.0.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_holds_all_fields_and_no_control_character_of_theirs() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::registry()
            .with(layer().with_writer(move || writer.clone()).event_format(PlainFormat(Clock::default())));
        let evil = "a\nb\u{1b}[2J\u{9b}é";
        tracing::subscriber::with_default(log, || {
            tracing::warn!(status = 503_u16, said = "x y", quote = "\"", slash = "\\", line = "\n", shown = %evil, none = None::<&str>, "happened\u{7}");
        });
        let line = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.parse::<crate::model::Timestamp>().is_ok());
        assert_eq!(
            rest,
            " WARN happened\\u{7} status=503 said=\"x y\" quote=\"\\\"\" slash=\"\\\\\" line=\"\\n\" shown=a\\nb\\u{1b}[2J\\u{9b}é\n"
        );
    }
}
