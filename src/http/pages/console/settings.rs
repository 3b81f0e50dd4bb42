//! `/admin/console/settings` and `/admin/console/health`: what the service was told, and what `countersign doctor` finds.

use axum::response::Response;
use minijinja::{Value, context};

use crate::auth::{Finding, Verdict};
use crate::http::App;
use crate::http::extract::Admin;
use crate::http::pages::frame::SignedIn;
use crate::http::problem::Problem;

/// Shows the settings as they are in force. Of a secret it shows whether there is one.
pub async fn show_settings(app: App, SignedIn { frame, .. }: SignedIn<Admin>) -> Result<Response, Problem> {
    let settings = app.settings().iter().map(|setting| {
        context! {
            heading => setting.heading.as_str(),
            variable => setting.variable.as_str(),
            about => setting.about.as_str(),
            value => setting.value.as_deref(),
            is_secret => setting.is_secret,
            is_default => setting.is_default,
        }
    });
    let values = context! { title => "Settings", settings => settings.collect::<Vec<_>>() };
    frame.show("console/settings.html", values)
}

/// Shows what the checks of `countersign doctor` find now.
pub async fn show_health(app: App, SignedIn { frame, .. }: SignedIn<Admin>) -> Result<Response, Problem> {
    let found = app.auth().examine().await;
    let findings: Vec<&Finding> = app.findings().iter().chain(&found).collect();
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let rows = findings.iter().map(|finding| {
        context! {
            check => finding.check,
            result => finding.verdict.as_str(),
            found => finding.found.as_str(),
            mend => finding.mend.as_deref(),
        }
    });
    let values = context! {
        title => "Health",
        findings => rows.collect::<Vec<Value>>(),
        failed => count(Verdict::Failed),
        warnings => count(Verdict::Warning),
    };
    frame.show("console/health.html", values)
}
