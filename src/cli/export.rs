//! `countersign export`: users to a file.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    path::PathBuf,
};

use crate::{
    auth::{Actor, Auth, Format, export_header, write_users},
    cli::{beside_servers, format_of, told},
    config::{Config, ExportCommand},
    error::CommandError,
    model::UserId,
};

/// Writes all users out.
pub fn run(config: &Config, command: &ExportCommand) -> Result<(), CommandError> {
    let format = command.format.or_else(|| format_of(command.file.as_ref()?)).unwrap_or(Format::Ndjson);
    beside_servers(config, async |auth| {
        // Before the file is made: who may not read leaves none.
        auth.begin_export(Actor::Operator).await.map_err(told)?;
        match &command.file {
            Some(file) => write_file(auth, format, file).await,
            None => write(auth, format, BufWriter::new(io::stdout().lock()))
                .await?
                .map_err(|error| CommandError(format!("cannot write to standard output: {error}"))),
        }
    })
}

/// Into a new file that nobody else may read.
async fn write_file(auth: &Auth, format: Format, file: &PathBuf) -> Result<(), CommandError> {
    let cannot = |error: io::Error| CommandError(format!("{} cannot be written: {error}", file.display()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let made = options.open(file).map_err(cannot)?;
    let written = write(auth, format, BufWriter::new(&made)).await;
    if !matches!(written, Ok(Ok(()))) {
        let _gone = std::fs::remove_file(file);
    }
    written?.and_then(|()| made.sync_all()).map_err(cannot)
}

async fn write(auth: &Auth, format: Format, mut out: impl Write) -> Result<io::Result<()>, CommandError> {
    let mut written = out.write_all(export_header(format).as_bytes());
    let mut after = UserId::default();
    while written.is_ok() {
        let Some((users, last)) = auth.export_page(after).await.map_err(told)? else { return Ok(out.flush()) };
        written = out.write_all(&write_users(format, &users).map_err(told)?);
        after = last;
    }
    Ok(written)
}
