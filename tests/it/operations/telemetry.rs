//! The log: one line per request in the configured format, and no secret at any level.

use serde_json::{Value, json};

use crate::support::{Answer, Binary, Database, PASSWORD, Server, basic, bearer};

/// Runs a server at the most verbose level and sends it every kind of request. Returns its log, and the secrets.
pub async fn walk(format: &str, more: &[(&str, &str)]) -> (String, Vec<String>) {
    let database = Database::new().await;
    let binary = more.iter().fold(Binary::new(database.folder.path()), |binary, (name, value)| binary.env(name, value));
    let server: Server = binary
        .env("DATABASE_URL", &database.url)
        .env("RUST_LOG", "trace")
        .env("COUNTERSIGN_LOG_FORMAT", format)
        .env("COUNTERSIGN_SETUP_TOKEN", "canary-of-the-setup-token")
        .env("COUNTERSIGN_JWT_SECRET", "canary-of-the-jwt-secret-that-is-long-enough")
        .serve();
    let client = reqwest::Client::new();
    let url = server.url();
    let post = |path: &str, body: &Value| client.post(format!("{url}{path}")).json(body);
    let create = json!({"username": "root", "password": PASSWORD, "roles": ["user", "admin"]});
    Answer::of(post("/admin/users", &create).header("authorization", bearer("canary-of-the-setup-token")))
        .await
        .expect(201);
    let login = Answer::of(post("/login", &json!({"username": "root", "password": PASSWORD}))).await.expect(200).json();
    let (jwt, opaque) = (login["token"].as_str().unwrap(), login["opaque_token"].as_str().unwrap());
    Answer::of(post("/login", &json!({"username": "canary-password-in-the-name", "password": "canary-wrong"})))
        .await
        .expect(401);
    Answer::of(post("/login", &json!({"username": "root", "passwort": "canary-field"}))).await.expect(422);
    Answer::of(client.get(format!("{url}/me?token=canary-query"))).await.expect(401);
    for credential in [bearer(jwt), bearer(opaque), basic("root", PASSWORD)] {
        Answer::of(client.get(format!("{url}/me")).header("authorization", credential)).await.expect(200);
    }
    Answer::of(client.get(format!("{url}/me")).header("authorization", bearer("canary.of.jwt"))).await.expect(401);
    Answer::of(client.get(format!("{url}/canary-path"))).await.expect(404);
    let with =
        |path: &str, credential: &str| client.post(format!("{url}{path}")).header("authorization", bearer(credential));
    let made = Answer::of(with("/me/tokens", opaque).json(&json!({"name": "a", "scopes": ["profile", "introspect"]})))
        .await
        .expect(201)
        .json();
    let personal = made["token"].as_str().unwrap();
    let fresh = Answer::of(with("/refresh?rotate=true", opaque)).await.expect(200).json();
    let (new_jwt, newest) = (fresh["token"].as_str().unwrap(), fresh["opaque_token"].as_str().unwrap());
    for token in [personal, newest, new_jwt, "canary-of-introspection", "Y2FuYXJ5OmNhbmFyeQ=="] {
        Answer::of(with("/oauth/introspect", personal).form(&[("token", token)])).await.expect(200);
    }
    Answer::of(with("/oauth/revoke", newest).form(&[("token", personal)])).await.expect(200);
    Answer::of(with("/logout", newest)).await.expect(204);
    let basic = basic("root", PASSWORD)["Basic ".len()..].to_owned();
    let tokens = [jwt, opaque, personal, &personal["cst_".len()..], new_jwt, newest].map(ToOwned::to_owned);
    let secrets = [PASSWORD.to_owned(), basic, "canary".to_owned()].into_iter().chain(tokens).collect();
    let ended = server.stop();
    assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    (ended.stdout, secrets)
}

#[tokio::test]
async fn no_secret_is_in_the_log_at_any_level() {
    for format in ["text", "json"] {
        let (log, secrets) = walk(format, &[]).await;
        assert!(log.contains("DEBUG"), "messages of the libraries are included");
        for secret in &secrets {
            if let Some(line) = log.lines().find(|line| line.contains(secret.as_str())) {
                panic!("{secret} in {line}");
            }
        }
    }
}

#[tokio::test]
async fn each_request_is_one_log_line_with_caller_route_and_status() {
    let (log, _) = walk("json", &[]).await;
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["message"] == "request" && line["route"] != "/health")
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            assert_eq!(line["request_id"].as_str().unwrap().len(), 32);
            assert!(line["duration_us"].is_u64() && line["timestamp"].is_string());
            let who = if line["user"].is_string() { "root" } else { "-" };
            let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {} {who} {}", text("method"), text("route"), line["status"], text("by"))
        })
        .collect();
    assert_eq!(
        told,
        [
            "POST /admin/users 201 - setup",
            "POST /login 200 root password",
            "POST /login 401 - -",
            "POST /login 422 - -",
            "GET /me 401 - -",
            "GET /me 200 root jwt",
            "GET /me 200 root opaque",
            "GET /me 200 root basic",
            "GET /me 401 - -",
            "GET - 404 - -",
            "POST /me/tokens 201 root opaque",
            "POST /refresh 200 root opaque",
            "POST /oauth/introspect 200 root personal",
            "POST /oauth/introspect 200 root personal",
            "POST /oauth/introspect 200 root personal",
            "POST /oauth/introspect 200 root personal",
            "POST /oauth/introspect 200 root personal",
            "POST /oauth/revoke 200 root opaque",
            "POST /logout 204 root opaque",
        ]
    );
}
