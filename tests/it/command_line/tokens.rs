//! `countersign token` and `countersign session`: a server refuses what they revoke within 250 ms (PostgreSQL: 1 s).

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{Shell, login, me, wait_for_invalidation};
use crate::support::{Answer, Database, bearer, find_program, secret_key};

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn tokens_are_issued_listed_and_revoked_beside_a_running_server() {
    let database = Database::new().await;
    let shell = Shell::on(&database);
    let server = shell.serve();
    shell.create("root", &["admin"]);
    shell.create("sergio", &["user"]);

    let issued = shell.run(&["token", "issue", "Sergio", "--name", "backup script", "--scope", "profile"], "").unwrap();
    let secret = issued.strip_suffix('\n').unwrap();
    assert!(secret.starts_with("cst_") && secret.len() == 52, "the token is the only output: {issued}");
    let seen = me(&server, &bearer(secret)).await.expect(200).json();
    assert_eq!((&seen["user"]["username"], &seen["scopes"]), (&json!("sergio"), &json!(["profile"])));

    let scopes = ["--scope", "profile", "--scope", "users:read", "--scope", "tokens"];
    let args = [&["token", "issue", "sergio", "--name", "all", "--expires-in", "30d", "--json"], &scopes[..]].concat();
    let whole = read(&shell.run(&args, "").unwrap());
    assert_eq!(whole["scopes"], json!(["profile", "users:read", "tokens"]), "all scopes of the user");
    let token = bearer(whole["token"].as_str().unwrap());
    assert_eq!(me(&server, &token).await.expect(200).json()["expires_at"], whole["expires_at"]);

    // The list matches that of the route.
    let listed = read(&shell.run(&["token", "list", "sergio", "--json"], "").unwrap());
    let request = reqwest::Client::new().get(format!("{}/me/tokens", server.url())).header("authorization", &token);
    let mut served = Answer::of(request).await.expect(200).json();
    for item in served["items"].as_array_mut().unwrap() {
        // The uses above may still be in the memory of the server.
        item["last_used_at"] = Value::Null;
    }
    assert_eq!(listed, served);
    let table = shell.run(&["token", "list", "sergio"], "").unwrap();
    assert!(table.contains("backup script  profile") && !table.contains("cst_"), "{table}");

    let id = whole["id"].as_str().unwrap();
    assert_eq!(shell.run(&["token", "revoke", "--yes", id], "").unwrap(), format!("the token {id} was revoked\n"));
    wait_for_invalidation().await;
    me(&server, &token).await.expect(401);
    me(&server, &bearer(secret)).await.expect(200);
    assert_eq!(
        shell.run(&["token", "revoke", "--yes", "--all", "sergio"], "").unwrap(),
        "tokens of sergio revoked: 1\n"
    );
    wait_for_invalidation().await;
    me(&server, &bearer(secret)).await.expect(401);
}

#[tokio::test]
async fn an_issued_token_never_exceeds_its_user_and_a_disabled_user_gets_none() {
    let database = Database::new().await;
    let shell = Shell::on(&database);
    shell.create("root", &["user", "admin"]);
    shell.create("sergio", &["user"]);
    let issue = |more: &[&str]| shell.run(&[&["token", "issue", "sergio", "--name", "x"], more].concat(), "");
    let refused = issue(&["--scope", "profile", "--scope", "admin"]).unwrap_err();
    assert!(refused.contains("scopes must be among those that are allowed: profile users:read tokens"), "{refused}");
    shell.run(&["user", "disable", "sergio"], "").unwrap();
    assert_eq!(issue(&["--scope", "profile"]).unwrap_err(), "countersign: sergio is disabled and can have no token\n");
    assert!(shell.run(&["token", "list", "nobody"], "").unwrap_err().contains("there is no user nobody"));
    let nowhere = "01a209a4-5175-7d1f-96a9-8817ee5490a8";
    assert!(shell.run(&["token", "revoke", "--yes", nowhere], "").unwrap_err().contains("there is no token 01a209a4"));
    assert!(shell.run(&["session", "end", "--yes", nowhere], "").unwrap_err().contains("there is no session 01a209a4"));
    let recorded = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE event = 'token.created'";
    assert_eq!(database.text(recorded).await, "0");
    for args in [
        vec!["token", "issue", "sergio"],
        vec!["token", "issue", "sergio", "--name", "x"],
        vec!["token", "issue", "sergio", "--name", "x", "--scope", "everything"],
        vec!["token", "issue", "sergio", "--name", "x", "--scope", "profile", "--expires-in", "soon"],
        vec!["token", "revoke"],
        vec!["token", "revoke", "not-an-id"],
        vec!["token", "revoke", nowhere, "--everyone"],
        vec!["session", "end", "--all", "sergio", "--everyone"],
        vec!["session", "end", "--yes"],
    ] {
        let ended = shell.end(&args, "");
        assert_eq!(ended.code, 2, "{args:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn sessions_are_listed_and_ended_beside_a_running_server() {
    let database = Database::new().await;
    let shell = Shell::on(&database);
    let server = shell.serve();
    shell.create("root", &["admin"]);
    shell.create("sergio", &["user"]);
    let [first, second] = [login(&server, "sergio").await, login(&server, "sergio").await];
    let listed = read(&shell.run(&["session", "list", "sergio", "--json"], "").unwrap());
    let items = listed["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["address"], &items[0]["current"]), (2, &json!("127.0.0.1"), &json!(false)));
    assert_eq!(shell.run(&["session", "list", "sergio"], "").unwrap().lines().count(), 3);

    let id = me(&server, &first[0]).await.expect(200).json()["session_id"].as_str().unwrap().to_owned();
    assert_eq!(shell.run(&["session", "end", "--yes", &id], "").unwrap(), format!("the session {id} was ended\n"));
    wait_for_invalidation().await;
    for (token, status) in [(&first[0], 401), (&first[1], 401), (&second[0], 200), (&second[1], 200)] {
        me(&server, token).await.expect(status);
    }
    assert!(shell.run(&["session", "end", "--yes", &id], "").is_err(), "it has ended");
    assert_eq!(
        shell.run(&["session", "end", "--yes", "--all", "sergio"], "").unwrap(),
        "sessions of sergio ended: 1\n"
    );
    wait_for_invalidation().await;
    for token in &second {
        me(&server, token).await.expect(401);
    }
    let recorded = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE event = 'session.ended' AND method = 'command'";
    assert_eq!(database.text(recorded).await, "2");
}

#[tokio::test]
async fn everyone_ends_every_session_and_token_also_for_offline_verification() {
    let database = Database::new().await;
    let shell = Shell::on(&database);
    let server = shell.serve();
    let mut tokens = Vec::new();
    for name in ["root", "sergio"] {
        shell.create(name, &["user", "admin"]);
        tokens.extend(login(&server, name).await);
        let issued = shell.run(&["token", "issue", name, "--name", "x", "--scope", "profile"], "").unwrap();
        tokens.push(bearer(issued.trim()));
    }
    // Without --yes a script is refused; on a terminal the operator is asked.
    for (args, whose) in [
        (vec!["session", "end", "--everyone"], "those of everyone"),
        (vec!["token", "revoke", "--everyone"], "those of everyone"),
        (vec!["session", "end", "--all", "root"], "all of root"),
        (vec!["token", "revoke", "--all", "root"], "all of root"),
        (vec!["token", "revoke", "01a209a4-5175-7d1f-96a9-8817ee5490a8"], "01a209a4-5175-7d1f-96a9-8817ee5490a8"),
    ] {
        let said = shell.run(&args, "y\n").unwrap_err();
        assert!(said.contains(&format!(": {whose}. Say --yes if you mean it")), "{said}");
    }
    for token in &tokens {
        me(&server, token).await.expect(200);
    }
    let ended = shell.run(&["session", "end", "--everyone", "--yes"], "").unwrap();
    assert_eq!(ended, "sessions ended: 2\n");
    let revoked = shell.run(&["token", "revoke", "--everyone", "--yes"], "").unwrap();
    assert_eq!(revoked, "tokens revoked: 2\n");
    wait_for_invalidation().await;
    for token in &tokens {
        me(&server, token).await.expect(401);
    }
    let marked = "SELECT CAST(COUNT(*) AS TEXT) FROM revoked_statuses";
    assert_eq!(database.text(marked).await, "2");
    assert_eq!(database.text("SELECT CAST(version AS TEXT) FROM status_lists").await, "1");
    let recorded = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE target = 'everyone' AND method = 'command'";
    assert_eq!(database.text(recorded).await, "2");
    login(&server, "root").await;
}

#[tokio::test]
async fn a_closed_pipe_ends_a_list_without_an_error() {
    let database = Database::new().await;
    let shell = Shell::on(&database);
    shell.create("root", &["user", "admin"]);
    for command in [vec!["user", "list"], vec!["audit", "list"], vec!["export"], vec!["openapi"]] {
        let mut binary = shell.binary().args(&command);
        let mut child = binary.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let done = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.is_empty(), "{command:?}: {said}");
    }
}

/// The tool `script` provides a terminal.
#[tokio::test]
async fn everyone_asks_for_confirmation_on_a_terminal() {
    let Some(script) = find_program("script") else { return };
    let database = Database::new().await;
    database.migrate_to(i64::MAX).await;
    for (answer, code, said) in
        [("n\n", 1, "nothing was changed"), ("\n", 1, "nothing"), ("y\n", 0, "sessions ended: 0")]
    {
        let command = format!("{} session end --everyone", env!("CARGO_BIN_EXE_countersign"));
        let mut process = crate::support::command(&script);
        process.args(["-qec", &command, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        process.current_dir(database.folder.path()).env("DATABASE_URL", &database.url);
        process.env("COUNTERSIGN_SECRET_KEY", secret_key());
        let mut child = process.spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        assert!(text.contains("This ends sessions: those of everyone. Go on? [y/N]") && text.contains(said), "{text}");
        assert_eq!(done.status.code(), Some(code), "{text}");
    }
}
