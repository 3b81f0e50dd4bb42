//! `countersign user`: beside a running server, which goes by it at once.

use std::{io::Write, process::Stdio};

use serde_json::Value;

use crate::support::{Answer, App, Binary, Database, PASSWORD, basic};

struct Shell<'a>(&'a Database);

impl Shell<'_> {
    /// What the command prints, and on which stream it prints it if it fails.
    fn run(&self, args: &[&str], stdin: &str) -> Result<String, String> {
        let key = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [7; 32]);
        let mut binary = Binary::new(self.0.folder.path())
            .env("DATABASE_URL", &self.0.url)
            .env("COUNTERSIGN_SECRET_KEY", &key)
            .args(&["--argon2-memory-kib", "8", "--argon2-iterations", "1", "user"])
            .args(args);
        let command = binary.0.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _not_read = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let done = child.wait_with_output().unwrap();
        if done.status.success() {
            assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
            Ok(String::from_utf8(done.stdout).unwrap())
        } else {
            assert_eq!(done.status.code(), Some(1));
            Err(String::from_utf8(done.stderr).unwrap())
        }
    }
}

#[tokio::test]
async fn users_are_made_shown_and_changed_beside_a_running_server() {
    let app = App::on(Database::new().await, &[]).await;
    let shell = Shell(&app.database);
    let password = format!("{PASSWORD}\n");
    let made = shell.run(&["create", "root", "--role", "admin", "--role", "user"], &password).unwrap();
    assert!(made.starts_with("root was made, with the id "), "{made}");
    app.admin().get("/admin/users").await.expect(200);
    shell.run(&["create", "Sergio", "--name", "Sergio R.", "--email", "s@example.com"], &password).unwrap();
    let (opaque, jwt) = app.tokens("sergio").await;
    let shown: Value = serde_json::from_str(&shell.run(&["show", "SERGIO", "--json"], "").unwrap()).unwrap();
    assert_eq!(shown, app.with(&opaque).get("/me").await.json()["user"]);
    assert!(shell.run(&["show", "sergio"], "").unwrap().contains("E-mail      s@example.com\n"));
    assert_eq!(shell.run(&["list"], "").unwrap().lines().count(), 3);
    let found = shell.run(&["list", "ser", "--role", "user", "--json"], "").unwrap();
    assert_eq!(serde_json::from_str::<Value>(found.trim()).unwrap()["username"], "sergio");

    let roles = shell.run(&["role", "sergio", "--add", "editor", "--add", "admin", "--remove", "user"], "").unwrap();
    assert_eq!(roles, "sergio has the roles: admin editor\n");
    app.with(&jwt).get("/admin/users").await.expect(200);
    assert_eq!(shell.run(&["disable", "sergio"], "").unwrap(), "sergio is disabled\n");
    for token in [&opaque, &jwt] {
        app.with(token).get("/me").await.expect(401);
    }
    assert_eq!(shell.run(&["enable", "sergio"], "").unwrap(), "sergio is active\n");
    shell.run(&["set-password", "sergio", "--must-change-password"], "another-password\n").unwrap();
    let caller = app.with(basic("sergio", "another-password"));
    assert_eq!(caller.get("/me").await.expect(403).problem(), "password-change-required");
    assert_eq!(shell.run(&["delete", "sergio"], "").unwrap(), "sergio was deleted\n");
    Answer::of(caller.request(reqwest::Method::GET, "/me")).await.expect(401);
    let recorded = "SELECT CAST(COUNT(*) AS TEXT) FROM audit WHERE method = 'command'";
    assert_eq!(app.database.text(recorded).await, "7");
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_one_sentence_that_shows_no_password() {
    let app = App::start().await;
    let shell = Shell(&app.database);
    for (args, stdin, said) in [
        (vec!["show", "nobody"], "", "there is no user nobody"),
        (vec!["delete", "a:b"], "", "there is no user a:b"),
        (vec!["delete", "root"], "", "without this user no admin could come in any more"),
        (vec!["disable", "root"], "", "without this user no admin could come in any more"),
        (vec!["role", "root", "--remove", "admin"], "", "without this user no admin could come in any more"),
        (vec!["role", "root", "--add", "No Role"], "", "roles must each start with a letter"),
        (vec!["create", "root"], "canary-password\n", "the username is taken"),
        (vec!["create", "x"], "canary\n", "password must have at least 8 characters"),
        (vec!["create", "x"], "", "password must have at least 8 characters"),
        (vec!["create", "a:b"], "canary-password\n", "username must have no colon"),
    ] {
        let error = shell.run(&args, stdin).unwrap_err();
        assert!(error.starts_with(&format!("countersign: {said}")), "{args:?}: {error}");
        assert!(error.lines().count() == 1 && !error.contains("canary"), "{error}");
    }
    app.admin().get("/admin/users").await.expect(200);
}
