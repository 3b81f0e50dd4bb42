//! `countersign user`, beside a running server, which applies the changes.

use serde_json::Value;

use super::Shell;
use crate::support::{Answer, App, Database, PASSWORD, basic};

#[tokio::test]
async fn users_are_created_shown_and_changed_beside_a_running_server() {
    let app = App::on(Database::new().await, &[]).await;
    let shell = Shell::on(&app.database);
    let password = format!("{PASSWORD}\n");
    let made = shell.run(&["user", "create", "root", "--role", "admin", "--role", "user"], &password).unwrap();
    assert!(made.starts_with("root was made, with the id "), "{made}");
    app.admin().get("/admin/users").await.expect(200);
    shell.run(&["user", "create", "Sergio", "--name", "Sergio R.", "--email", "s@example.com"], &password).unwrap();
    let (opaque, jwt) = app.tokens("sergio").await;
    let shown: Value = serde_json::from_str(&shell.run(&["user", "show", "SERGIO", "--json"], "").unwrap()).unwrap();
    assert_eq!(shown, app.with(&opaque).get("/me").await.json()["user"]);
    assert!(shell.run(&["user", "show", "sergio"], "").unwrap().contains("E-mail      s@example.com\n"));
    assert_eq!(shell.run(&["user", "list"], "").unwrap().lines().count(), 3);
    let id = shown["id"].as_str().unwrap();
    assert_eq!(shell.run(&["user", "show", id], "").unwrap(), shell.run(&["user", "show", "sergio"], "").unwrap());
    assert!(shell.run(&["session", "list", id], "").unwrap().starts_with("ID"));
    // A stranger who calls themselves by the id of another is not taken for them.
    shell.run(&["user", "create", id], &password).unwrap();
    assert!(shell.run(&["user", "show", id], "").unwrap().contains("s@example.com"));
    let found = shell.run(&["user", "list", "ser", "--role", "user", "--json"], "").unwrap();
    assert_eq!(serde_json::from_str::<Value>(found.trim()).unwrap()["username"], "sergio");

    let roles =
        shell.run(&["user", "role", "sergio", "--add", "editor", "--add", "admin", "--remove", "user"], "").unwrap();
    assert_eq!(roles, "sergio has the roles: admin editor\n");
    app.database.poll_other_writers().await;
    app.with(&jwt).get("/admin/users").await.expect(200);
    assert_eq!(shell.run(&["user", "disable", "sergio"], "").unwrap(), "sergio is disabled\n");
    app.database.poll_other_writers().await;
    for token in [&opaque, &jwt] {
        app.with(token).get("/me").await.expect(401);
    }
    assert_eq!(shell.run(&["user", "enable", "sergio"], "").unwrap(), "sergio is active\n");
    shell.run(&["user", "set-password", "sergio", "--must-change-password"], "another-password\n").unwrap();
    let caller = app.with(basic("sergio", "another-password"));
    assert_eq!(caller.get("/me").await.expect(403).problem(), "password-change-required");
    assert_eq!(shell.run(&["user", "delete", "--yes", "sergio"], "").unwrap(), "sergio was deleted\n");
    app.database.poll_other_writers().await;
    Answer::of(caller.request(reqwest::Method::GET, "/me")).await.expect(401);
    let recorded = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE method = 'command'";
    assert_eq!(app.database.text(recorded).await, "8");
}

#[tokio::test]
async fn a_failed_command_prints_one_sentence_without_the_password() {
    let app = App::start().await;
    let shell = Shell::on(&app.database);
    for (args, stdin, said) in [
        (vec!["show", "nobody"], "", "there is no user nobody"),
        (vec!["delete", "a:b"], "", "there is no user a:b"),
        (vec!["delete", "--yes", "root"], "", "without this user no admin could come in any more"),
        (vec!["disable", "root"], "", "without this user no admin could come in any more"),
        (vec!["role", "root", "--remove", "admin"], "", "without this user no admin could come in any more"),
        (vec!["role", "root", "--add", "No Role"], "", "roles must each start with a letter"),
        (vec!["create", "root"], "canary-password\n", "the username is taken"),
        (vec!["create", "x"], "canary\n", "password must have at least 8 characters"),
        (vec!["create", "x"], "", "password must have at least 8 characters"),
        (vec!["create", "a:b"], "canary-password\n", "username must have no colon"),
    ] {
        let error = shell.run(&[vec!["user"], args.clone()].concat(), stdin).unwrap_err();
        assert!(error.starts_with(&format!("countersign: {said}")), "{args:?}: {error}");
        assert!(error.lines().count() == 1 && !error.contains("canary"), "{error}");
    }
    app.admin().get("/admin/users").await.expect(200);
}
