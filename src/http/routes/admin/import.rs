//! `/admin/import` and `/admin/export`: users by the file.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Seek, Write},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{
        HeaderMap, HeaderValue,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio_util::io::{StreamReader, SyncIoBridge};
use utoipa::IntoParams;

use crate::{
    auth::{Grant, Import, RowReport, Rows, export_header, write_users},
    error::Error,
    http::{
        App,
        extract::{Admin, Caller, Query, has_type},
        openapi::{AuthErrors, InvalidBody, InvalidQuery},
        problem::{self, Problem},
        views::{RowView, SummaryView},
    },
    model::{Conflict, Format, Scope, UserId},
};

/// How long the next part of a file may take to arrive.
const PART_TIMEOUT: Duration = Duration::from_secs(15);
/// How much of a report is sent at a time, in bytes.
const PART_BYTES: usize = 64 * 1024;
const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";

/// How to import.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ImportQuery {
    /// What to do about usernames that somebody has: `skip`, `update` or `fail`.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "skip")]
    on_conflict: Conflict,
    /// Do everything but keep it.
    #[serde(default)]
    dry_run: bool,
}

/// Users from a file, with the hashes of their passwords as their source wrote them. The answer has a line a row and then
/// the summary. Rows are written in batches: what ends the import in the middle leaves whole ones.
#[utoipa::path(
    post, path = "/admin/import", tag = "admin", params(ImportQuery), security(("basic" = []), ("bearer" = ["admin"])),
    request_body(content((String = "text/csv"), (String = "application/x-ndjson"))),
    responses((status = 200, body = RowView<'_>, content_type = "application/x-ndjson"), AuthErrors, InvalidBody),
)]
pub async fn import_users(
    app: App,
    caller: Caller<Admin>,
    Query(query): Query<ImportQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let format = format_of(request.headers())?;
    let parts = StreamReader::new(Box::pin(parts(request.into_body())));
    let rows = Rows::read(format, SyncIoBridge::new(parts))?;
    let import = Import {
        actor: caller.actor(),
        grant: Some(Grant::of(&caller.principal, Some(Scope::Admin))),
        conflict: query.on_conflict,
        dry_run: query.dry_run,
    };
    // In a file until the end: a client that sends all before it reads must not make us wait, nor hold its report in memory.
    let mut report = BufWriter::new(tempfile::tempfile().map_err(unwritable)?);
    let write = |row: RowReport| write_line(&mut report, &RowView::from(&row));
    let summary = app.auth().import(import, rows, write).await?;
    write_line(&mut report, &SummaryView::new(&summary, query.dry_run)).map_err(unwritable)?;
    let mut report = report.into_inner().map_err(|error| unwritable(error.into_error()))?;
    report.rewind().map_err(unwritable)?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(NDJSON))], Body::from_stream(file_parts(report))).into_response())
}

/// What the body says to be.
fn format_of(headers: &HeaderMap) -> Result<Format, Problem> {
    match () {
        () if has_type(headers, CSV) => Ok(Format::Csv),
        () if has_type(headers, NDJSON) => Ok(Format::Ndjson),
        () => {
            let mend = "Send text/csv with a header line, or application/x-ndjson.";
            Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE).with_detail(mend))
        }
    }
}

/// A body as it arrives; one that stops for too long ends in an error.
fn parts(body: Body) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(body.into_data_stream(), async |mut parts| {
        match tokio::time::timeout(PART_TIMEOUT, parts.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(part)) => Ok(Some((part.map_err(io::Error::other)?, parts))),
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    })
}

fn write_line(report: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *report, line)?;
    report.write_all(b"\n")
}

fn unwritable(error: io::Error) -> Problem {
    Error::Unavailable(error.into()).into()
}

fn file_parts(file: File) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(file, async |mut file| {
        let mut part = Vec::with_capacity(PART_BYTES);
        Read::by_ref(&mut file).take(PART_BYTES as u64).read_to_end(&mut part)?;
        Ok(Some((Bytes::from(part), file)).filter(|(part, _)| !part.is_empty()))
    })
}

/// In which form to export.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// `ndjson` or `csv`.
    #[serde(default = "ndjson")]
    #[param(value_type = Option<String>, example = "ndjson")]
    format: Format,
}

fn ndjson() -> Format {
    Format::Ndjson
}

/// All users, with the hashes of their passwords, in the form that an import takes.
#[utoipa::path(
    get, path = "/admin/export", tag = "admin", params(ExportQuery), security(("basic" = []), ("bearer" = ["admin"])),
    responses(
        (status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))),
        AuthErrors, InvalidQuery,
    ),
)]
pub async fn export_users(
    app: App,
    caller: Caller<Admin>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    app.auth().begin_export(caller.actor()).await?;
    let (media_type, name) = match query.format {
        Format::Csv => (CSV, "attachment; filename=\"users.csv\""),
        Format::Ndjson => (NDJSON, "attachment; filename=\"users.ndjson\""),
    };
    let headers = [(CONTENT_TYPE, media_type), (CONTENT_DISPOSITION, name)]
        .map(|(name, value)| (name, HeaderValue::from_static(value)));
    let grant = Grant::of(&caller.principal, Some(Scope::Admin));
    let header = stream::iter([Ok(Bytes::from(export_header(query.format)))]);
    Ok((headers, Body::from_stream(header.chain(pages(app, grant, query.format)))).into_response())
}

/// Users a page at a time, as the client takes them. Whoever is let in no more gets no further page: the connection breaks.
fn pages(app: App, grant: Grant, format: Format) -> impl Stream<Item = Result<Bytes, Error>> {
    stream::try_unfold((app, UserId::default()), move |(app, after)| async move {
        app.auth().recheck(grant).await?;
        let Some((users, last)) = app.auth().export_page(after).await? else { return Ok(None) };
        Ok(Some((Bytes::from(write_users(format, &users)?), (app, last))))
    })
}
