//! Pages for people: signing in, the account, and the console. Stories in Chromium are in the `.mjs` files.

mod account;
mod console;
mod forms;
mod links;
mod sign_in;
pub mod stories;
mod verify;

use reqwest::header::{COOKIE, HeaderValue, SET_COOKIE};
use reqwest::{Method, RequestBuilder};

use crate::support::{Answer, App, PASSWORD};

/// A browser: it keeps the cookie, and says where its forms are from.
pub struct Browser<'a> {
    app: &'a App,
    pub cookie: Option<String>,
}

impl<'a> Browser<'a> {
    /// A browser in which nobody is signed in.
    pub fn new(app: &'a App) -> Self {
        Self { app, cookie: None }
    }

    /// A browser in which this user has signed in.
    pub async fn of(app: &'a App, username: &str) -> Self {
        let mut browser = Self::new(app);
        browser.sign_in(username, PASSWORD).await.expect(303);
        assert!(browser.cookie.is_some());
        browser
    }

    pub async fn sign_in(&mut self, username: &str, password: &str) -> Answer {
        self.post("/signin", &[("username", username), ("password", password)]).await
    }

    /// A request with the cookie.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.app.anon().request(method, path);
        match &self.cookie {
            Some(cookie) => request.header(COOKIE, HeaderValue::from_str(cookie).unwrap()),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// Sends fields as a form of a page of the service does, and keeps the cookie of the answer.
    pub async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let answer = Answer::of(self.request(Method::POST, path).header("origin", &self.app.url).form(fields)).await;
        if let Some(set) = answer.headers.get(SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
        answer
    }

    /// Sends a form that has the token which this page has.
    pub async fn submit(&mut self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = form_token(&self.get(page).await.expect(200));
        let fields: Vec<_> = fields.iter().copied().chain([("form_token", token.as_str())]).collect();
        self.post(path, &fields).await
    }
}

/// The token of the forms of a page.
#[track_caller]
pub fn form_token(page: &Answer) -> String {
    let (_, rest) = page.text.split_once("name=\"form_token\" value=\"").expect("a page with a form");
    rest.split('"').next().unwrap().to_owned()
}

/// Asserts what every page has.
#[track_caller]
pub fn assert_page(answer: &Answer) {
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{answer:?}");
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.challenges().is_empty());
    assert!(!answer.text.contains("<script>") && !answer.text.contains(" style="), "{}", answer.text);
}
