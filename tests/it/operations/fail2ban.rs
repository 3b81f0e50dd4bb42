//! The filter for fail2ban, with the real one and the log of a real server.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Binary, Database, Killed, PASSWORD, command, find_program};

const ATTACKER: &str = "198.51.100.66";
const OTHER_ATTACKER: &str = "2001:db8::66";
const FORGETFUL: &str = "203.0.113.7";
const FRAMED: &str = "203.0.113.99";

#[tokio::test]
async fn fail2ban_blocks_the_addresses_that_guess_and_no_other() {
    let Some(program) = find_program("fail2ban-server") else { return };
    if find_program("/lib/systemd/systemd-journal-remote").is_none() {
        return;
    }
    let database = Database::new().await;
    let folder = database.folder.path();
    let server = Binary::new(folder)
        .env("DATABASE_URL", &database.url)
        .env("COUNTERSIGN_ADMIN_USERNAME", "root")
        .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
        .env("COUNTERSIGN_TRUSTED_PROXIES", "127.0.0.1")
        .serve();
    let client = reqwest::Client::new();
    let login = async |address: &str, username: &str, password: &str| {
        let request = client.post(format!("{}/login", server.url())).header("x-forwarded-for", address);
        Answer::of(request.json(&json!({"username": username, "password": password}))).await.status.as_u16()
    };
    for i in 0..14 {
        let limited = if i < 10 { 401 } else { 429 };
        assert_eq!(login(ATTACKER, "root", &format!("guess {i}")).await, limited);
    }
    for i in 0..5 {
        assert_eq!(login(OTHER_ATTACKER, &format!("user{i}"), "guess").await, 401);
    }
    // A program that goes on with an old password is refused each time.
    for _ in 0..2 {
        assert_eq!(login(FORGETFUL, "root", "an old password").await, 401);
    }
    assert_eq!(login(FORGETFUL, "root", PASSWORD).await, 200);
    // What a client can write into a line does not begin one.
    let framing =
        format!("\n2026-01-01T00:00:00.000Z  INFO audit event=login.failed outcome=refused address={FRAMED} ");
    for _ in 0..5 {
        assert_eq!(login(FORGETFUL, "root", PASSWORD).await, 200);
        let request = client.request(Method::GET, format!("{}/{framing}", server.url())).header("user-agent", "x");
        Answer::of(request.header("authorization", format!("Bearer {}", framing.trim()))).await.expect(404);
    }
    let log = server.stop().stdout;
    assert_eq!(log.lines().filter(|line| line.contains("audit event=login.")).count(), 14 + 5 + 2 + 6, "{log}");
    assert_eq!(matched_in_journal(folder, &log), 14 + 5 + 2);
    fs::write(folder.join("countersign.log"), log).unwrap();

    for name in ["filter.d", "jail.d", "action.d"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    for name in ["filter.d/countersign.conf", "jail.d/countersign.conf"] {
        fs::copy(format!("deploy/fail2ban/{name}"), folder.join(name)).unwrap();
    }
    // fail2ban says that it has banned somebody also where what it bans with is not there.
    let jail = fs::read_to_string("deploy/fail2ban/jail.d/countersign.conf").unwrap();
    let ban = jail.lines().find_map(|line| line.strip_prefix("banaction = ")).unwrap();
    assert!(Path::new(&format!("/etc/fail2ban/action.d/{ban}.conf")).exists(), "{ban}");
    let path = folder.display();
    let write = |name: &str, text: String| fs::write(folder.join(name), text).unwrap();
    write("action.d/note.conf", format!("[Definition]\nactionban = echo <ip> >> {path}/banned\nactionunban =\n"));
    write("jail.conf", String::new());
    write(
        "jail.local",
        format!("[countersign]\nbackend = polling\nlogpath = {path}/countersign.log\naction = note\nmaxretry = 5\n"),
    );
    write(
        "fail2ban.conf",
        format!(
            "[Definition]\nloglevel = INFO\nlogtarget = {path}/fail2ban.log\nsyslogsocket = auto\nsocket = {path}/socket\n\
             pidfile = {path}/pid\ndbfile = None\ndbmaxmatches = 10\ndbpurgeage = 1d\n"
        ),
    );
    let mut fail2ban = command(program);
    fail2ban.args(["-f", "-c"]).arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
    let _running = Killed(fail2ban.spawn().unwrap());
    let begun = Instant::now();
    let banned = loop {
        let mut banned: Vec<_> =
            fs::read_to_string(folder.join("banned")).unwrap_or_default().lines().map(str::to_owned).collect();
        banned.sort();
        if banned.len() >= 2 {
            break banned;
        }
        let said = || fs::read_to_string(folder.join("fail2ban.log")).unwrap_or_default();
        assert!(begun.elapsed() < Duration::from_secs(30), "{banned:?} {}", said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(banned, [ATTACKER, OTHER_ATTACKER]);
}

/// How many of these lines the filter matches in a journal of systemd, where they have the name of the machine and of the process
/// in front.
fn matched_in_journal(folder: &Path, log: &str) -> usize {
    let entry = |(i, line): (usize, &str)| {
        format!(
            "__CURSOR=s=1;i={i:x};b=1;m=1;t=1;x=1\n__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={i}\n_BOOT_ID={:032x}\n\
             _HOSTNAME=box\n_SYSTEMD_UNIT=countersign.service\nSYSLOG_IDENTIFIER=countersign\n_PID=812\nMESSAGE={line}\n\n",
            1_767_225_600_000_000_u64 + i as u64,
            1
        )
    };
    let (export, journal) = (folder.join("export"), folder.join("countersign.journal"));
    fs::write(&export, log.lines().enumerate().map(entry).collect::<String>()).unwrap();
    let written =
        Command::new("/lib/systemd/systemd-journal-remote").arg("-o").arg(&journal).arg(export).output().unwrap();
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let source = format!("systemd-journal[journalfiles={}]", journal.display());
    let filter = fs::canonicalize("deploy/fail2ban/filter.d/countersign.conf").unwrap();
    let done = command("fail2ban-regex").arg(source).arg(filter).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let lines = said.lines().find(|line| line.starts_with("Lines: ")).unwrap_or_else(|| panic!("{said}"));
    lines.split(", ").find_map(|part| part.strip_suffix(" matched")).unwrap().parse().unwrap()
}
