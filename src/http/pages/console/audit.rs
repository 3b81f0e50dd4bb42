//! `/admin/console/audit`: who did what to whom, and whether the trail is whole.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use minijinja::context;
use minijinja::value::Serde;
use serde::Deserialize;

use crate::auth::{ChainReport, Grant};
use crate::error::Error;
use crate::http::App;
use crate::http::extract::{Admin, Query};
use crate::http::pages::frame::{Form, Frame, SignedIn, Submitted};
use crate::http::pages::sentences::{label, sentences};
use crate::http::problem::Problem;
use crate::http::views::AuditView;
use crate::model::{AuditFilter, Event};

/// The records on a page, and in a piece of an export.
const LIMIT: u32 = 50;
const EXPORT_LIMIT: u32 = 500;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the form above the list asks for. An empty field asks for nothing.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct AuditQuery {
    /// A username.
    user: String,
    event: String,
    /// How many days back.
    days: String,
    after: String,
}

/// Shows a page of the records, the newest first.
pub async fn show_audit(
    app: App,
    SignedIn { frame, .. }: SignedIn<Admin>,
    Query(query): Query<AuditQuery>,
) -> Result<Response, Problem> {
    page(&app, &frame, &query, None).await
}

/// What is left in the address line after a check leads to the page again.
pub async fn go_to_audit(frame: Frame) -> Response {
    frame.go("admin/console/audit")
}

/// Checks that no record was changed or removed.
pub async fn check_audit(app: App, Submitted { frame, .. }: Submitted<Admin>) -> Result<Response, Problem> {
    let report = app.auth().verify_audit().await?;
    page(&app, &frame, &AuditQuery::default(), Some(&report)).await
}

async fn page(
    app: &App,
    frame: &Frame,
    query: &AuditQuery,
    checked: Option<&ChainReport>,
) -> Result<Response, Problem> {
    let filter = filter(app, query).await?;
    let after = query.after.parse().ok();
    let (rows, next) = match &filter {
        Some(filter) => app.auth().audit(filter, after, LIMIT).await?,
        None => (Vec::new(), None),
    };
    let values = context! {
        title => "Audit trail",
        records => Serde(sentences(app.auth(), rows).await?),
        events => Event::ALL.iter().map(|event| context! { word => event.as_str(), label => label(event.as_str()) }).collect::<Vec<_>>(),
        user => query.user.as_str(),
        unknown_user => filter.is_none(),
        event => query.event.as_str(),
        days => query.days.as_str(),
        is_first => after.is_none(),
        is_filtered => [&query.user, &query.event, &query.days].iter().any(|field| !field.trim().is_empty()),
        next,
        checked => checked.map(|report| context! {
            records => report.records,
            broken_at => report.broken_at,
        }),
    };
    frame.show("console/audit.html", values)
}

/// The filter that was asked for; none when there is no user of that name.
async fn filter(app: &App, query: &AuditQuery) -> Result<Option<AuditFilter>, Error> {
    let user = match query.user.trim() {
        "" => None,
        // The id of a user who was deleted still finds records.
        name => match (app.auth().user_ever_named(name).await, name.parse()) {
            (Ok(id), _) | (Err(Error::NotFound), Ok(id)) => Some(id),
            (Err(Error::NotFound), Err(_)) => return Ok(None),
            (Err(error), _) => return Err(error),
        },
    };
    let event = query.event.parse().ok();
    let days = query.days.parse().ok().filter(|days| (1..=3650).contains(days));
    let since = days.map(|days: u32| app.auth().now().before(DAY * days));
    Ok(Some(AuditFilter { user, event, since }))
}

/// Sends the records that the filter lets through as NDJSON, a record a line, as the API has them.
pub async fn export_audit(app: App, Submitted { caller, form, .. }: Submitted<Admin>) -> Result<Response, Problem> {
    let field = |name: &str| Form::get(&form, name).to_owned();
    let query = AuditQuery { user: field("user"), event: field("event"), days: field("days"), after: String::new() };
    let filter = filter(&app, &query).await?.ok_or(Error::NotFound)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"audit.ndjson\"")),
    ];
    Ok((headers, Body::from_stream(records(app, caller.grant(), filter))).into_response())
}

/// Streams the records, as the client reads. If the [`Grant`] is no longer valid, the connection is aborted.
fn records(app: App, grant: Grant, filter: AuditFilter) -> impl Stream<Item = Result<Bytes, Error>> {
    stream::try_unfold((app, filter, Some(None::<i64>)), move |(app, filter, after)| async move {
        let Some(after) = after else { return Ok(None) };
        app.auth().recheck(grant).await?;
        let (rows, next) = app.auth().audit(&filter, after, EXPORT_LIMIT).await?;
        let mut lines = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut lines, &AuditView::from(row)).map_err(|error| Error::Internal(error.into()))?;
            lines.push(b'\n');
        }
        Ok(Some((Bytes::from(lines), (app, filter, next.map(Some)))))
    })
}
