//! `countersign export`: writes all users to a file or to standard output.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use crate::auth::{Actor, Auth, export_header, write_users};
use crate::cli::{explain, format_of, with_auth};
use crate::config::{Config, ExportCommand};
use crate::error::CommandError;
use crate::model::{Format, UserId};
use crate::private_file::{self, sync_folder_of};

/// Runs `countersign export`.
pub fn run(config: &Config, command: &ExportCommand) -> Result<(), CommandError> {
    let format = command.format.or_else(|| format_of(command.file.as_ref()?)).unwrap_or(Format::Ndjson);
    with_auth(config, async |auth| match &command.file {
        Some(file) => write_file(auth, format, file).await,
        None => match write(auth, format, BufWriter::new(io::stdout().lock())).await? {
            // Whoever reads, such as `head`, has enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| CommandError(format!("cannot write to standard output: {error}"))),
        },
    })
}

/// Writes to a new file that only its owner may read, and removes it on failure.
async fn write_file(auth: &Auth, format: Format, file: &PathBuf) -> Result<(), CommandError> {
    let cannot = |error: io::Error| CommandError(format!("{} cannot be written: {error}", file.display()));
    let out = private_file::create_new(file).map_err(cannot)?;
    let written = write(auth, format, BufWriter::new(&out)).await;
    let written = written.map(|written| written.and_then(|()| out.sync_all()).and_then(|()| sync_folder_of(file)));
    if !matches!(written, Ok(Ok(()))) {
        let _removed = std::fs::remove_file(file);
    }
    written?.map_err(cannot)
}

/// Writes all users. What is recorded in the audit trail can begin: the file is there, and is new.
async fn write(auth: &Auth, format: Format, mut out: impl Write) -> Result<io::Result<()>, CommandError> {
    auth.begin_export(Actor::Operator).await.map_err(explain)?;
    let mut written = out.write_all(export_header(format).as_bytes());
    let mut after = UserId::default();
    while written.is_ok() {
        let Some((users, last)) = auth.export_page(after).await.map_err(explain)? else { return Ok(out.flush()) };
        written = out.write_all(&write_users(format, &users).map_err(explain)?);
        after = last;
    }
    Ok(written)
}
