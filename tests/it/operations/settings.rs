//! Settings: each has a flag, a variable and a line of `.env.example`. An invalid one stops the start with one sentence
//! that has its name, a remedy and no secret.

use std::fs;

use clap::CommandFactory;
use countersign::config::{Cli, ReferenceFormat, reference};
use tempfile::TempDir;

use crate::support::{Binary, Database};

/// The error line of the binary when it starts with this variable.
fn refusal(name: &str, value: &str) -> String {
    refusal_of(&[(name, value)])
}

fn refusal_of(variables: &[(&str, &str)]) -> String {
    let folder = TempDir::new().unwrap();
    let mut binary = Binary::new(folder.path()).env("COUNTERSIGN_LISTEN", "127.0.0.1:0");
    for (name, value) in variables {
        binary = binary.env(name, value);
    }
    let done = binary.output();
    let text = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{variables:?}: {text}");
    assert_eq!(text.lines().count(), 1, "one sentence: {text}");
    assert!(!text.contains("canary"), "{text}");
    if ["SECRET", "JWT_", "DATABASE_URL", "ARGON2"].iter().any(|name| variables.iter().any(|(n, _)| n.contains(name))) {
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{variables:?}: no file is created");
    }
    text
}

#[test]
fn an_invalid_setting_stops_the_start_with_its_name_and_a_remedy() {
    let key = "openssl rand -base64 32";
    for (name, value, mend) in [
        ("DATABASE_URL", "canary", "sqlite://FILE or postgres://"),
        ("DATABASE_URL", "mysql://canary@localhost/db", "sqlite://FILE or postgres://"),
        ("DATABASE_URL", "sqlite::memory:", "name a file"),
        ("DATABASE_URL", "sqlite://", "name a file"),
        ("COUNTERSIGN_DATABASE_READ_URL", "postgres://canary@localhost/canary", "SQLite has no replicas"),
        (
            "DATABASE_URL",
            "sqlite:///nowhere/at/all/countersign.db",
            "name a SQLite file, or a new one, that this user may write",
        ),
        ("DATABASE_URL", "postgres://canary:canary@127.0.0.1:1/canary", "start it, or correct the address"),
        ("COUNTERSIGN_LISTEN", "canary", "127.0.0.1:5000"),
        ("COUNTERSIGN_LIMIT_BURST", "0", "must be off, or a whole number from 1 to 1000"),
        ("COUNTERSIGN_LIMIT_ACCOUNT_REFILL", "0s", "must be from 1s to 1d"),
        ("COUNTERSIGN_LIMIT_ADDRESS_REFILL", "canary", "must be from 1s to 1d"),
        ("COUNTERSIGN_CONNECTIONS_PER_ADDRESS", "none", "must be off, or a whole number from 1 to 1000"),
        ("COUNTERSIGN_DRAIN_TIME", "6m", "must be auto, or from 0s to 5m"),
        ("COUNTERSIGN_IMPORT_MAX_COST", "0", "must be a whole number from 1 to 1000"),
        ("COUNTERSIGN_PERSONAL_TOKEN_TTL", "off", "must be never, or from 1s to 36500d"),
        ("COUNTERSIGN_LISTEN", "192.0.2.1:5000", "choose an address of this machine"),
        ("COUNTERSIGN_TRUSTED_PROXIES", "canary", "networks or addresses with commas between, such as 10.0.0.0/8"),
        ("COUNTERSIGN_TRUSTED_PROXIES", "10.0.0.0/33", "networks or addresses with commas between, such as 10.0.0.0/8"),
        (
            "COUNTERSIGN_TRUSTED_PROXIES",
            "10.0.0.0/8 fd00::/8",
            "networks or addresses with commas between, such as 10.0.0.0/8",
        ),
        (
            "COUNTERSIGN_TRUSTED_PROXIES",
            "10.0.0.0/8,proxy.canary.example",
            "networks or addresses with commas between, such as 10.0.0.0/8",
        ),
        ("COUNTERSIGN_METRICS_LISTEN", "canary", "must be off, or"),
        ("COUNTERSIGN_METRICS_LISTEN", "192.0.2.1:5001", "choose an address of this machine"),
        ("COUNTERSIGN_ISSUER", "canary", "https://auth.example.com"),
        ("COUNTERSIGN_ISSUER", "https://canary canary", "https://auth.example.com"),
        ("COUNTERSIGN_AUDIENCE", "", "must name"),
        ("COUNTERSIGN_SECRET_KEY", "canary", key),
        ("COUNTERSIGN_SECRET_KEY", "Y2FuYXJ5", key),
        ("COUNTERSIGN_JWT_ALGORITHM", "canary", "ES256, EdDSA, RS256, HS256"),
        ("COUNTERSIGN_JWT_ALGORITHM", "none", "ES256, EdDSA, RS256, HS256"),
        ("COUNTERSIGN_JWT_TTL", "canary", "30m"),
        ("COUNTERSIGN_JWT_TTL", "0s", "30m"),
        ("COUNTERSIGN_TOKEN_TTL", "-1d", "30d"),
        ("COUNTERSIGN_TOKEN_TTL", "99999999999d", "30d"),
        ("COUNTERSIGN_PASSWORD_MIN_LENGTH", "0", "from 1 to 128"),
        ("COUNTERSIGN_ARGON2_MEMORY_KIB", "7", "19456"),
        ("COUNTERSIGN_ARGON2_MEMORY_KIB", "4294967296", "whole number"),
        ("COUNTERSIGN_ARGON2_ITERATIONS", "0", "2 is a good figure"),
        ("COUNTERSIGN_ARGON2_ITERATIONS", "1000000", "2 is a good figure"),
        ("COUNTERSIGN_HASH_WORKERS", "0", "one a core"),
        ("COUNTERSIGN_HASH_QUEUE", "0", "from 1"),
        ("COUNTERSIGN_SETUP_TOKEN", "canary", "openssl rand -hex 32"),
        ("COUNTERSIGN_SETUP_TOKEN", "canary with spaces in it", "openssl rand -hex 32"),
        ("COUNTERSIGN_ADMIN_USERNAME", "root", "set COUNTERSIGN_ADMIN_PASSWORD"),
        ("COUNTERSIGN_ADMIN_PASSWORD", "canary-password", "set COUNTERSIGN_ADMIN_USERNAME"),
        ("COUNTERSIGN_LOG_FORMAT", "canary", "text, json"),
        ("COUNTERSIGN_OTLP_URL", "127.0.0.1:4318", "must be an http or https address"),
        ("COUNTERSIGN_OTLP_URL", "http://localhost:canary", "such as http://127.0.0.1:4318"),
        ("COUNTERSIGN_OTLP_URL", "http://me:canary@localhost", "such as http://127.0.0.1:4318"),
        ("COUNTERSIGN_OTLP_SAMPLE", "5", "must be a number from 0 to 1"),
        ("RUST_LOG", "canary=canary", "info"),
    ] {
        let text = refusal(name, value);
        assert!(text.starts_with(&format!("countersign: {name}: ")), "{name}={value}: {text}");
        assert!(text.contains(mend), "{name}={value}: {text}");
    }
}

#[test]
fn conflicting_settings_are_refused_by_name() {
    let hs256 = ("COUNTERSIGN_JWT_ALGORITHM", "HS256");
    for secret in [None, Some("canary"), Some("canary-of-thirty-one-bytes-long")] {
        let variables: Vec<_> = std::iter::once(hs256).chain(secret.map(|s| ("COUNTERSIGN_JWT_SECRET", s))).collect();
        let text = refusal_of(&variables);
        assert!(
            text.starts_with("countersign: COUNTERSIGN_JWT_SECRET: ") && text.contains("at least 32 bytes"),
            "{text}"
        );
    }
    let admin = ("COUNTERSIGN_ADMIN_USERNAME", "root");
    let text = refusal_of(&[admin, ("COUNTERSIGN_ADMIN_PASSWORD", "canary"), ("COUNTERSIGN_ADMIN_PASSWORD_FILE", "x")]);
    assert!(text.contains("keep one"), "{text}");
    let text = refusal_of(&[admin, ("COUNTERSIGN_ADMIN_PASSWORD_FILE", "nowhere")]);
    assert!(text.starts_with("countersign: COUNTERSIGN_ADMIN_PASSWORD_FILE: "), "{text}");
    let text = refusal_of(&[admin, ("COUNTERSIGN_ADMIN_PASSWORD", "canary")]);
    assert!(text.starts_with("countersign: COUNTERSIGN_ADMIN_PASSWORD: must have at least 8"), "{text}");
    let text = refusal_of(&[("COUNTERSIGN_ADMIN_USERNAME", "a:b"), ("COUNTERSIGN_ADMIN_PASSWORD", "canary-password")]);
    assert!(text.starts_with("countersign: COUNTERSIGN_ADMIN_USERNAME: must have no colon"), "{text}");
}

#[test]
fn the_flag_and_the_variable_of_a_setting_have_one_name() {
    let command = Cli::command();
    let settings: Vec<_> = command.get_arguments().filter(|argument| argument.get_env().is_some()).collect();
    assert!(settings.len() > 20);
    for setting in settings {
        let (flag, variable) = (setting.get_long().unwrap(), setting.get_env().unwrap().to_str().unwrap());
        let expected = match flag {
            "database-url" => "DATABASE_URL".to_owned(),
            "log" => "RUST_LOG".to_owned(),
            flag => format!("COUNTERSIGN_{}", flag.replace('-', "_").to_uppercase()),
        };
        assert_eq!(variable, expected, "--{flag}");
        assert!(setting.get_help_heading().is_some(), "--{flag} has no subject");
    }
}

#[test]
fn the_example_and_the_page_of_settings_are_fresh() {
    for (file, format) in [(".env.example", ReferenceFormat::Env), ("docs/settings.md", ReferenceFormat::Markdown)] {
        let name = format!("{format:?}").to_lowercase();
        let fresh = fs::read_to_string(file).is_ok_and(|text| text == reference(format));
        assert!(fresh, "{file} is stale: cargo run -- settings --format {name} > {file}");
    }
}

#[test]
fn help_shows_no_secret_from_the_environment() {
    let folder = TempDir::new().unwrap();
    let mut binary = Binary::new(folder.path()).args(&["serve", "--help"]);
    for name in ["SECRET_KEY", "JWT_SECRET", "SETUP_TOKEN", "ADMIN_PASSWORD"] {
        binary = binary.env(&format!("COUNTERSIGN_{name}"), "canary");
    }
    let done = binary.env("DATABASE_URL", "postgres://canary").output();
    let text = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && text.contains("COUNTERSIGN_JWT_SECRET") && !text.contains("canary"), "{text}");
}

#[test]
fn a_setting_prints_no_secret() {
    use clap::Parser;
    let flags = ["--database-url", "--secret-key", "--jwt-secret", "--setup-token", "--admin-password"];
    let args = flags.iter().flat_map(|flag| [*flag, "canary"]);
    let cli = Cli::try_parse_from(std::iter::once("countersign").chain(args)).unwrap();
    assert!(!format!("{cli:?}").contains("canary"));
}

#[test]
fn a_malformed_line_of_the_env_file_stops_the_start() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(".env"), "COUNTERSIGN_LISTEN=127.0.0.1:0\nNAME=a canary that is not in quotes\n")
        .unwrap();
    let done = Binary::new(folder.path()).output();
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.starts_with("countersign: .env: ") && !text.contains("canary"), "{text}");
}

#[test]
fn a_setting_that_stands_twice_in_the_env_file_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let twice = "COUNTERSIGN_PUBLIC_URL=https://a.example\nCOUNTERSIGN_PUBLIC_URL=https://b.example\n";
    fs::write(folder.path().join(".env"), twice).unwrap();
    let done = Binary::new(folder.path()).output();
    let text = String::from_utf8(done.stderr).unwrap();
    assert_eq!(text, "countersign: COUNTERSIGN_PUBLIC_URL: stands twice in .env; remove one of them\n");
}

#[test]
fn a_setting_that_is_not_utf_8_is_refused_by_name() {
    use std::os::unix::ffi::OsStrExt;
    let folder = TempDir::new().unwrap();
    let mut binary = Binary::new(folder.path());
    binary.0.env("COUNTERSIGN_ISSUER", std::ffi::OsStr::from_bytes(b"https://\xff"));
    let text = String::from_utf8(binary.output().stderr).unwrap();
    assert_eq!(text, "countersign: COUNTERSIGN_ISSUER: is not UTF-8; write it in UTF-8\n");
}

#[tokio::test]
async fn a_value_in_single_quotes_is_literal() {
    let folder = TempDir::new().unwrap();
    let env = "COUNTERSIGN_ADMIN_USERNAME=root\nCOUNTERSIGN_ADMIN_PASSWORD='my $HOME #1 \"word\"'\n";
    fs::write(folder.path().join(".env"), env).unwrap();
    let server = Binary::new(folder.path()).serve();
    let request = reqwest::Client::new().get(format!("{}/me", server.url()));
    let request = request.header("authorization", crate::support::basic("root", "my $HOME #1 \"word\""));
    crate::support::Answer::of(request).await.expect(200);
}

#[test]
fn a_flag_without_its_value_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    for (flag, variable) in [("--listen", "COUNTERSIGN_LISTEN"), ("--database-url", "DATABASE_URL")] {
        let text = String::from_utf8(Binary::new(folder.path()).args(&[flag]).output().stderr).unwrap();
        assert_eq!(text, format!("countersign: {variable}: needs a value\n"));
    }
}

#[test]
fn an_optional_setting_may_be_empty() {
    let folder = TempDir::new().unwrap();
    let mut binary = Binary::new(folder.path());
    for name in [
        "SECRET_KEY",
        "JWT_SECRET",
        "DATABASE_READ_URL",
        "HASH_WORKERS",
        "METRICS_LISTEN",
        "SETUP_TOKEN",
        "ADMIN_USERNAME",
        "ADMIN_PASSWORD",
        "ADMIN_PASSWORD_FILE",
    ] {
        binary = binary.env(&format!("COUNTERSIGN_{name}"), "");
    }
    let server = binary.serve();
    assert!(!server.setup_token().is_empty());
}

#[tokio::test]
async fn a_different_secret_key_is_refused() {
    let database = Database::new().await;
    let start = |key: &str| {
        let binary = Binary::new(database.folder.path())
            .env("DATABASE_URL", &database.url)
            .env("COUNTERSIGN_LISTEN", "127.0.0.1:0");
        binary.env("COUNTERSIGN_SECRET_KEY", key)
    };
    let key = |byte: u8| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [byte; 32]);
    start(&key(1)).serve().stop();
    let done = start(&key(2)).output();
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(text.starts_with("countersign: COUNTERSIGN_SECRET_KEY: this key does not open"), "{text}");
    start(&key(1)).serve().stop();
}

/// Other users of the machine can read arguments.
#[test]
fn a_secret_is_refused_as_a_flag_and_taken_from_a_file() {
    let folder = TempDir::new().unwrap();
    for (flag, name) in [
        ("--secret-key=canary", "COUNTERSIGN_SECRET_KEY"),
        ("--jwt-secret=canary", "COUNTERSIGN_JWT_SECRET"),
        ("--setup-token=canary", "COUNTERSIGN_SETUP_TOKEN"),
        ("--admin-password=canary", "COUNTERSIGN_ADMIN_PASSWORD"),
        ("--database-url=postgres://me:canary@127.0.0.1/db", "DATABASE_URL"),
    ] {
        for args in [vec![flag, "settings"], vec!["settings", flag]] {
            let done = Binary::new(folder.path()).args(&args).output();
            let text = String::from_utf8(done.stderr).unwrap();
            assert_eq!(done.status.code(), Some(1), "{args:?}: {text}");
            assert!(text.starts_with(&format!("countersign: {name}: others can read --")), "{args:?}: {text}");
            assert!(!text.contains("canary"), "{text}");
        }
    }
    let file = folder.path().join("secret");
    fs::write(&file, "a-setup-token-of-the-tests\nmore\n").unwrap();
    let file = file.to_str().unwrap();
    let server = || Binary::new(folder.path()).env("COUNTERSIGN_SETUP_TOKEN_FILE", file);
    let started = server().serve();
    assert!(started.welcome.contains("/setup asks for COUNTERSIGN_SETUP_TOKEN"), "{}", started.welcome);
    let both = server().env("COUNTERSIGN_SETUP_TOKEN", "canary-canary-canary").args(&["settings"]).output();
    let text = String::from_utf8(both.stderr).unwrap();
    let said = "COUNTERSIGN_SETUP_TOKEN: is set, and COUNTERSIGN_SETUP_TOKEN_FILE too; keep one";
    assert_eq!(text, format!("countersign: {said}\n"));
    let missing = Binary::new(folder.path()).env("COUNTERSIGN_JWT_SECRET_FILE", "nowhere").args(&["settings"]).output();
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(text.starts_with("countersign: COUNTERSIGN_JWT_SECRET_FILE: nowhere cannot be read"), "{text}");
}

#[test]
fn an_unknown_name_stops_the_start_with_a_suggestion() {
    let text = refusal("COUNTERSIGN_LOGFORMAT", "canary");
    assert_eq!(text, "countersign: COUNTERSIGN_LOGFORMAT: is no setting; did you mean COUNTERSIGN_LOG_FORMAT?\n");
    let text = refusal("COUNTERSIGN_SOMETHING_ELSE", "canary");
    assert!(text.contains("COUNTERSIGN_SOMETHING_ELSE: is no setting; docs/settings.md"), "{text}");
}

#[test]
fn what_kubernetes_sets_for_a_service_called_countersign_is_no_misspelt_setting() {
    let folder = TempDir::new().unwrap();
    let mut binary = Binary::new(folder.path()).args(&["settings"]);
    for name in [
        "COUNTERSIGN_SERVICE_HOST",
        "COUNTERSIGN_SERVICE_PORT_HTTP",
        "COUNTERSIGN_PORT",
        "COUNTERSIGN_PORT_5000_TCP",
        "COUNTERSIGN_PORT_5000_TCP_ADDR",
        "COUNTERSIGN_METRICS_SERVICE_HOST",
        "COUNTERSIGN_METRICS_PORT_9000_TCP_PROTO",
    ] {
        binary = binary.env(name, "tcp://10.0.0.1:5000");
    }
    assert!(binary.output().status.success());
}
