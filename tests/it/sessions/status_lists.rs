//! `/statuslists`: revocation for services that verify offline.

use std::collections::HashSet;
use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::Value;

use crate::support::{Answer, App, bearer, claims_of, header_of, node};

/// The status of a JWT: the path of the list, and the index in it.
pub fn status_ref(jwt: &str) -> (String, usize) {
    let claims = claims_of(jwt.trim_start_matches("Bearer "));
    let reference = &claims["status"]["status_list"];
    let path = reference["uri"].as_str().unwrap().strip_prefix("http://localhost:5000").unwrap().to_owned();
    (path, usize::try_from(reference["idx"].as_u64().unwrap()).unwrap())
}

pub fn bits(list: &str) -> Vec<u8> {
    let claims = claims_of(list);
    assert_eq!(claims["status_list"]["bits"], 1);
    let lst = URL_SAFE_NO_PAD.decode(claims["status_list"]["lst"].as_str().unwrap()).unwrap();
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(&*lst).read_to_end(&mut bytes).unwrap();
    bytes
}

async fn is_revoked(app: &App, jwt: &str) -> bool {
    let (path, idx) = status_ref(jwt);
    let list = app.anon().get(&path).await.expect(200).text;
    bits(&list)[idx / 8] >> (idx % 8) & 1 == 1
}

#[tokio::test]
async fn a_list_is_a_signed_token_of_its_own_type() {
    let app = App::start().await;
    let (_, jwt) = app.tokens("root").await;
    let (path, _) = status_ref(&jwt);
    let answer = app.anon().get(&path).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/statuslist+jwt");
    assert_eq!(answer.header("cache-control"), "no-cache", "a list cached on the way would be outdated");
    let (header, claims) = (header_of(&answer.text), claims_of(&answer.text));
    let keys = app.anon().get("/.well-known/jwks.json").await.json();
    assert_eq!((&header["typ"], &header["kid"]), (&"statuslist+jwt".into(), &keys["keys"][0]["kid"]));
    let now = app.now_seconds();
    assert_eq!(claims["sub"], format!("http://localhost:5000{path}"));
    assert_eq!((&claims["iat"], &claims["exp"], &claims["ttl"]), (&now.into(), &(now + 900).into(), &60.into()));
    assert_eq!(bits(&answer.text).len(), 16_384);
    // A status list is not an access token.
    assert_eq!(app.with(bearer(&answer.text)).get("/me").await.expect(401).problem(), "invalid-token");
    for nothing in ["01a209a4-5175-7d1f-96a9-8817ee5490a8", "nothing", ""] {
        app.anon().get(&format!("/statuslists/{nothing}")).await.expect(404);
    }
}

#[tokio::test]
async fn however_a_session_ends_its_bit_is_set_in_the_next_list() {
    let app = App::start_with(&["--sessions-per-user", "6"]).await;
    let id = app.create("sergio", &["user"]).await;
    let mut tokens = Vec::new();
    for _ in 0..6 {
        tokens.push(app.tokens("sergio").await);
        app.advance_clock(Duration::from_millis(2));
    }
    let sid = |jwt: &str| claims_of(jwt.trim_start_matches("Bearer "))["sid"].as_str().unwrap().to_owned();
    for (_, jwt) in &tokens {
        assert!(!is_revoked(&app, jwt).await);
    }
    // 0: the session limit; 1: logout; 2: by the user; 3: by an admin; 4: reuse of a rotated token; 5, 6: all sessions.
    tokens.push(app.tokens("sergio").await);
    app.with(&tokens[1].0).send(Method::POST, "/logout").await.expect(204);
    app.with(&tokens[5].0).send(Method::DELETE, &format!("/me/sessions/{}", sid(&tokens[2].1))).await.expect(204);
    app.admin().send(Method::DELETE, &format!("/admin/sessions/{}", sid(&tokens[3].1))).await.expect(204);
    app.with(&tokens[4].0).send(Method::POST, "/refresh?rotate=true").await.expect(200);
    app.with(&tokens[4].0).get("/me").await.expect(401);
    for (ended, (_, jwt)) in [true, true, true, true, true, false, false].into_iter().zip(&tokens) {
        assert_eq!(is_revoked(&app, jwt).await, ended);
    }
    app.admin().send(Method::DELETE, &format!("/admin/users/{id}/sessions")).await.expect(204);
    let (path, _) = status_ref(&tokens[0].1);
    let list = app.anon().get(&path).await.text;
    assert_eq!(bits(&list).iter().map(|byte| byte.count_ones()).sum::<u32>(), 7);
}

#[tokio::test]
async fn a_list_revalidates_by_etag_and_changes_with_a_revocation() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    let (path, _) = status_ref(&jwt);
    let first = app.anon().get(&path).await.expect(200);
    let ask = |tag: String| app.anon().request(Method::GET, &path).header("if-none-match", tag);
    let again = Answer::of(ask(first.header("etag").into())).await.expect(304);
    assert_eq!((again.text.as_str(), again.header("etag")), ("", first.header("etag")));
    app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
    let changed = Answer::of(ask(first.header("etag").into())).await.expect(200);
    assert_ne!(changed.header("etag"), first.header("etag"));
    app.advance_clock(Duration::from_secs(300));
    let later = Answer::of(ask(changed.header("etag").into())).await.expect(200);
    assert_eq!(claims_of(&later.text)["exp"], app.now_seconds() + 900, "it is signed again before it is stale");
}

/// @sd-jwt/jwt-status-list reads the index from our JWT and the bit from our list.
#[tokio::test]
async fn a_published_library_parses_our_lists() {
    let Some(node) = node() else { return };
    let app = App::start().await;
    let mut tokens = Vec::new();
    for _ in 0..8 {
        tokens.push(app.tokens("root").await);
    }
    for (opaque, _) in tokens.iter().step_by(2) {
        app.with(opaque).send(Method::POST, "/logout").await.expect(204);
    }
    let list = app.anon().get(&status_ref(&tokens[0].1).0).await.expect(200).text;
    let script = r#"
import { getListFromStatusListJWT, getStatusListFromJWT } from '@sd-jwt/jwt-status-list';
const [jwt, ...tokens] = process.argv.slice(2);
const list = getListFromStatusListJWT(jwt);
console.log(tokens.map((token) => list.getStatus(getStatusListFromJWT(token).idx)).join(' '));
"#;
    let args: Vec<_> =
        std::iter::once(list.as_str()).chain(tokens.iter().map(|(_, jwt)| &jwt["Bearer ".len()..])).collect();
    let done = node.script(script, &args).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "1 0 1 0 1 0 1 0\n");
}

#[tokio::test]
async fn status_indexes_do_not_reveal_the_order_of_logins() {
    let app = App::start().await;
    let mut indexes = Vec::new();
    for _ in 0..40 {
        indexes.push(status_ref(&app.tokens("root").await.1));
    }
    assert_eq!(indexes.iter().map(|(list, _)| list).collect::<HashSet<_>>().len(), 1, "one list");
    let indexes: Vec<_> = indexes.into_iter().map(|(_, idx)| idx).collect();
    assert_eq!(indexes.iter().collect::<HashSet<_>>().len(), 40, "an index belongs to one session");
    let rises = indexes.windows(2).filter(|pair| pair[0] < pair[1]).count();
    // Of 39 steps about 19.5 go up. By chance this fails once in ten million runs.
    assert!((10..=29).contains(&rises), "{indexes:?}");
    assert!(indexes.iter().max().unwrap() - indexes.iter().min().unwrap() > 50_000, "not spread out: {indexes:?}");
}

/// A list of four indexes is full after a few logins instead of a hundred thousand.
#[tokio::test]
async fn a_full_list_is_closed_and_deleted_after_its_last_token_expires() {
    let app = App::start().await;
    app.tokens("root").await;
    app.database.sql("UPDATE status_lists SET size = 4").await;
    let mut tokens = Vec::new();
    let lists = |tokens: &[(String, String)]| tokens.iter().map(|(_, jwt)| status_ref(jwt).0).collect::<HashSet<_>>();
    while lists(&tokens).len() < 2 {
        tokens.push(app.tokens("root").await);
    }
    assert!(tokens.len() <= 5, "it was full");
    let closed = status_ref(&tokens[0].1).0;
    app.with(&tokens[0].0).send(Method::POST, "/logout").await.expect(204);
    assert!(is_revoked(&app, &tokens[0].1).await, "a closed list is served and kept up to date");
    app.service.auth().delete_expired().await.unwrap();
    // The list is signed again, not cached.
    app.advance_clock(Duration::from_secs(301));
    assert!(is_revoked(&app, &tokens[0].1).await, "a mark stays until its token expires");
    app.advance_clock(Duration::from_secs(30 * 86_400 + 601));
    app.service.auth().delete_expired().await.unwrap();
    app.anon().get(&closed).await.expect(404);
    assert_eq!(app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM revoked_statuses").await, "0");
    let open = status_ref(&tokens.last().unwrap().1).0;
    app.anon().get(&open).await.expect(200);
}

#[tokio::test]
async fn a_revoked_index_is_not_reused_until_its_tokens_would_have_expired() {
    let app = App::start().await;
    let (opaque, first) = app.tokens("root").await;
    app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
    // The revoked index is the only one in the list.
    app.database.sql("UPDATE status_lists SET size = 1; UPDATE revoked_statuses SET idx = 0").await;
    let (_, second) = app.tokens("root").await;
    assert_ne!(status_ref(&second).0, status_ref(&first).0, "another list is opened instead");
    assert!(!is_revoked(&app, &second).await);
}

/// Services may have cached the open list while the index was marked, and the index could be drawn again.
#[tokio::test]
async fn in_the_open_list_a_mark_outlives_its_token() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
    app.advance_clock(Duration::from_secs(31 * 86_400));
    app.service.auth().delete_expired().await.unwrap();
    assert!(is_revoked(&app, &jwt).await);
}

/// If a session ends while a list is built, the next list has its bit.
#[tokio::test]
async fn no_revocation_is_lost_under_concurrent_list_requests() {
    let app = App::start().await;
    let mut tokens = Vec::new();
    for _ in 0..60 {
        tokens.push(app.tokens("root").await);
    }
    let (path, _) = status_ref(&tokens[0].1);
    let ask = async {
        for _ in 0..120 {
            app.anon().get(&path).await.expect(200);
        }
    };
    let end = async {
        for (opaque, jwt) in &tokens {
            app.with(opaque).send(Method::POST, "/logout").await.expect(204);
            assert!(is_revoked(&app, jwt).await);
        }
    };
    tokio::join!(ask, end);
    let list = app.anon().get(&path).await.text;
    assert_eq!(bits(&list).iter().map(|byte| byte.count_ones()).sum::<u32>(), 60);
}

#[tokio::test]
async fn a_list_expires_with_its_signing_key_and_is_renewed_in_time() {
    let app = App::start_with(&["--jwt-ttl", "1s"]).await;
    let (_, jwt) = app.tokens("root").await;
    let (path, _) = status_ref(&jwt);
    app.admin().send(Method::POST, "/admin/keys/rotate").await.expect(202);
    // One second before the next key signs. The current key is retired 61 seconds after that.
    app.advance_clock(Duration::from_secs(659));
    let old = app.anon().get(&path).await.text;
    assert_eq!(claims_of(&old)["exp"], app.now_seconds() + 1 + 1 + 60);
    app.advance_clock(Duration::from_secs(1));
    assert_eq!(app.anon().get(&path).await.text, old, "it is good for longer than clients cache it");
    // Now it would expire at the moment until which they may.
    app.advance_clock(Duration::from_secs(1));
    let new = app.anon().get(&path).await.text;
    assert_ne!(header_of(&new)["kid"], header_of(&old)["kid"]);
    assert!(claims_of(&new)["exp"].as_i64().unwrap() > app.now_seconds() + 60);
}

#[tokio::test]
async fn a_session_older_than_status_lists_gets_tokens_without_the_claim() {
    let app = App::start().await;
    let (opaque, _) = app.tokens("root").await;
    app.database.sql("UPDATE sessions SET status_list = NULL, status_idx = NULL").await;
    let fresh = app.with(&opaque).send(Method::POST, "/refresh").await.expect(200).json();
    let claims = claims_of(fresh["token"].as_str().unwrap());
    assert_eq!(claims.get("status"), None::<&Value>);
    app.with(&opaque).send(Method::POST, "/logout").await.expect(204);
    app.with(&opaque).get("/me").await.expect(401);
}

#[tokio::test]
async fn a_list_that_clients_cache_for_long_is_good_for_twice_as_long() {
    let app = App::start_with(&["--status-ttl", "10m"]).await;
    let (_, jwt) = app.tokens("root").await;
    let claims = claims_of(&app.anon().get(&status_ref(&jwt).0).await.expect(200).text);
    assert_eq!((&claims["exp"], &claims["ttl"]), (&(app.now_seconds() + 1200).into(), &600.into()));
}
