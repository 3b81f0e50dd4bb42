//! `/admin/console/settings` and `/admin/console/health`: what the service was told, and what `countersign doctor` finds.

use axum::response::Response;
use minijinja::{Value, context};

use crate::auth::{Finding, Verdict};
use crate::http::App;
use crate::http::extract::Admin;
use crate::http::pages::frame::{SignedIn, Submitted};
use crate::http::problem::Problem;

/// Shows the settings as they are in force. Of a secret it shows whether there is one.
pub async fn show_settings(app: App, SignedIn { frame, .. }: SignedIn<Admin>) -> Result<Response, Problem> {
    // They come subject by subject.
    let settings = app.settings();
    let subjects = settings.chunk_by(|one, next| one.heading == next.heading).map(|subject| {
        let rows = subject.iter().map(|setting| {
            context! {
                variable => setting.variable.as_str(),
                about => setting.about.as_str(),
                value => setting.value.as_deref(),
                is_secret => setting.is_secret,
                is_default => setting.is_default,
            }
        });
        let heading = subject.first().map(|setting| setting.heading.as_str());
        context! { heading, rows => rows.collect::<Vec<_>>() }
    });
    frame.show("console/settings.html", context! { title => "Settings", subjects => subjects.collect::<Vec<_>>() })
}

/// Shows what the checks of `countersign doctor` found when they last ran here.
pub async fn show_health(app: App, SignedIn { frame, .. }: SignedIn<Admin>) -> Result<Response, Problem> {
    let examination = app.auth().examination();
    let findings: Vec<&Finding> = app.findings().iter().chain(&examination.findings).collect();
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
        is_running => examination.is_running,
        ended_at => examination.ended_at.map(|at| at.to_string()),
        findings => rows.collect::<Vec<Value>>(),
        failed => count(Verdict::Failed),
        warnings => count(Verdict::Warning),
    };
    frame.show("console/health.html", values)
}

/// Begins the checks.
pub async fn begin_checks(app: App, Submitted { frame, .. }: Submitted<Admin>) -> Response {
    app.auth().begin_examination();
    frame.go("admin/console/health")
}
