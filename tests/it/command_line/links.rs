//! `countersign user create --invite`, `user link` and `import --invite`: links to hand over where there is no mail.

use std::fs;

use serde_json::{Value, json};

use super::Shell;
use crate::support::{App, PASSWORD, basic};

/// The link that a command printed, alone on its line.
#[track_caller]
fn printed(shell: &Shell, args: &[&str]) -> String {
    let ended = shell.end(args, "");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("Hand this over; it works once, until "), "{}", ended.stderr);
    let link = ended.stdout.strip_suffix('\n').unwrap().to_owned();
    assert!(link.starts_with("https://auth.example.com/link/") && !link.contains('\n'), "{link}");
    link
}

async fn choose(app: &App, link: &str, password: &str) -> u16 {
    let body = json!({"token": link.rsplit('/').next().unwrap(), "new_password": password});
    app.anon().post("/password/reset", &body).await.status.as_u16()
}

const PUBLIC: [&str; 2] = ["--public-url", "https://auth.example.com"];

#[tokio::test]
async fn a_link_is_printed_for_a_new_user_and_for_one_who_forgot_the_password() {
    let app = App::start().await;
    let shell = Shell::on(&app.database);
    let invitation = printed(&shell, &[&PUBLIC[..], &["user", "create", "ana", "--invite"]].concat());
    let again = printed(&shell, &[&PUBLIC[..], &["user", "link", "Ana"]].concat());
    assert_eq!(choose(&app, &invitation, PASSWORD).await, 410, "the newer one replaced it");
    assert!(app.anon().get(again.strip_prefix("https://auth.example.com").unwrap()).await.text.contains("Welcome"));
    assert_eq!(choose(&app, &again, PASSWORD).await, 204);
    app.with(basic("ana", PASSWORD)).get("/me").await.expect(200);

    let ended = shell.end(&["user", "link", "ana", "--json"], "");
    let link: Value = serde_json::from_str(&ended.stdout).unwrap();
    let url = link["url"].as_str().unwrap();
    assert!(link["expires_at"].is_string() && ended.stderr.is_empty());
    assert!(app.anon().get(&url[url.find("/link/").unwrap()..]).await.text.contains("Choose a new password"));
    assert_eq!(choose(&app, url, "another-password").await, 204);

    assert!(shell.run(&["user", "link", "nobody"], "").unwrap_err().contains("there is no user nobody"));
    shell.run(&["user", "disable", "ana"], "").unwrap();
    assert!(shell.run(&["user", "link", "ana"], "").unwrap_err().contains("the user is disabled"));
}

#[tokio::test]
async fn an_import_invites_whoever_has_no_password_and_writes_the_links_to_a_private_file() {
    let app = App::start().await;
    let shell = Shell::on(&app.database);
    let folder = app.database.folder.path();
    let (list, links) = (folder.join("list.csv"), folder.join("links.csv"));
    fs::write(&list, "username,email,status\nana,ana@example.com,\nben,,disabled\nroot,,\n=cmd,,\n").unwrap();
    let (list, path) = (list.to_str().unwrap(), links.to_str().unwrap());
    let without = shell.end(&["import", list], "");
    assert!(without.stdout.contains("line 2: ana: password_hash is missing"), "{}", without.stdout);
    let import = [&PUBLIC[..], &["import", "--invite", path, list]].concat();
    shell.run(&[&import[..], &["--dry-run"]].concat(), "").unwrap();
    assert!(!links.exists(), "a dry run writes no file");
    assert!(shell.run(&import, "").unwrap().starts_with("3 created, 1 skipped"), "root was there");
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&links.metadata().unwrap().permissions()) & 0o777, 0o600);
    let written = fs::read_to_string(&links).unwrap();
    let rows: Vec<Vec<&str>> = written.lines().map(|line| line.split(',').collect()).collect();
    let names: Vec<_> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names, ["username", "ana", "'=cmd"], "a disabled user is not invited");
    assert_eq!(choose(&app, rows[1][1], PASSWORD).await, 204);
    app.with(basic("ana", PASSWORD)).get("/me").await.expect(200);
    app.with(basic("ben", PASSWORD)).get("/me").await.expect(401);
    // The file is never overwritten: it may hold links that nobody has handed over yet.
    assert!(shell.run(&import, "").unwrap_err().contains("links.csv cannot be written"));
    assert_eq!(fs::read_to_string(&links).unwrap(), written);
}
