//! The `sh` blocks of each guide, run as a reader runs them: in order and in one shell, in the folder of the database,
//! with the real binary. A `text` or `json` block that follows one directly is what it prints, with `…` for what differs.
//!
//! What needs a machine of its own, such as apt and nginx, is in `bash` and `console` blocks, which nothing runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{Block, blocks, guide};
use crate::support::{Cluster, find_program, free_port, on_postgres, python_with};

/// What a reader has who went through the first guide. Whatever asks for a password gets one, and the server is a service
/// that `systemctl` stops and starts.
const BEFORE: &str = r#"
set -euo pipefail
launch() {
    command countersign serve >>server.log 2>>welcome & server=$!
    until curl -sf "localhost:$PORT/ready" >ready; do kill -0 "$server"; sleep 0.05; done
}
halt() { kill "$server" && wait "$server" || true; }
trap halt EXIT
countersign() {
    if [ -p /dev/stdin ]; then command countersign "$@"; else command countersign "$@" <<<another-password; fi
}
systemctl() {
    case $1 in
        stop) halt ;;
        start) launch ;;
        restart) halt && launch ;;
    esac
}
launch
"#;
const USERS: &str = r"
command countersign user create admin --role user --role admin <<<choose-a-password >made
command countersign user create sergio <<<my-password >>made
";
/// Separates what the blocks print.
const MARK: &str = "=== the next block";

/// Runs the `sh` blocks of a guide in this folder, and compares what they print.
fn walk(name: &str, folder: &Path, before: &str) {
    let (text, port) = (guide(name), free_port());
    let all = blocks(&text);
    let is_run = |block: &Block| block.language == "sh";
    assert!(all.iter().any(is_run), "{name} has no commands");
    let here = |text: &str| text.replace("localhost:5000", &format!("localhost:{port}"));
    let mut script = BEFORE.to_owned() + before;
    for block in all.iter().filter(|block| is_run(block)) {
        script += &format!("\necho; echo '{MARK}'\n{}", here(&block.text));
    }
    let program = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap().to_str().unwrap().to_owned();
    let done = Command::new("bash")
        .args(["-c", &script])
        .env_clear()
        .env("PATH", format!("{program}:{}", std::env::var("PATH").unwrap()))
        .env("PORT", port.to_string())
        .env("COUNTERSIGN_LISTEN", format!("127.0.0.1:{port}"))
        .env("COUNTERSIGN_ARGON2_MEMORY_KIB", "8")
        .env("COUNTERSIGN_ARGON2_ITERATIONS", "1")
        .env("COUNTERSIGN_DRAIN_TIME", "0s")
        .env("COUNTERSIGN_CORS_ORIGINS", "https://app.example.com")
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8(done.stdout).unwrap().replace(&format!("localhost:{port}"), "localhost:5000");
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name}: {stderr}\n{printed}");

    let mut outputs = printed.split(MARK).skip(1).map(str::trim);
    let mut last = "";
    for block in &all {
        if is_run(block) {
            last = outputs.next().unwrap();
            // A refusal that the guide does not show is a fault of the guide.
            for problem in last.split("/problems/").skip(1) {
                let code = problem.split('"').next().unwrap();
                assert!(text.contains(code), "{name}: {}\n{last}", block.text);
            }
        } else if block.is_adjacent && ["json", "text"].contains(&block.language.as_str()) {
            assert!(is_like(last, block.text.trim()), "{name} shows\n{}\nand it is\n{last}", block.text);
            last = "";
        }
    }
    assert!(outputs.next().is_none());
}

/// Whether a text is what is shown, in which each `…` stands for anything.
fn is_like(text: &str, shown: &str) -> bool {
    let mut pieces = shown.split('…').map(str::trim);
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap()) else { return false };
    let mut last = None;
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
        last = Some(piece);
    }
    last.map_or(rest.is_empty(), |last| text.ends_with(last))
}

fn walk_with_users(name: &str) {
    walk_with_users_and(name, "");
}

fn walk_with_users_and(name: &str, before: &str) {
    if on_postgres().is_none() && find_program("curl").is_some() && find_program("sqlite3").is_some() {
        walk(name, TempDir::new().unwrap().path(), &format!("{USERS}{before}"));
    }
}

#[test]
fn what_is_shown_is_what_was_printed() {
    for (text, shown, is) in [
        ("200", "200", true),
        ("200", "20", false),
        (r#"{"id":"7","name":"x"}"#, r#"{"id":"…","name":"x"}"#, true),
        (r#"{"id":"7","name":"x"}"#, r#"{"id":"…","name":"y"}"#, false),
        (r#"{"id":"7","name":"x"}"#, r#"{"id":"7",…}"#, true),
        ("one\ntwo\nthree", "one\n…\nthree", true),
        ("one\ntwo\nfour", "one\n…\nthree", false),
        ("zero\none", "one", false),
    ] {
        assert_eq!(is_like(text, shown), is, "{shown}: {text}");
    }
}

#[test]
fn the_commands_of_the_first_five_minutes_work_as_written() {
    if on_postgres().is_some() || find_program("curl").is_none() {
        return;
    }
    // The token stands in the welcome.
    let before = r#"
token=$(grep -o 'setup_[A-Za-z0-9_-]*' welcome | head -n 1)
curl() { command curl "${@//setup_…/$token}"; }
"#;
    walk("five-minutes", TempDir::new().unwrap().path(), before);
}

#[test]
fn the_commands_about_credentials_work_as_written() {
    walk_with_users("which-credential");
}

#[test]
fn the_commands_for_single_page_apps_work_as_written() {
    walk_with_users("single-page-apps");
}

#[test]
fn the_commands_for_incidents_work_as_written() {
    // The key file is lost when the steps for that begin.
    let before = r#"
sqlite3() {
    case $2 in *signing_keys*) rm countersign.key ;; esac
    command sqlite3 "$@"
}
"#;
    walk_with_users_and("incidents", before);
}

#[test]
fn the_commands_for_everyday_operation_work_as_written() {
    walk_with_users("operate/tasks");
}

/// The databases of other services, as they make them: with Werkzeug and Django themselves, and by their schemas.
const SOURCES: &str = r#"
import sqlite3, bcrypt
from werkzeug.security import generate_password_hash

with sqlite3.connect("app.db") as app:
    app.execute("CREATE TABLE user (id INTEGER PRIMARY KEY, username TEXT, email TEXT, password_hash TEXT)")
    for name, method in [("flora", "scrypt"), ("felix", "pbkdf2:sha256:1000")]:
        row = (name, f"{name}@example.com", generate_password_hash("my-password", method))
        app.execute("INSERT INTO user (username, email, password_hash) VALUES (?, ?, ?)", row)

import django
from django.conf import settings

hashers = [f"django.contrib.auth.hashers.{name}PasswordHasher" for name in ("PBKDF2", "Argon2", "BCryptSHA256", "Scrypt")]
settings.configure(
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    PASSWORD_HASHERS=hashers, DEFAULT_AUTO_FIELD="django.db.models.AutoField", USE_TZ=True,
)
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command

call_command("migrate", verbosity=0)
User.objects.create_superuser("dora", "dora@example.com", "my-password", first_name="Dora", last_name="Diaz")
User.objects.create_user("dario", "dario@example.com", "my-password", is_active=False)
User.objects.create_user("dino", "", None)

with sqlite3.connect("data.db") as pocketbase:
    pocketbase.execute("""CREATE TABLE users (avatar TEXT, created TEXT, email TEXT, emailVisibility BOOLEAN, id TEXT,
                          name TEXT, password TEXT, tokenKey TEXT, updated TEXT, verified BOOLEAN)""")
    made, hashed = "2024-05-06 07:08:09.123Z", bcrypt.hashpw(b"my-password", bcrypt.gensalt(4, b"2a")).decode()
    row = ("", made, "paula@example.com", False, "abc123def456ghi", "Paula", hashed, "key", made, True)
    pocketbase.execute(f"INSERT INTO users VALUES ({', '.join('?' * len(row))})", row)

with open("passwords", "w") as htpasswd:
    hashed = bcrypt.hashpw(b"my-password", bcrypt.gensalt(5, b"2b")).decode().replace("$2b$", "$2y$")
    htpasswd.write(f"hanna:{hashed}\nhugo:$apr1$9Cv/OMGj$ZomWQzuQL.3TRCS81A1g3/\n")

# For Supabase, whose database is PostgreSQL.
print(bcrypt.hashpw(b"my-password", bcrypt.gensalt(4, b"2a")).decode())
"#;
/// What Supabase has of its users, with one who came by Google, and one who was deleted.
const SUPABASE: &str = "
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid, email varchar(255), encrypted_password varchar(255), email_confirmed_at timestamptz,
    banned_until timestamptz, deleted_at timestamptz, created_at timestamptz);
INSERT INTO auth.users VALUES
    (gen_random_uuid(), 'sara@example.com', 'HASH', '2024-05-06 07:08:09+00', NULL, NULL, '2024-05-06 07:08:09.123456+00'),
    (gen_random_uuid(), 'simon@example.com', '', '2024-05-06 07:08:09+00', NULL, NULL, '2024-05-06 07:08:09+00'),
    (gen_random_uuid(), 'gone@example.com', 'HASH', NULL, NULL, '2024-05-06 07:08:09+00', '2024-05-06 07:08:09+00');
";

#[test]
fn the_users_of_other_services_are_moved_by_the_commands_as_written() {
    let Some(python) = python_with("werkzeug, django, bcrypt, argon2") else { return };
    if on_postgres().is_some() || find_program("sqlite3").is_none() {
        return;
    }
    let Some(supabase) = Cluster::start() else { return };
    let folder = TempDir::new().unwrap();
    let made = Command::new(python).args(["-c", SOURCES]).current_dir(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let sql = SUPABASE.replace("HASH", String::from_utf8_lossy(&made.stdout).trim());
    let filled = Command::new("psql").arg(supabase.url()).args(["-v", "ON_ERROR_STOP=1", "-c", &sql]).output().unwrap();
    assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    let users = ["flora", "felix", "dora", "paula@example.com", "hanna", "sara@example.com"];
    let logins = users.map(|user| format!("curl -sf localhost:$PORT/me -u '{user}:my-password' >>moved"));
    // At the end each of them comes in with the password they had.
    let logins = logins.join(" &&\n");
    let before = format!(
        "{USERS}\nSUPABASE_DATABASE='{}'\ncome_in() {{\n{logins}\n}}\ntrap 'come_in && touch all; halt' EXIT\n",
        supabase.url()
    );
    walk("moving", folder.path(), &before);
    assert!(folder.path().join("all").exists(), "somebody did not come in");
    let moved = fs::read_to_string(folder.path().join("moved")).unwrap();
    assert!(moved.contains(r#""name":"Dora Diaz""#) && moved.contains(r#""roles":["admin","user"]"#), "{moved}");
}
