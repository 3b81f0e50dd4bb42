//! `/oauth/introspect` (RFC 7662) and `/oauth/revoke` (RFC 7009), also through published OAuth libraries.

use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, App, PASSWORD, basic, node, python_with};

async fn ask(app: &App, credential: &str, path: &str, token: &str) -> Answer {
    Answer::of(app.with(credential).request(Method::POST, path).form(&[("token", token)])).await
}

fn token(header: &str) -> &str {
    header.split_once(' ').unwrap().1
}

#[tokio::test]
async fn a_service_can_introspect_each_kind_of_token() {
    let app = App::start().await;
    let id = app.create("sergio", &["user"]).await;
    let service = app.personal_token("root", &json!({"name": "service", "scopes": ["introspect"]})).await;
    let (opaque, jwt) = app.tokens("sergio").await;
    let sid = app.with(&opaque).get("/me").await.json()["session_id"].clone();
    let personal = app.personal_token("sergio", &json!({"name": "a", "scopes": ["profile"], "expires_in": 60})).await;
    let now = app.now_seconds();
    let common = json!({
        "active": true, "username": "sergio", "name": "sergio", "sub": id, "roles": ["user"], "token_type": "Bearer",
        "aud": "countersign", "iss": "http://localhost:5000", "scope": "profile users:read tokens",
    });
    for (header, more) in [
        (&opaque, json!({"method": "opaque", "iat": now, "exp": now + 2_592_000, "sid": sid})),
        (&jwt, json!({"method": "jwt", "iat": now, "exp": now + 1800, "sid": sid})),
        (&personal, json!({"method": "personal", "iat": now, "exp": now + 60, "scope": "profile", "roles": []})),
        (&basic("sergio", PASSWORD), json!({"method": "basic", "token_type": "Basic"})),
    ] {
        let mut expected = common.clone();
        expected.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = ask(&app, &service, "/oauth/introspect", token(header)).await.expect(200);
        assert_eq!((answer.json(), answer.header("cache-control")), (expected, "no-store"));
    }
}

#[tokio::test]
async fn an_invalid_token_is_inactive_without_further_claims() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let service = app.personal_token("root", &json!({"name": "service", "scopes": ["introspect"]})).await;
    let (ended, ended_jwt) = app.tokens("sergio").await;
    app.with(&ended).send(Method::POST, "/logout").await.expect(204);
    let (_, expired) = app.tokens("sergio").await;
    app.advance_clock(Duration::from_secs(1800));
    for dead in [
        token(&ended),
        token(&ended_jwt),
        token(&expired),
        token(&basic("sergio", "wrong")),
        token(&basic("nobody", PASSWORD)),
        "20f876eb-15be-4640-a308-82467d1d331a",
        "cst_nonsense",
        "a.b.c",
        "nonsense",
        "\u{1f600}",
    ] {
        let answer = ask(&app, &service, "/oauth/introspect", dead).await.expect(200);
        assert_eq!(answer.text, r#"{"active":false}"#, "{dead}");
    }
}

#[tokio::test]
async fn a_request_without_a_token_is_an_oauth_error() {
    let app = App::start().await;
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        for form in ["", "token=", "token=a&token=b", "token_type_hint=access_token"] {
            let request = app.admin().request(Method::POST, path).body(form);
            let answer =
                Answer::of(request.header("content-type", "application/x-www-form-urlencoded")).await.expect(400);
            assert_eq!(
                (answer.problem().as_str(), &answer.json()["error"]),
                ("invalid-request", &json!("invalid_request"))
            );
        }
        let json = app.admin().post(path, &json!({"token": "a"})).await.expect(415);
        assert_eq!(json.problem(), "unsupported-media-type");
        // Unknown parameters are ignored (RFC 6749, section 3.2).
        let form = [("token", "nonsense"), ("client_id", "root"), ("token_type_hint", "whatever")];
        Answer::of(app.admin().request(Method::POST, path).form(&form)).await.expect(200);
    }
}

#[tokio::test]
async fn an_unauthorized_service_gets_an_oauth_error_here_and_a_problem_elsewhere() {
    let app = App::start().await;
    for (credential, error) in [(basic("root", "wrong"), "invalid_client"), ("Bearer x".into(), "invalid_token")] {
        assert_eq!(ask(&app, &credential, "/oauth/introspect", "x").await.expect(401).json()["error"], error);
        assert_eq!(app.with(&credential).get("/me").await.expect(401).json().get("error"), None);
    }
    app.create("sergio", &["user"]).await;
    let answer = ask(&app, &basic("sergio", PASSWORD), "/oauth/introspect", "x").await.expect(403);
    assert_eq!(answer.json()["error"], "insufficient_scope");
}

#[tokio::test]
async fn a_user_revokes_own_tokens_and_a_service_those_of_anyone() {
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    app.create("other", &["user"]).await;
    let service = app.personal_token("root", &json!({"name": "service", "scopes": ["introspect"]})).await;
    let bare = app.personal_token("sergio", &json!({"name": "bare", "scopes": []})).await;
    for revoker in [&basic("sergio", PASSWORD), &bare, &service] {
        for by_jwt in [true, false] {
            let (opaque, jwt) = app.tokens("sergio").await;
            let presented = if by_jwt { &jwt } else { &opaque };
            assert_eq!(ask(&app, revoker, "/oauth/revoke", token(presented)).await.expect(200).text, "");
            for token in [&opaque, &jwt] {
                app.with(token).get("/me").await.expect(401);
            }
            ask(&app, revoker, "/oauth/revoke", token(presented)).await.expect(200);
        }
        let personal = app.personal_token("sergio", &json!({"name": "a"})).await;
        ask(&app, revoker, "/oauth/revoke", token(&personal)).await.expect(200);
        app.with(&personal).get("/me").await.expect(401);
        ask(&app, revoker, "/oauth/revoke", "nonsense").await.expect(200);
    }
    let (opaque, _) = app.tokens("other").await;
    let refused = ask(&app, &basic("sergio", PASSWORD), "/oauth/revoke", token(&opaque)).await.expect(403);
    assert_eq!(refused.challenges(), [r#"Bearer realm="countersign", error="insufficient_scope", scope="introspect""#]);
    app.with(&opaque).get("/me").await.expect(200);
    let password = ask(&app, &service, "/oauth/revoke", token(&basic("sergio", PASSWORD))).await.expect(400);
    assert_eq!(password.json()["error"], "unsupported_token_type");
    app.with(basic("sergio", PASSWORD)).get("/me").await.expect(200);
    // A token may revoke itself.
    let (_, jwt) = app.tokens("sergio").await;
    ask(&app, &jwt, "/oauth/revoke", token(&jwt)).await.expect(200);
    app.with(&jwt).get("/me").await.expect(401);
}

#[tokio::test]
async fn the_metadata_names_existing_endpoints() {
    let app = App::start_with(&["--issuer", "https://example.com/auth/"]).await;
    let metadata = app.anon().get("/.well-known/oauth-authorization-server").await.expect(200).json();
    assert_eq!(metadata["issuer"], "https://example.com/auth/");
    for (name, path) in [
        ("jwks_uri", "/.well-known/jwks.json"),
        ("introspection_endpoint", "/oauth/introspect"),
        ("revocation_endpoint", "/oauth/revoke"),
    ] {
        assert_eq!(metadata[name], format!("https://example.com/auth{path}"));
    }
    assert_eq!(metadata["response_types_supported"], json!([]));
    assert_eq!(metadata["introspection_endpoint_auth_methods_supported"], json!(["client_secret_basic", "Bearer"]));
    assert_eq!(metadata["revocation_endpoint_auth_methods_supported"], json!(["client_secret_basic"]));
}

/// Runs an external program on another thread, so that the service can answer it.
async fn run(mut command: Command) -> Value {
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    serde_json::from_slice(&done.stdout).unwrap()
}

/// Authlib reads the endpoints from the metadata, and introspects and revokes with a username and password.
#[tokio::test]
async fn authlib_reads_the_metadata_introspects_and_revokes() {
    let Some(python) = python_with("authlib, requests") else { return };
    let app = App::start().await;
    app.create("sergio", &["user"]).await;
    let (opaque, jwt) = app.tokens("sergio").await;
    let personal = app.personal_token("sergio", &json!({"name": "a"})).await;
    let script = r#"
import json, sys
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
import requests
url, password, opaque, jwt, personal = sys.argv[1:]
metadata = AuthorizationServerMetadata(requests.get(url + "/.well-known/oauth-authorization-server").json())
metadata.validate_issuer(); metadata.validate_jwks_uri(); metadata.validate_scopes_supported()
metadata.validate_revocation_endpoint(); metadata.validate_introspection_endpoint()
at = lambda name: metadata[name].replace(metadata["issuer"], url)
session = OAuth2Session("root", password, token_endpoint_auth_method="client_secret_basic")
answers = []
for token in [jwt, personal]:
    before = session.introspect_token(at("introspection_endpoint"), token=token, token_type_hint="access_token").json()
    revoked = session.revoke_token(at("revocation_endpoint"), token=token, token_type_hint="access_token").status_code
    after = session.introspect_token(at("introspection_endpoint"), token=token).json()
    answers.append([before["active"], before["username"], revoked, after])
# The opaque token was of the JWT's session.
answers.append(session.introspect_token(at("introspection_endpoint"), token=opaque).json())
print(json.dumps(answers))
"#;
    let mut command = Command::new(python);
    command.args(["-c", script, &app.url, PASSWORD, token(&opaque), token(&jwt), token(&personal)]);
    let dead = json!({"active": false});
    let expected = json!([[true, "sergio", 200, dead], [true, "sergio", 200, dead], dead]);
    assert_eq!(run(command).await, expected);
}

/// oauth4webapi discovers the server by RFC 8414, introspects and revokes with a bearer token.
#[tokio::test]
async fn oauth4webapi_discovers_introspects_and_revokes() {
    let Some(node) = node() else { return };
    // The library compares the issuer with the address.
    let port = crate::support::free_port();
    let app = App::start_at(port, &["--issuer", &format!("http://127.0.0.1:{port}")]).await;
    app.create("sergio", &["user"]).await;
    let service = app.personal_token("root", &json!({"name": "service", "scopes": ["introspect"]})).await;
    let (opaque, jwt) = app.tokens("sergio").await;
    let script = r#"
import * as oauth from 'oauth4webapi';
const [url, service, ...tokens] = process.argv.slice(2);
const options = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(url);
const found = await oauth.discoveryRequest(issuer, { ...options, algorithm: 'oauth2' });
const as = await oauth.processDiscoveryResponse(issuer, found);
const client = { client_id: 'service' };
const auth = (_as, _client, _body, headers) => headers.set('authorization', service);
const introspect = async (token) => oauth.processIntrospectionResponse(as, client,
  await oauth.introspectionRequest(as, client, auth, token, options));
const answers = [];
for (const token of tokens) answers.push((await introspect(token)).username);
await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, tokens[0], options));
for (const token of tokens) answers.push(await introspect(token));
console.log(JSON.stringify(answers));
"#;
    let command = node.script(script, &[&app.url, &service, token(&opaque), token(&jwt)]);
    let dead = json!({"active": false});
    assert_eq!(run(command).await, json!(["sergio", "sergio", dead, dead]));
}
