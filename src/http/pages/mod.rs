//! Pages for people: what a one-time link opens, and what went wrong.
//!
//! Rule: every value is text (templates escape it), nothing is inline, nothing comes from elsewhere, and each page works
//! without scripts. Links between pages and files are relative, so that a proxy may put the service below a path. Threats:
//! a name that is markup, and a page of another site that shows ours in a frame.

mod assets;
pub mod link;

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use minijinja::{Environment, UndefinedBehavior, Value, context};

use self::assets::Logo;
pub use self::assets::get_asset;
use crate::error::{Error, StartError};
use crate::http::problem::Problem;

/// Nothing but files of this service, no frame around it, and forms to nowhere else.
const PAGE_CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; \
                        base-uri 'none'; frame-ancestors 'none'";
/// The paths below which people, not programs, read what went wrong.
const PATHS: [&str; 1] = ["/link/"];

const TEMPLATES: [(&str, &str); 5] = [
    ("base.html", include_str!("templates/base.html")),
    ("choose_password.html", include_str!("templates/choose_password.html")),
    ("confirm_address.html", include_str!("templates/confirm_address.html")),
    ("link_used.html", include_str!("templates/link_used.html")),
    ("problem.html", include_str!("templates/problem.html")),
];

/// The pages, in the name of whoever runs the service.
#[derive(Clone)]
pub struct Pages(Arc<Inner>);

struct Inner {
    templates: Environment<'static>,
    logo: Option<Logo>,
}

impl Pages {
    /// The pages of a service with this name and logo, a file with a picture.
    pub fn new(service: &str, logo: Option<&Path>) -> Result<Self, StartError> {
        Ok(Self::of(service, logo.map(Logo::read).transpose()?))
    }

    fn of(service: &str, logo: Option<Logo>) -> Self {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, text) in TEMPLATES {
            #[expect(clippy::expect_used, reason = "the templates are part of the program, and a test compiles each")]
            templates.add_template(name, text).expect("a template compiles");
        }
        templates.add_global("service", service);
        templates.add_global("has_logo", logo.is_some());
        Self(Arc::new(Inner { templates, logo }))
    }

    /// Whether this is a path for people.
    pub fn has(path: &str) -> bool {
        PATHS.iter().any(|begin| path.starts_with(begin))
    }

    /// Renders a page.
    fn page(&self, status: StatusCode, template: &str, values: Value) -> Result<Response, Problem> {
        let render = || self.0.templates.get_template(template)?.render(values);
        let html = render().map_err(|error| Error::Internal(error.into()))?;
        let mut response = (status, Html(html)).into_response();
        set_policy(response.headers_mut());
        Ok(response)
    }

    /// Renders what went wrong. Returns the body and sets the headers.
    pub(super) fn problem(&self, problem: &Problem, request_id: &str, headers: &mut HeaderMap) -> Body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        set_policy(headers);
        problem.set_retry_after(headers);
        let values = context! { title => problem.kind.title, about => problem.detail(), request_id };
        let render = || self.0.templates.get_template("problem.html")?.render(values);
        render().unwrap_or_else(|_| problem.kind.title.to_owned()).into()
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self::of("Countersign", None)
    }
}

fn set_policy(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_CSP));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_text_and_not_markup() {
        let pages = Pages::new("<b>Acme</b> & \"Co\"", None).unwrap();
        let values = context! { title => "<script>", about => "'\"><img src=x>", request_id => "1" };
        let html = pages.0.templates.get_template("problem.html").unwrap().render(values).unwrap();
        assert!(!html.contains("<b>") && !html.contains("<script>") && !html.contains("<img src=x"), "{html}");
        assert!(html.contains("&lt;b&gt;Acme&lt;"), "{html}");
    }

    #[test]
    fn every_template_renders_without_inline_code() {
        for (name, text) in TEMPLATES {
            let is_handler = |word: &str| word.starts_with("on") && word.contains('=');
            let has_inline_code = text.split_whitespace().any(|word| is_handler(word) || word.starts_with("style="));
            assert!(!has_inline_code && !text.contains("<style"), "{name}");
            let scripts = text.matches("<script").count();
            assert_eq!(scripts, text.matches("<script src=\"../assets/").count(), "{name}");
        }
    }
}
