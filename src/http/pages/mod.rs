//! Pages for people: what a one-time link opens, and what went wrong.
//!
//! Rule: every value is text (templates escape it), nothing is inline, nothing comes from elsewhere, and each page works
//! without scripts. Links between pages and files are relative, so that a proxy may put the service below a path. Threats:
//! a name that is markup, and a page of another site that shows ours in a frame.

mod account;
mod assets;
mod console;
mod frame;
mod home;
mod link;
mod return_to;
mod sentences;
mod setup;
mod signin;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use self::assets::Logo;
pub use self::return_to::ReturnTo;
use crate::error::{Error, StartError};
use crate::http::App;
use crate::http::problem::{Kind, Problem};

/// Nothing but files of this service, no frame around it, and forms to nowhere else.
const PAGE_CSP: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                        form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The paths below which people, not programs, read what went wrong.
const FOLDERS: [&str; 3] = ["/link/", "/account/", "/admin/console/"];
/// The pages that are no folders.
const PAGES: [&str; 8] = ["/", "/signin", "/signout", "/signup", "/forgot", "/setup", "/account", "/admin"];

macro_rules! templates {
    ($($name:literal)*) => {
        const TEMPLATES: &[(&str, &str)] = &[$(($name, include_str!(concat!("templates/", $name)))),*];
    };
}

templates! {
    "account.html"
    "base.html"
    "choose_password.html"
    "confirm_address.html"
    "console/audit.html"
    "console/frame.html"
    "console/health.html"
    "console/import.html"
    "console/keys.html"
    "console/overview.html"
    "console/roles.html"
    "console/settings.html"
    "console/tokens.html"
    "console/user.html"
    "console/user_new.html"
    "console/users.html"
    "forgot.html"
    "home.html"
    "link_used.html"
    "parts.html"
    "problem.html"
    "setup.html"
    "signin.html"
    "signout.html"
    "signup.html"
}

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
        templates.set_undefined_behavior(UndefinedBehavior::SemiStrict);
        templates.add_filter("device", device);
        templates.add_filter("time", time);
        templates.add_filter("number", number);
        for (name, text) in TEMPLATES {
            #[expect(clippy::expect_used, reason = "the templates are part of the program, and a test compiles each")]
            templates.add_template(name, text).expect("a template compiles");
        }
        templates.add_global("service", service);
        templates.add_global("has_logo", logo.is_some());
        templates.add_global("version", assets::version());
        Self(Arc::new(Inner { templates, logo }))
    }

    /// Whether this is a path for people.
    pub fn has(path: &str) -> bool {
        PAGES.contains(&path) || FOLDERS.iter().any(|begin| path.starts_with(begin))
    }

    /// How relative links on the page with this path get to the root of the service.
    fn root(path: &str) -> String {
        match path.matches('/').count() {
            0 | 1 => "./".to_owned(),
            depth => "../".repeat(depth - 1),
        }
    }

    /// Renders a page. `root` is how its links get to the root of the service.
    fn page(&self, root: &str, status: StatusCode, template: &str, values: Value) -> Result<Response, Problem> {
        let render = || {
            self.0
                .templates
                .get_template(template)?
                .render(context! { root => Value::from_safe_string(root.to_owned()), ..values })
        };
        let html = render().map_err(|error| Error::Internal(error.into()))?;
        let mut response = (status, Html(html)).into_response();
        set_policy(response.headers_mut());
        Ok(response)
    }

    /// Renders what went wrong with the page of this path. Returns the body and sets the headers.
    pub(super) fn problem(&self, path: &str, problem: &Problem, request_id: &str, headers: &mut HeaderMap) -> Body {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        set_policy(headers);
        problem.set_retry_after(headers);
        let about = for_people(problem.kind).unwrap_or_else(|| problem.detail());
        let root = Self::root(path);
        let errors: Vec<_> =
            problem.errors().iter().map(|error| format!("{} {}", error.field, error.message)).collect();
        let root = Value::from_safe_string(root);
        let values = context! { root, title => problem.kind.title, about, errors, request_id, reader => () };
        let render = || self.0.templates.get_template("problem.html")?.render(values);
        render().unwrap_or_else(|_| problem.kind.title.to_owned()).into()
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self::of("Countersign", None)
    }
}

/// Every page.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(home::show_home))
        .route("/signin", get(signin::show_sign_in).post(signin::sign_in))
        .route("/signout", get(signin::show_sign_out).post(signin::sign_out))
        .route("/signup", get(signin::show_sign_up).post(signin::sign_up))
        .route("/forgot", get(signin::show_forgot).post(signin::forgot))
        .route("/setup", get(setup::show_setup).post(setup::set_up))
        .route("/link/{token}", get(link::show_link).post(link::use_link))
        .route("/account", get(account::show_account))
        .route("/account/{action}", get(account::go_to_account).post(account::act))
        .merge(console::routes())
        .route("/assets/{file}", get(assets::get_asset))
}

/// Lets the answer to a form of this page lead to another origin.
fn allow_form_action(headers: &mut HeaderMap, origin: &str) {
    let policy = PAGE_CSP.replace("form-action 'self'", &format!("form-action 'self' {origin}"));
    headers
        .insert(CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(PAGE_CSP)));
}

/// What a person can do about a problem whose own text is for those who write programs.
fn for_people(kind: &Kind) -> Option<&'static str> {
    Some(match kind.code {
        "insufficient-scope" => {
            "Your account may not open this page. An administrator can give you the role that it takes."
        }
        "foreign-page" => {
            "This form did not come from a page of this service, or from one that was opened before you signed in. Open \
             the page again."
        }
        "not-found" => "There is nothing here. What this page was about may have been deleted meanwhile.",
        "method-not-allowed" | "malformed-request" | "unsupported-media-type" => {
            "Open this page by a link or its form."
        }
        "too-many-attempts" => "Too much was tried from your network just now. Wait a moment, then try again.",
        "invalid-token" => "This token is not valid any more. Open the page again to see what can be done.",
        "precondition-failed" => "Somebody else has changed this meanwhile. Go back, and look at it again.",
        _ => return None,
    })
}

/// A time as people read it, with the exact one beside it for scripts, which show it in the reader's zone.
fn time(at: &str) -> Value {
    let is_time = at.len() >= 16 && at.bytes().all(|byte| byte.is_ascii_digit() || b"-+:.TZ".contains(&byte));
    match (is_time, at.get(..10), at.get(11..16)) {
        (true, Some(day), Some(minute)) => {
            Value::from_safe_string(format!("<time datetime=\"{at}\" title=\"{at}\">{day} {minute} UTC</time>"))
        }
        _ => Value::from(at),
    }
}

/// What device a `User-Agent` is, as people say it: a browser and a system, or else how it calls itself.
fn device(agent: Option<&str>) -> String {
    const BROWSERS: [(&str, &str); 7] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    const SYSTEMS: [(&str, &str); 7] = [
        ("iPhone", "an iPhone"),
        ("iPad", "an iPad"),
        ("Android", "Android"),
        ("CrOS", "a Chromebook"),
        ("Windows", "Windows"),
        ("Mac OS X", "a Mac"),
        ("Linux", "Linux"),
    ];
    let Some(agent) = agent else { return "A program that did not say what it is".to_owned() };
    let find =
        |known: &[(&str, &'static str); 7]| known.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name);
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        _ => agent.chars().take(100).collect(),
    }
}

/// A number with commas between thousands.
fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
        let (root, errors) = ("./", Vec::<String>::new());
        let values = context! { root, title => "<script>", about => "'\"><img src=x>", errors, request_id => "1" };
        let html = pages.0.templates.get_template("problem.html").unwrap().render(values).unwrap();
        assert!(!html.contains("<b>") && !html.contains("<script>") && !html.contains("<img src=x"), "{html}");
        assert!(html.contains("&lt;b&gt;Acme&lt;"), "{html}");
    }

    #[test]
    fn a_device_is_called_what_people_call_it() {
        for (agent, name) in [
            (Some("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"), "Firefox on Linux"),
            (
                Some(
                    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/146.0.0.0 \
                     Safari/537.36 Edg/146.0.0.0",
                ),
                "Edge on Windows",
            ),
            (
                Some(
                    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 Version/19.1 Safari/604.1",
                ),
                "Safari on an iPhone",
            ),
            (Some("curl/8.5.0"), "curl/8.5.0"),
            (None, "A program that did not say what it is"),
        ] {
            assert_eq!(device(agent), name);
        }
    }

    #[test]
    fn every_template_renders_without_inline_code() {
        for (name, text) in TEMPLATES {
            let is_handler = |word: &str| word.starts_with("on") && word.contains('=');
            let has_inline_code = text.split_whitespace().any(|word| is_handler(word) || word.starts_with("style="));
            assert!(!has_inline_code && !text.contains("<style"), "{name}");
            let scripts = text.matches("<script").count();
            assert_eq!(scripts, text.matches("<script src=\"{{ root }}assets/").count(), "{name}");
        }
    }
}
