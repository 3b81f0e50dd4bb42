//! Users as a file: what an import reads and reports, and what an export sends. The API and the console both use it.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use tokio_util::io::{StreamReader, SyncIoBridge};
use utoipa::IntoParams;

use crate::auth::{Actor, Grant, Import, Invite, RowReport, Rows, export_header, write_users};
use crate::error::Error;
use crate::http::App;
use crate::http::extract::{has_type, refuse_encoding};
use crate::http::problem::{self, Problem};
use crate::http::server::connections::{MIN_CHUNK, MIN_CHUNK_TIME};
use crate::http::views::{RowView, SummaryView};
use crate::model::{Conflict, Format, UserId};

/// How long an import may take as a whole. A million users take half a minute.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// The size of the chunks in which a report is sent, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;
const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";

/// The options of an import.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ImportQuery {
    /// What to do if a username exists: `skip`, `update` or `fail`.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "skip")]
    on_conflict: Conflict,
    /// Whether to only report what an import would do.
    #[serde(default)]
    dry_run: bool,
}

/// Imports the users of a request's body, and answers with a line for each row and the summary.
pub async fn import(
    app: &App,
    (actor, invite): (Actor, Invite),
    query: &ImportQuery,
    request: Request,
) -> Result<Response, Problem> {
    refuse_encoding(request.headers())?;
    let format = upload_format(request.headers())?;
    let chunks = StreamReader::new(Box::pin(body_chunks(request.into_body())));
    let rows = Rows::read(format, SyncIoBridge::new(chunks))?;
    let import = Import { actor, conflict: query.on_conflict, invite, dry_run: query.dry_run };
    // A client may read only after it has sent everything: a file neither blocks the import nor fills the memory.
    let mut report = BufWriter::new(tempfile::tempfile().map_err(report_failed)?);
    let write = |mut row: RowReport| {
        // A trial leaves no links behind.
        row.link = row.link.filter(|_| !query.dry_run);
        write_line(&mut report, &RowView::from(&row))
    };
    let summary = match timeout(IMPORT_TIMEOUT, app.auth().import(import, rows, write)).await {
        Ok(summary) => summary?,
        Err(_elapsed) => return Err(Problem::new(&problem::TIMEOUT)),
    };
    write_line(&mut report, &SummaryView::new(&summary, query.dry_run)).map_err(report_failed)?;
    let mut report = report.into_inner().map_err(|error| report_failed(error.into_error()))?;
    report.rewind().map_err(report_failed)?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(NDJSON))], Body::from_stream(file_chunks(report))).into_response())
}

/// Returns the format that `Content-Type` declares.
fn upload_format(headers: &HeaderMap) -> Result<Format, Problem> {
    match () {
        () if has_type(headers, CSV) => Ok(Format::Csv),
        () if has_type(headers, NDJSON) => Ok(Format::Ndjson),
        () => {
            let detail = "Send text/csv with a header line, or application/x-ndjson.";
            Err(Problem::new(&problem::UNSUPPORTED_MEDIA_TYPE).with_detail(detail))
        }
    }
}

/// Streams the chunks of a body. It is an error if they come more slowly than [`MIN_CHUNK`] in [`MIN_CHUNK_TIME`]. Time in
/// which the import was busy does not count.
fn body_chunks(body: Body) -> impl Stream<Item = io::Result<Bytes>> {
    let start = (body.into_data_stream(), MIN_CHUNK_TIME, 0);
    stream::try_unfold(start, move |(mut chunks, left, read)| async move {
        let begun = Instant::now();
        match timeout(left, chunks.next()).await {
            Ok(None) => Ok(None),
            Ok(Some(chunk)) => {
                let chunk = chunk.map_err(io::Error::other)?;
                let (left, read) = match read + chunk.len() {
                    MIN_CHUNK.. => (MIN_CHUNK_TIME, 0),
                    read => (left.saturating_sub(begun.elapsed()), read),
                };
                Ok(Some((chunk, (chunks, left, read))))
            }
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    })
}

fn write_line(report: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *report, line)?;
    report.write_all(b"\n")
}

fn report_failed(error: io::Error) -> Problem {
    Error::Unavailable(error.into()).into()
}

fn file_chunks(file: File) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(file, async |mut file| {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        Read::by_ref(&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        Ok(Some((Bytes::from(chunk), file)).filter(|(chunk, _)| !chunk.is_empty()))
    })
}

/// Sends all users with their password hashes, as long as the caller may have them.
pub async fn export(app: App, actor: Actor, grant: Grant, format: Format) -> Result<Response, Problem> {
    app.auth().begin_export(actor).await?;
    let (media_type, name) = match format {
        Format::Csv => (CSV, "attachment; filename=\"users.csv\""),
        Format::Ndjson => (NDJSON, "attachment; filename=\"users.ndjson\""),
    };
    let headers = [(CONTENT_TYPE, media_type), (CONTENT_DISPOSITION, name)]
        .map(|(name, value)| (name, HeaderValue::from_static(value)));
    let header = stream::iter([Ok(Bytes::from(export_header(format)))]);
    Ok((headers, Body::from_stream(header.chain(pages(app, grant, format)))).into_response())
}

/// Streams the users page by page, as the client reads. If the [`Grant`] is no longer valid, the connection is aborted.
fn pages(app: App, grant: Grant, format: Format) -> impl Stream<Item = Result<Bytes, Error>> {
    stream::try_unfold((app, UserId::default()), move |(app, after)| async move {
        app.auth().recheck(grant).await?;
        let Some((users, last)) = app.auth().export_page(after).await? else { return Ok(None) };
        Ok(Some((Bytes::from(write_users(format, &users)?), (app, last))))
    })
}
