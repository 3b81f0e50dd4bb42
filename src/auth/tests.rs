//! The service without HTTP, on a SQLite database of its own and with a clock that the test sets.

use std::sync::atomic::AtomicI64;

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::auth::passwords::formats::hash;
use crate::auth::passwords::hash_pool::Memory;
use crate::auth::passwords::hash_scheme::{Hash, HashScheme};
use crate::config::Cli;
use crate::model::{HashCost, NewUser};

struct Service {
    auth: Auth,
    clock: Arc<AtomicI64>,
    _folder: TempDir,
}

impl Service {
    /// Starts the service with these flags.
    async fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("countersign.db").display());
        let key = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
        let args = ["countersign", "--database-url", &url, "--secret-key", key];
        let cheap = ["--argon2-memory-kib", "8", "--argon2-iterations", "1"];
        let settings = Cli::try_parse_from([&args[..], &cheap, flags].concat()).unwrap().config.settings;
        let clock = Arc::new(AtomicI64::new(1_767_225_600_000));
        let auth = Auth::start(Clock::Manual(Arc::clone(&clock)), settings).await.unwrap();
        Self { auth, clock, _folder: folder }
    }

    fn advance(&self, by: Duration) {
        self.clock.fetch_add(by.as_millis() as i64, std::sync::atomic::Ordering::Relaxed);
    }

    async fn create(&self, username: &str) {
        let roles = vec!["user".to_owned()];
        let new =
            NewUser { username: username.to_owned(), name: None, email: None, roles, must_change_password: false };
        let password = "my-password".into();
        self.auth.create_user(Creator::Operator, new, Password::Given(&password), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_hash_is_given_its_memory_or_its_function_takes_it_and_dear_ones_run_one_by_one() {
    let service = Service::start(&["--import-max-cost", "2"]).await;
    let work = |scheme| {
        let work = service.auth.work(scheme);
        (work.kib, work.memory_kib, work.own_memory_kib, work.is_dear)
    };
    let argon2 = |memory_kib, iterations| Some(HashScheme::ours(HashCost { memory_kib, iterations }));
    assert_eq!(work(None), (8, 8, 0, false), "a new hash");
    assert_eq!(work(argon2(38_912, 2)), (77_824, 38_912, 0, false), "twice what is usual");
    assert_eq!(work(argon2(38_913, 1)), (38_913, 38_913, 0, true), "more memory");
    assert_eq!(work(argon2(38_911, 3)), (116_733, 38_911, 0, true), "more work");
    assert_eq!(work(argon2(1 << 20, 1)), (1 << 20, 1 << 20, 0, true));
    let scrypt = HashScheme::Scrypt { log_n: 12, r: 8, p: 1 };
    assert_eq!(work(Some(scrypt)), (36_864, 0, 4096, false));
    assert_eq!(work(Some(HashScheme::Pbkdf2 { hash: Hash::Sha256, iterations: 1000 })), (700, 0, 4, false));
    assert_eq!(work(Some(HashScheme::Bcrypt { cost: 12, of_sha256: false })), (700_416, 0, 4, true));
    // Of what is usual and what is set, the dearer counts.
    let service = Service::start(&["--import-max-cost", "1", "--argon2-memory-kib", "40000"]).await;
    let is_cheap = |memory_kib, iterations| {
        service.auth.is_cheap_enough_to_import(HashScheme::ours(HashCost { memory_kib, iterations }))
    };
    assert!(is_cheap(40_000, 1) && is_cheap(20_000, 2) && !is_cheap(40_001, 1) && !is_cheap(20_001, 2));
}

#[tokio::test]
async fn records_are_forgotten_once_they_are_older_than_retention_and_counted() {
    let service = Service::start(&["--audit-retention", "30d"]).await;
    let day = Duration::from_secs(24 * 60 * 60);
    // audit.sealed is the first record.
    for name in ["ana", "ben", "cid"] {
        service.create(name).await;
        service.advance(day);
    }
    service.advance(27 * day);
    assert_eq!(service.auth.forget_audit().await.unwrap(), 0, "thirty days old");
    service.advance(Duration::from_millis(1));
    assert_eq!(service.auth.forget_audit().await.unwrap(), 2);
    service.advance(2 * day);
    assert_eq!(service.auth.forget_audit().await.unwrap(), 2);
    let report = service.auth.verify_audit().await.unwrap();
    assert_eq!(report, ChainReport { records: 2, unsealed: 0, broken_at: None }, "the two that say so");
    assert_eq!(service.auth.audit_hash(4).await.unwrap(), None);
    let page = service.auth.audit(&Default::default(), None, 10).await.unwrap().0;
    for row in page {
        assert_eq!(service.auth.audit_hash(row.seq).await.unwrap(), Some(hex::encode(&row.hash)));
    }
    assert_eq!(service.auth.audit_hash(99).await.unwrap(), None);
}

#[tokio::test]
async fn a_password_of_the_longest_length_is_right_however_its_letters_are_composed() {
    let service = Service::start(&[]).await;
    service.create("ana").await;
    let id = service.auth.user_named("ana").await.unwrap().id;
    // One letter with two accents, of two bytes; decomposed it has six.
    let composed = "\u{390}".repeat(512);
    let decomposed = "\u{3b9}\u{308}\u{301}".repeat(512);
    service.auth.set_password(Actor::Operator, id, &composed.clone().into(), false).await.unwrap();
    let origin = crate::model::Origin { address: [192, 0, 2, 7].into(), request_id: Uuid::nil() };
    let attempt = Actor::Unknown { method: crate::model::AuditMethod::Password, origin };
    let check = async |password: String| service.auth.check_password(attempt, "ana", &password.into()).await;
    assert!(check(composed.clone()).await.is_ok());
    assert!(check(decomposed.clone()).await.is_ok());
    // Longer ones are wrong, and nothing else is done about them.
    let records = service.auth.audit(&Default::default(), None, 100).await.unwrap().0.len();
    for longer in [composed + "x", decomposed + "x", "x".repeat(1025), "x".repeat(5000)] {
        assert!(matches!(check(longer).await, Err(Error::InvalidCredentials)));
    }
    assert_eq!(service.auth.audit(&Default::default(), None, 100).await.unwrap().0.len(), records);
    assert!(check("x".repeat(1024)).await.is_err());
    assert_eq!(service.auth.audit(&Default::default(), None, 100).await.unwrap().0.len(), records + 1);
}

#[tokio::test]
async fn schemes_that_are_missing_are_filled_in_and_those_in_use_are_measured() {
    let service = Service::start(&[]).await;
    service.create("ana").await;
    let auth = &service.auth;
    auth.refresh_known_costs().await.unwrap();
    let wait = async || {
        let begun = Instant::now();
        auth.refusal_delay.wait(begun).await;
        begun.elapsed()
    };
    assert!(wait().await < Duration::from_millis(100), "there is one scheme");
    // A hash that was stored before the database had a column for its scheme.
    let dear = HashCost { memory_kib: 65_536, iterations: 4 };
    let stored = hash(&mut Memory::new(), dear, b"my-password").unwrap();
    let id = auth.user_named("ana").await.unwrap().id;
    let now = auth.now();
    let mut tx = auth.store.write().await.unwrap();
    tx.set_password(id, &stored, false, now).await.unwrap();
    tx.commit().await.unwrap();
    let begun = Instant::now();
    auth.refresh_known_costs().await.unwrap();
    let measured = begun.elapsed();
    assert!(wait().await * 2 > measured, "a refusal takes as long as the dearest hash");
    // Nobody has such a hash any more.
    let mut tx = auth.store.write().await.unwrap();
    let cheap = hash(&mut Memory::new(), HashCost { memory_kib: 8, iterations: 1 }, b"my-password").unwrap();
    tx.set_password(id, &cheap, false, now).await.unwrap();
    tx.commit().await.unwrap();
    auth.refresh_known_costs().await.unwrap();
    assert!(wait().await < Duration::from_millis(100));
}

#[tokio::test]
async fn a_mail_is_tried_again_after_each_wait_and_given_up_after_a_day() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let smtp = format!("smtp://127.0.0.1:{port}");
    let flags = ["--smtp-url", &smtp, "--mail-from", "auth@example.com", "--public-url", "https://auth.example.com"];
    let service = Service::start(&flags).await;
    let auth = &service.auth;
    let (minute, day) = (Duration::from_secs(60), Duration::from_secs(24 * 60 * 60));
    let waiting = async || auth.store.read().await.unwrap().count_mails().await.unwrap();
    service.create("ana").await;
    let user = auth.user_named("ana").await.unwrap();
    let queue = async || {
        let (mut tx, now) = (auth.store.write().await.unwrap(), auth.now());
        auth.queue_mail(&mut tx, &user, "ana@example.com", crate::mail::Subject::Test, [], now).await.unwrap();
        tx.commit().await.unwrap();
    };
    queue().await;
    assert_eq!(auth.send_due_mails().await.unwrap(), 1);
    let mut waits = Duration::ZERO;
    let back_off = [5, 15, 60, 300, 600, 1800, 3600, 3600, 3600].map(Duration::from_secs);
    for wait in back_off {
        service.advance(wait - Duration::from_millis(1));
        assert_eq!(auth.send_due_mails().await.unwrap(), 0, "before {wait:?}");
        service.advance(Duration::from_millis(1));
        assert_eq!(auth.send_due_mails().await.unwrap(), 1, "after {wait:?}");
        waits += wait;
    }
    // What would be tried next after that is given up now.
    service.advance(day - waits - 61 * minute);
    assert_eq!((auth.send_due_mails().await.unwrap(), waiting().await), (1, 1));
    service.advance(60 * minute);
    assert_eq!((auth.send_due_mails().await.unwrap(), waiting().await), (1, 0));
    // One that nobody has tried for a day is not tried any more.
    for (later, tried) in [(day - Duration::from_secs(5), 1), (day - Duration::from_millis(4999), 0), (day, 0)] {
        queue().await;
        service.advance(later);
        assert_eq!(auth.send_due_mails().await.unwrap(), 1);
        assert_eq!(waiting().await, tried, "{later:?}");
        let mut tx = auth.store.write().await.unwrap();
        tx.delete_all_mails().await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_to_whether_the_service_is_ready_holds_for_a_second() {
    let service = Service::start(&[]).await;
    let auth = &service.auth;
    assert!(auth.ready().await.is_ok());
    *auth.readiness.lock().await = Some((Instant::now(), false));
    assert!(matches!(auth.ready().await, Err(Error::Unavailable(_))));
    *auth.readiness.lock().await = Instant::now().checked_sub(READINESS_KEPT).map(|at| (at, false));
    assert!(auth.ready().await.is_ok());
    assert!(auth.readiness.lock().await.is_some_and(|(at, is_ready)| is_ready && at.elapsed() < READINESS_KEPT));
}

#[test]
fn an_operator_is_known_by_the_name_and_number_of_the_system_user() {
    let id = |flag| std::process::Command::new("id").arg(flag).output().unwrap().stdout;
    let [name, number] = ["-un", "-u"].map(|flag| String::from_utf8(id(flag)).unwrap().trim().to_owned());
    let detail = Actor::Operator.did(crate::model::Event::UserCreated, Timestamp(0)).detail.unwrap();
    let with_detail =
        Actor::Operator.did(crate::model::Event::UserCreated, Timestamp(0)).with_detail("roles: user".into());
    assert_eq!(detail, format!("by system user {name} ({number})"));
    assert_eq!(with_detail.detail.unwrap(), format!("roles: user; {detail}"));
    assert_eq!(Actor::System.did(crate::model::Event::UserCreated, Timestamp(0)).detail, None);
}

const MAIL: [&str; 6] =
    ["--smtp-url", "smtp://127.0.0.1:9", "--mail-from", "auth@example.com", "--public-url", "https://auth.example.com"];

#[tokio::test]
async fn registration_is_open_where_it_is_admitted_and_mail_can_be_sent() {
    for (flags, is_open) in [
        (&[][..], false),
        (&["--registration", "open"], false),
        (&MAIL, false),
        (&[&MAIL[..], &["--registration", "open"]].concat(), true),
    ] {
        assert_eq!(Service::start(flags).await.auth.is_registration_open(), is_open, "{flags:?}");
    }
}

#[tokio::test]
async fn an_address_is_verified_by_its_link_and_that_is_a_new_version_of_its_user() {
    let service = Service::start(&[&MAIL[..], &["--registration", "open"]].concat()).await;
    let (auth, email) = (&service.auth, "ana@example.com");
    service.create("ana").await;
    let before = auth.user_named("ana").await.unwrap();
    let origin = crate::model::Origin { address: [192, 0, 2, 7].into(), request_id: Uuid::nil() };
    let purpose = crate::model::LinkPurpose::EmailVerification;
    let mut tx = auth.store.write().await.unwrap();
    let link = auth.insert_link(&mut tx, before.id, purpose, Some(email), auth.now()).await.unwrap();
    tx.commit().await.unwrap();
    let url = link.url.unwrap();
    let secret = url.expose_secret().rsplit('/').next().unwrap().into();
    auth.confirm_address(&secret, origin).await.unwrap();
    let user = auth.user(before.id).await.unwrap();
    assert_eq!(user.verified_email(), Some(email));
    assert!(user.updated_at > before.updated_at);
    assert!(matches!(auth.confirm_address(&secret, origin).await, Err(Error::LinkSpent)));

    // A password that is chosen with a link to that address is one new version, and not another one for the address.
    service.advance(Duration::from_secs(60));
    let mut tx = auth.store.write().await.unwrap();
    let purpose = crate::model::LinkPurpose::PasswordReset;
    let link = auth.insert_link(&mut tx, user.id, purpose, Some(email), auth.now()).await.unwrap();
    tx.commit().await.unwrap();
    let url = link.url.unwrap();
    let secret = url.expose_secret().rsplit('/').next().unwrap().into();
    auth.reset_password(&secret, &"a-password-of-my-choice".into(), origin).await.unwrap();
    assert_eq!(auth.user(user.id).await.unwrap().updated_at, auth.now());

    // Whoever registers with it is told so by mail, unless they may not log in.
    let forget_mails = async || {
        let mut tx = auth.store.write().await.unwrap();
        tx.delete_all_mails().await.unwrap();
        tx.commit().await.unwrap();
    };
    forget_mails().await;
    let register = async || {
        service.advance(Duration::from_secs(3600));
        let request = crate::auth::outbox::Request::new(email.to_owned(), origin);
        auth.queue_request(crate::auth::outbox::Task::Register(request)).await.unwrap();
        let mut conn = auth.store.read().await.unwrap();
        let waiting = conn.due_mails(auth.now(), 10).await.unwrap().pop().unwrap();
        let request = crate::auth::outbox::Request::new(email.to_owned(), origin);
        drop(conn);
        auth.invite_to_register(waiting.id, &request).await.unwrap();
        let mails = auth.store.read().await.unwrap().count_mails().await.unwrap();
        forget_mails().await;
        mails
    };
    assert_eq!(register().await, 1);
    let patch =
        crate::model::UserPatch { name: None, email: None, roles: None, status: Some(crate::model::Status::Disabled) };
    auth.update_user(Actor::Operator, user.id, None, patch).await.unwrap();
    assert_eq!(register().await, 0);
}

#[tokio::test]
async fn the_costs_of_what_was_imported_are_measured_without_anybody_asking() {
    let service = Service::start(&[]).await;
    let dear = "pbkdf2_sha256$500000$somesalt$aqusDOCYp2m+J7gNDpSViXOWSnXnLj02rdU+gCrGf18=";
    let rows = format!("username,password_hash\nana,{dear}\n");
    let rows = Rows::read(crate::model::Format::Csv, std::io::Cursor::new(rows)).unwrap();
    let import = Import {
        actor: Actor::Operator,
        conflict: crate::model::Conflict::Skip,
        invite: Invite::Nobody,
        dry_run: false,
    };
    service.auth.import(import, rows, |_| Ok(())).await.unwrap();
    let begun = Instant::now();
    loop {
        let asked = Instant::now();
        service.auth.refusal_delay.wait(asked).await;
        if asked.elapsed() > Duration::from_millis(30) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "a refusal takes no longer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
