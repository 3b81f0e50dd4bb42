//! `/admin`: how the service is doing.

use axum::response::Response;
use minijinja::value::Serde;
use minijinja::{Value, context};

use crate::auth::{Hour, KeyState};
use crate::error::Error;
use crate::http::App;
use crate::http::extract::{Admin, Query};
use crate::http::pages::console::{SaidQuery, said};
use crate::http::pages::frame::{SignedIn, Submitted};
use crate::http::problem::Problem;
use crate::http::views::BlockList;

/// The size of the chart, in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 160.0;

/// Shows the figures, the chart and the blocks.
pub async fn show_overview(
    app: App,
    SignedIn { frame, .. }: SignedIn<Admin>,
    Query(query): Query<SaidQuery>,
) -> Result<Response, Problem> {
    let statistics = app.auth().statistics().await?;
    let keys = app.auth().signing_keys().await?;
    let signing = keys.iter().find(|key| key.state == KeyState::Signing);
    let values = context! {
        title => "Overview",
        said => said(&query.said),
        active_users => statistics.active_users,
        disabled_users => statistics.disabled_users,
        sessions => statistics.sessions,
        tokens => statistics.tokens,
        waiting => app.auth().waiting_passwords(),
        key_since => signing.map(|key| key.signs_from.to_string()),
        blocks => Serde(BlockList::from(app.auth().blocks().await?)),
        database => app.auth().places().database.as_str(),
        release => env!("CARGO_PKG_VERSION"),
        chart => chart(&statistics.hours),
    };
    frame.show("console/overview.html", values)
}

/// Lifts a block.
pub async fn lift_block(app: App, Submitted { caller, frame, form }: Submitted<Admin>) -> Result<Response, Problem> {
    let Ok(id) = form.get("id").parse() else { return Ok(frame.go("admin?said=gone")) };
    match app.auth().lift_block(caller.actor(), id).await {
        Ok(()) => Ok(frame.go("admin?said=block-lifted")),
        Err(Error::NotFound) => Ok(frame.go("admin?said=gone")),
        Err(error) => Err(error.into()),
    }
}

/// The bars of the chart: one for each hour, with its logins below and its refusals on top.
fn chart(hours: &[Hour]) -> Value {
    let refused = |hour: &Hour| hour.failed.saturating_add(hour.limited);
    let highest = hours.iter().map(|hour| hour.succeeded.saturating_add(refused(hour))).max().unwrap_or(0).max(1);
    let step = WIDTH / hours.len().max(1) as f64;
    let scale = |number: u64| (number as f64 / highest as f64 * HEIGHT * 10.0).round() / 10.0;
    let bars = hours.iter().enumerate().map(|(i, hour)| {
        let (good, bad) = (scale(hour.succeeded), scale(refused(hour)));
        context! {
            at => hour.at.to_string(),
            succeeded => hour.succeeded,
            refused => refused(hour),
            x => (step * i as f64 * 10.0).round() / 10.0,
            width => (step * 8.0).round() / 10.0,
            good_y => HEIGHT - good,
            good_height => good,
            bad_y => HEIGHT - good - bad,
            bad_height => bad,
        }
    });
    let sum = |number: fn(&Hour) -> u64| hours.iter().map(number).fold(0_u64, u64::saturating_add);
    context! {
        width => WIDTH as u32,
        height => HEIGHT as u32,
        highest,
        bars => bars.collect::<Vec<_>>(),
        succeeded => sum(|hour| hour.succeeded),
        failed => sum(|hour| hour.failed),
        limited => sum(|hour| hour.limited),
    }
}
