//! A model of the service: random histories of logins, checks, revocations, changes of users and restarts, on two servers of one
//! database. After each step every credential is shown to both. A credential is never accepted after its end and never
//! refused while it lives, and the answer has the roles that its user has now.

use std::env;
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestCaseError, TestRunner};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, App, Database, basic, bearer, claims_of};

const NAMES: [&str; 3] = ["mara", "sergio", "zoe"];
const NODES: usize = 2;
// No two of them are whole multiples of STEP apart, so that nothing ends at the moment of a check.
const JWT_TTL: u64 = 15;
const IDLE_TTL: u64 = 40;
const TOKEN_TTL: u64 = 200;
const PERSONAL_TTL: u64 = 90;
/// The clock goes on by multiples of these minutes.
const STEP: u64 = 7;

/// Where a personal token is made.
#[derive(Clone, Debug)]
enum Maker {
    Password(Index),
    Session(Index),
    Token(Index),
}

/// A step. An index chooses among the users, sessions or tokens that there are.
#[derive(Clone, Debug)]
enum Step {
    Login {
        user: Index,
        is_right: bool,
    },
    Refresh {
        session: Index,
        rotate: bool,
    },
    /// An exchanged token is shown again.
    Reuse {
        session: Index,
    },
    Logout {
        session: Index,
        by_jwt: bool,
    },
    EndSession(Index),
    EndSessions(Index),
    MakeToken(Maker),
    RevokeToken(Index),
    SetPassword(Index),
    SetActive(Index, bool),
    SetAdmin(Index, bool),
    Delete(Index),
    Create(Index),
    RotateKeys,
    Advance(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let maker = prop_oneof![
        index().prop_map(Maker::Password),
        index().prop_map(Maker::Session),
        index().prop_map(Maker::Token),
    ];
    prop_oneof![
        5 => (index(), prop::bool::weighted(0.9)).prop_map(|(user, is_right)| Step::Login { user, is_right }),
        3 => (index(), any::<bool>()).prop_map(|(session, rotate)| Step::Refresh { session, rotate }),
        1 => index().prop_map(|session| Step::Reuse { session }),
        2 => (index(), any::<bool>()).prop_map(|(session, by_jwt)| Step::Logout { session, by_jwt }),
        1 => index().prop_map(Step::EndSession),
        1 => index().prop_map(Step::EndSessions),
        4 => maker.prop_map(Step::MakeToken),
        1 => index().prop_map(Step::RevokeToken),
        1 => index().prop_map(Step::SetPassword),
        2 => (index(), any::<bool>()).prop_map(|(user, active)| Step::SetActive(user, active)),
        2 => (index(), any::<bool>()).prop_map(|(user, admin)| Step::SetAdmin(user, admin)),
        1 => index().prop_map(Step::Delete),
        1 => index().prop_map(Step::Create),
        1 => Just(Step::RotateKeys),
        3 => (1..8_u64).prop_map(|steps| Step::Advance(steps * STEP)),
        1 => Just(Step::Restart),
    ]
}

struct User {
    id: String,
    password: String,
    is_active: bool,
    is_admin: bool,
}

struct Session {
    user: usize,
    id: String,
    /// The newest is the one that is good; the others were exchanged.
    opaque: Vec<String>,
    /// With the minute of their end.
    jwts: Vec<(String, u64)>,
    ends: u64,
    seen: u64,
    is_ended: bool,
}

struct Token {
    user: usize,
    id: String,
    text: String,
    /// The session in which it was made, or in which the token was made that made it.
    made_in: Option<usize>,
    /// The token that made it, with which it is revoked.
    parent: Option<usize>,
    ends: u64,
    is_ended: bool,
}

impl Session {
    fn lives_at(&self, now: u64) -> bool {
        !self.is_ended && now < self.ends && now < self.seen + IDLE_TTL
    }
}

impl Token {
    fn lives_at(&self, now: u64) -> bool {
        !self.is_ended && now < self.ends
    }
}

/// Two servers, and what they should know. Times are minutes since the start.
struct Model {
    nodes: Vec<App>,
    now: u64,
    users: [Option<User>; 3],
    sessions: Vec<Session>,
    tokens: Vec<Token>,
    passwords: usize,
}

/// The element that an index chooses, if there is any.
fn chosen<T>(index: Index, of: &[T]) -> Option<usize> {
    (!of.is_empty()).then(|| index.index(of.len()))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

impl Model {
    async fn new() -> Self {
        let minutes = |minutes: u64| format!("{minutes}m");
        let (jwt, idle, token) = (minutes(JWT_TTL), minutes(IDLE_TTL), minutes(TOKEN_TTL));
        let flags = [
            "--jwt-ttl",
            &jwt,
            "--idle-ttl",
            &idle,
            "--token-ttl",
            &token,
            "--limit-burst",
            "off",
            "--public-url",
            "http://one",
        ];
        let first = App::start_with(&flags).await;
        let second = App::on(Database::clone(&first.database), &flags).await;
        let mut model = Self {
            nodes: vec![first, second],
            now: 0,
            users: [None, None, None],
            sessions: Vec::new(),
            tokens: Vec::new(),
            passwords: 0,
        };
        for user in 0..NAMES.len() {
            model.create(user, 0).await;
        }
        model
    }

    fn new_password(&mut self) -> String {
        self.passwords += 1;
        format!("password-number-{}", self.passwords)
    }

    async fn create(&mut self, user: usize, node: usize) {
        let password = self.new_password();
        let body = json!({"username": NAMES[user], "password": password, "roles": ["user"]});
        let answer = self.nodes[node].admin().post("/admin/users", &body).await.expect(201);
        self.users[user] = Some(User { id: text(&answer.json()["id"]), password, is_active: true, is_admin: false });
    }

    /// Every credential of a user ends, but the password.
    fn end_all(&mut self, user: usize) {
        self.end_sessions(user);
        self.tokens.iter_mut().filter(|token| token.user == user).for_each(|token| token.is_ended = true);
    }

    fn end_sessions(&mut self, user: usize) {
        self.sessions.iter_mut().filter(|session| session.user == user).for_each(|session| session.is_ended = true);
    }

    fn path(&self, user: usize) -> Option<String> {
        self.users[user].as_ref().map(|user| format!("/admin/users/{}", user.id))
    }

    /// The end of a JWT that is issued now.
    fn jwt_end(&self, session_ends: u64) -> u64 {
        (self.now + JWT_TTL).min(self.now + IDLE_TTL).min(session_ends)
    }

    /// Takes a step on a node. What the answer should be is asserted here.
    async fn take(&mut self, step: &Step, node: usize) {
        let now = self.now;
        match step {
            Step::Login { user, is_right } => {
                let slot = user.index(NAMES.len());
                let user = self.users[slot].as_ref();
                let password = user.map_or("no-such-password", |user| &user.password);
                let password = if *is_right { password } else { "a-wrong-password" };
                let body = json!({"username": NAMES[slot], "password": password});
                let answer = self.nodes[node].anon().post("/login", &body).await;
                if !(*is_right && user.is_some_and(|user| user.is_active)) {
                    answer.expect(401);
                    return;
                }
                let login = answer.expect(200).json();
                let jwt = text(&login["token"]);
                let ends = now + TOKEN_TTL;
                self.sessions.push(Session {
                    user: slot,
                    id: text(&claims_of(&jwt)["sid"]),
                    opaque: vec![bearer(&text(&login["opaque_token"]))],
                    jwts: vec![(bearer(&jwt), self.jwt_end(ends))],
                    ends,
                    seen: now,
                    is_ended: false,
                });
            }
            Step::Refresh { session, rotate } => {
                let Some(i) = chosen(*session, &self.sessions) else { return };
                let session = &self.sessions[i];
                let path = format!("/refresh?rotate={rotate}");
                let answer = self.nodes[node].with(&session.opaque[session.opaque.len() - 1]);
                let answer = answer.send(Method::POST, &path).await;
                if !session.lives_at(now) {
                    answer.expect(401);
                    return;
                }
                let refreshed = answer.expect(200).json();
                let ends = self.jwt_end(session.ends);
                let session = &mut self.sessions[i];
                session.seen = now;
                session.jwts.push((bearer(&text(&refreshed["token"])), ends));
                if *rotate {
                    session.opaque.push(bearer(&text(&refreshed["opaque_token"])));
                }
            }
            Step::Reuse { session } => {
                let Some(i) = chosen(*session, &self.sessions) else { return };
                let [.., exchanged, _] = self.sessions[i].opaque.as_slice() else { return };
                if self.sessions[i].lives_at(now) {
                    self.nodes[node].with(exchanged).get("/me").await.expect(401);
                    self.sessions[i].is_ended = true;
                    let made = self.tokens.iter_mut().filter(|token| token.made_in == Some(i));
                    made.for_each(|token| token.is_ended = true);
                }
            }
            Step::Logout { session, by_jwt } => {
                let Some(i) = chosen(*session, &self.sessions) else { return };
                let session = &self.sessions[i];
                let (jwt, ends) = &session.jwts[session.jwts.len() - 1];
                let is_good = session.lives_at(now) && (!by_jwt || now < *ends);
                let credential = if *by_jwt { jwt } else { &session.opaque[session.opaque.len() - 1] };
                let answer = self.nodes[node].with(credential).send(Method::POST, "/logout").await;
                answer.expect(if is_good { 204 } else { 401 });
                self.sessions[i].is_ended |= is_good;
            }
            Step::EndSession(session) => {
                let Some(i) = chosen(*session, &self.sessions) else { return };
                let path = format!("/admin/sessions/{}", self.sessions[i].id);
                self.nodes[node].admin().send(Method::DELETE, &path).await;
                self.sessions[i].is_ended = true;
            }
            Step::EndSessions(user) => {
                let user = user.index(NAMES.len());
                let Some(path) = self.path(user) else { return };
                self.nodes[node].admin().send(Method::DELETE, &format!("{path}/sessions")).await.expect(204);
                self.end_sessions(user);
            }
            Step::MakeToken(maker) => self.make_token(maker, node).await,
            Step::RevokeToken(token) => {
                let Some(i) = chosen(*token, &self.tokens) else { return };
                let path = format!("/admin/tokens/{}", self.tokens[i].id);
                self.nodes[node].admin().send(Method::DELETE, &path).await;
                // Its children were made after it.
                self.tokens[i].is_ended = true;
                for child in i + 1..self.tokens.len() {
                    let parent = self.tokens[child].parent;
                    self.tokens[child].is_ended |=
                        parent.is_some_and(|parent| parent >= i && self.tokens[parent].is_ended);
                }
            }
            Step::SetPassword(user) => {
                let user = user.index(NAMES.len());
                let Some(path) = self.path(user) else { return };
                let password = self.new_password();
                let admin = self.nodes[node].admin();
                let request = admin.request(Method::PUT, &format!("{path}/password"));
                Answer::of(request.json(&json!({"password": password}))).await.expect(204);
                self.end_all(user);
                self.users[user].iter_mut().for_each(|user| user.password.clone_from(&password));
            }
            Step::SetActive(user, is_active) => {
                let user = user.index(NAMES.len());
                let Some(path) = self.path(user) else { return };
                let body = json!({"status": if *is_active { "active" } else { "disabled" }});
                self.nodes[node].admin().patch(&path, &body).await.expect(200);
                self.users[user].iter_mut().for_each(|user| user.is_active = *is_active);
                if !is_active {
                    self.end_all(user);
                }
            }
            Step::SetAdmin(user, is_admin) => {
                let user = user.index(NAMES.len());
                let Some(path) = self.path(user) else { return };
                let roles: &[&str] = if *is_admin { &["admin", "user"] } else { &["user"] };
                self.nodes[node].admin().patch(&path, &json!({"roles": roles})).await.expect(200);
                self.users[user].iter_mut().for_each(|user| user.is_admin = *is_admin);
            }
            Step::Delete(user) => {
                let user = user.index(NAMES.len());
                let Some(path) = self.path(user) else { return };
                self.nodes[node].admin().send(Method::DELETE, &path).await.expect(204);
                self.end_all(user);
                self.users[user] = None;
            }
            Step::Create(user) => {
                let user = user.index(NAMES.len());
                if self.users[user].is_none() {
                    self.create(user, node).await;
                }
            }
            Step::RotateKeys => {
                // Refused while the last new key waits to sign.
                let answer = self.nodes[node].admin().send(Method::POST, "/admin/keys/rotate").await;
                assert!(!answer.status.is_server_error(), "{}", answer.status);
            }
            Step::Advance(minutes) => {
                self.now += minutes;
                for node in &self.nodes {
                    node.advance_clock(Duration::from_secs(minutes * 60));
                    // What maintenance does meanwhile.
                    let auth = node.service.auth();
                    auth.refresh_keys().await.unwrap();
                    auth.rotate_keys_when_due().await.unwrap();
                    auth.write_activity().await.unwrap();
                    auth.delete_expired().await.unwrap();
                }
            }
            Step::Restart => {
                let restarted = self.nodes.remove(node).restarted().await;
                self.nodes.insert(node, restarted);
            }
        }
    }

    async fn make_token(&mut self, maker: &Maker, node: usize) {
        let now = self.now;
        // A token does not outlive the token that made it.
        let (credential, user, made_in, lives, ends) = match maker {
            Maker::Password(user) => {
                let slot = user.index(NAMES.len());
                let Some(user) = &self.users[slot] else { return };
                (basic(NAMES[slot], &user.password), slot, None, user.is_active, u64::MAX)
            }
            Maker::Session(session) => {
                let Some(i) = chosen(*session, &self.sessions) else { return };
                let session = &self.sessions[i];
                (
                    session.opaque[session.opaque.len() - 1].clone(),
                    session.user,
                    Some(i),
                    session.lives_at(now),
                    u64::MAX,
                )
            }
            Maker::Token(token) => {
                let Some(i) = chosen(*token, &self.tokens) else { return };
                let token = &self.tokens[i];
                (token.text.clone(), token.user, token.made_in, token.lives_at(now), token.ends)
            }
        };
        let body = json!({"name": "a", "scopes": ["profile", "tokens"], "expires_in": PERSONAL_TTL * 60});
        let answer = self.nodes[node].with(&credential).post("/me/tokens", &body).await;
        if !lives {
            answer.expect(401);
            return;
        }
        if let Maker::Session(_) = maker
            && let Some(i) = made_in
        {
            self.sessions[i].seen = now;
        }
        let made = answer.expect(201).json();
        let (id, text) = (text(&made["id"]), bearer(&text(&made["token"])));
        let parent = if let Maker::Token(token) = maker { chosen(*token, &self.tokens) } else { None };
        self.tokens.push(Token {
            user,
            id,
            text,
            made_in,
            parent,
            ends: ends.min(now + PERSONAL_TTL),
            is_ended: false,
        });
    }

    /// Shows every credential to a node: those of the model that live are accepted, the others are refused.
    async fn check(&mut self, node: usize) -> Result<(), TestCaseError> {
        let now = self.now;
        let mut shown = Vec::new();
        for (i, session) in self.sessions.iter().enumerate() {
            let lives = session.lives_at(now);
            if let Some(opaque) = session.opaque.last() {
                shown.push((format!("opaque token of session {i}"), opaque.clone(), session.user, lives));
            }
            for (jwt, ends) in &session.jwts {
                shown.push((format!("JWT of session {i}"), jwt.clone(), session.user, lives && now < *ends));
            }
        }
        for (i, token) in self.tokens.iter().enumerate() {
            shown.push((format!("personal token {i}"), token.text.clone(), token.user, token.lives_at(now)));
        }
        for (slot, user) in self.users.iter().enumerate() {
            let (password, is_active) = user.as_ref().map_or(("none", false), |user| (&user.password, user.is_active));
            shown.push((format!("password of {}", NAMES[slot]), basic(NAMES[slot], password), slot, is_active));
        }
        for (what, credential, user, lives) in shown {
            let answer = self.nodes[node].with(&credential).get("/me").await;
            let expected = if lives { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            prop_assert_eq!(answer.status, expected, "{} on node {} at {}", what, node, now);
            if let (true, Some(user)) = (lives, &self.users[user]) {
                let me = answer.json();
                let roles = if user.is_admin { json!(["admin", "user"]) } else { json!(["user"]) };
                prop_assert_eq!((&me["user"]["id"], &me["user"]["roles"]), (&json!(user.id), &roles), "{}", what);
            }
        }
        for session in self.sessions.iter_mut().filter(|session| session.lives_at(now)) {
            session.seen = now;
        }
        Ok(())
    }

    async fn run(steps: Vec<(Step, usize)>) -> Result<(), TestCaseError> {
        let mut model = Self::new().await;
        for (step, node) in steps {
            model.take(&step, node).await;
            // The server that wrote knows at once; the other one looks for changes a hundred times a second.
            model.check(node).await?;
            model.nodes[0].database.poll_other_writers().await;
            model.check(1 - node).await?;
        }
        Ok(())
    }
}

#[test]
fn no_history_on_two_servers_makes_a_credential_outlive_its_end_or_end_before_it() {
    // `COUNTERSIGN_TEST_HISTORIES` asks for more.
    let cases = env::var("COUNTERSIGN_TEST_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(8);
    let config =
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let histories = prop::collection::vec((step(), 0..NODES), 1..25);
    let held = TestRunner::new(config).run(&histories, |steps| runtime.block_on(Model::run(steps)));
    held.unwrap_or_else(|error| panic!("{error}"));
}
