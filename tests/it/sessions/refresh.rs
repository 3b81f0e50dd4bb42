//! `/refresh`: new JWTs, and rotation of the opaque token.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{App, bearer, claims_of};

#[tokio::test]
async fn the_opaque_token_returns_a_new_jwt_of_the_same_session() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let login = app.login("sergio").await;
    let opaque = bearer(login["opaque_token"].as_str().unwrap());
    app.advance_clock(Duration::from_secs(3600));
    app.database.sql("UPDATE users SET roles = 'editor user' WHERE username = 'sergio'").await;
    let answer = app.with(&opaque).send(Method::POST, "/refresh").await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let fresh = answer.json();
    let token = fresh["token"].as_str().unwrap();
    assert_eq!(
        fresh,
        json!({"token": token, "token_type": "Bearer", "expires_in": 1800, "opaque_expires_in": 2_592_000 - 3600})
    );
    let (old, new) = (claims_of(login["token"].as_str().unwrap()), claims_of(token));
    assert_eq!((&new["sid"], &new["sub"], &new["status"]), (&old["sid"], &old["sub"], &old["status"]));
    assert_ne!(new["jti"], old["jti"]);
    assert_eq!(new["roles"], json!(["editor", "user"]), "as they are now");
    app.with(bearer(token)).get("/me").await.expect(200);
    app.with(&opaque).get("/me").await.expect(200);
}

#[tokio::test]
async fn a_jwt_does_not_outlive_the_session() {
    let app = App::start().await;
    let (opaque, _) = app.tokens("root").await;
    app.advance_clock(Duration::from_secs(30 * 86_400 - 60));
    let fresh = app.with(&opaque).send(Method::POST, "/refresh").await.expect(200).json();
    assert_eq!((&fresh["expires_in"], &fresh["opaque_expires_in"]), (&json!(60), &json!(60)));
}

#[tokio::test]
async fn only_the_opaque_token_of_a_login_can_be_refreshed() {
    let app = App::start().await;
    let (opaque, jwt) = app.tokens("root").await;
    let personal = app.personal_token("root", &json!({"name": "a"})).await;
    for credential in [&jwt, &personal, &crate::support::basic("root", crate::support::PASSWORD)] {
        let answer = app.with(credential).send(Method::POST, "/refresh?rotate=true").await.expect(403);
        assert_eq!(answer.problem(), "opaque-token-required");
    }
    for query in ["rotate=yes", "rotate=", "rotat=true", "rotate=true&rotate=true"] {
        app.with(&opaque).send(Method::POST, &format!("/refresh?{query}")).await.expect(422);
    }
    app.with(&opaque).send(Method::POST, "/refresh?rotate=false").await.expect(200);
    app.with(&opaque).get("/me").await.expect(200);
}

#[tokio::test]
async fn reuse_of_a_rotated_token_on_any_route_ends_the_session() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    for (method, path) in [(Method::POST, "/refresh?rotate=true"), (Method::POST, "/refresh"), (Method::GET, "/me")] {
        let login = app.login("sergio").await;
        let (other, _) = app.tokens("sergio").await;
        let jwt = bearer(login["token"].as_str().unwrap());
        let mut tokens = vec![login["opaque_token"].as_str().unwrap().to_owned()];
        for _ in 0..3 {
            let held = bearer(tokens.last().unwrap());
            let fresh = app.with(held).send(Method::POST, "/refresh?rotate=true").await.expect(200).json();
            tokens.push(fresh["opaque_token"].as_str().unwrap().to_owned());
        }
        let newest = bearer(tokens.last().unwrap());
        app.with(&newest).get("/me").await.expect(200);
        let records = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE event = 'session.token-reused'";
        let before: u32 = app.database.text(records).await.parse().unwrap();
        // An early token: a thief may have copied it long ago.
        assert_eq!(app.with(bearer(&tokens[1])).send(method, path).await.expect(401).problem(), "invalid-token");
        for token in [&newest, &jwt] {
            app.with(token).get("/me").await.expect(401);
        }
        app.with(&other).get("/me").await.expect(200);
        app.with(bearer(&tokens[1])).get("/me").await.expect(401);
        assert_eq!(app.database.text(records).await, (before + 1).to_string(), "it is recorded, once");
    }
    let record = "SELECT outcome || ' ' || method || ' ' || address || ' ' || CAST(length(request_id) AS TEXT)
        FROM audit WHERE event = 'session.token-reused'";
    assert_eq!(app.database.text(record).await, "refused opaque 127.0.0.1 32");
}

#[tokio::test]
async fn of_fifty_concurrent_rotations_one_succeeds_and_the_reuse_ends_the_session() {
    let app = App::start().await;
    for _ in 0..3 {
        let (opaque, _) = app.tokens("root").await;
        let caller = app.with(&opaque);
        let tries = (0..50).map(|_| caller.send(Method::POST, "/refresh?rotate=true"));
        let answers = futures_util::future::join_all(tries).await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1);
        assert!(answers.iter().all(|answer| [200, 401].contains(&answer.status.as_u16())));
        // The other forty-nine reused the rotated token.
        let token = bearer(won[0].json()["opaque_token"].as_str().unwrap());
        app.with(&token).get("/me").await.expect(401);
    }
}

/// Both requests are authenticated before either rotates, so the rotation itself must detect the reuse.
#[tokio::test]
async fn of_two_authenticated_rotations_the_later_one_ends_the_session() {
    let app = App::start().await;
    let (opaque, _) = app.tokens("root").await;
    let held = app.database.hold_writes().await;
    let caller = app.with(&opaque);
    let (first, second, ()) = tokio::join!(
        caller.send(Method::POST, "/refresh?rotate=true"),
        caller.send(Method::POST, "/refresh?rotate=true"),
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            held.release().await;
        }
    );
    let (won, lost) = if first.status == 200 { (first, second) } else { (second, first) };
    lost.expect(401);
    let token = won.expect(200).json()["opaque_token"].as_str().unwrap().to_owned();
    app.with(bearer(&token)).get("/me").await.expect(401);
}

#[tokio::test]
async fn a_rotation_does_not_extend_the_session() {
    let app = App::start().await;
    let (opaque, _) = app.tokens("root").await;
    app.advance_clock(Duration::from_secs(86_400));
    let fresh = app.with(&opaque).send(Method::POST, "/refresh?rotate=true").await.expect(200).json();
    assert_eq!(fresh["opaque_expires_in"], 29 * 86_400);
    let opaque = bearer(fresh["opaque_token"].as_str().unwrap());
    app.advance_clock(Duration::from_secs(29 * 86_400));
    app.with(&opaque).get("/me").await.expect(401);
}

#[tokio::test]
async fn reuse_of_the_oldest_rotated_token_still_ends_the_session() {
    let app = App::start().await;
    let exchange = async |token: &str| {
        let fresh = app.with(token).send(Method::POST, "/refresh?rotate=true").await.expect(200).json();
        bearer(fresh["opaque_token"].as_str().unwrap())
    };
    let (first, jwt) = app.tokens("root").await;
    let second = exchange(&first).await;
    app.database.sql("UPDATE sessions SET rotations = 99998").await;
    let third = exchange(&second).await;
    let fourth = exchange(&third).await;
    app.with(&fourth).send(Method::POST, "/refresh?rotate=true").await.expect(401);
    app.with(&fourth).get("/me").await.expect(200);
    app.with(&first).get("/me").await.expect(401);
    app.with(&fourth).get("/me").await.expect(401);
    app.with(&jwt).get("/me").await.expect(401);
    app.advance_clock(Duration::from_secs(31 * 86_400));
    app.service.auth().delete_expired().await.unwrap();
    assert_eq!(app.database.text("SELECT CAST(COUNT(*) AS TEXT) FROM rotated_tokens").await, "0");
}
