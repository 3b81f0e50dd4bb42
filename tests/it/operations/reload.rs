//! SIGHUP: a running server takes what needs no restart from the file of settings, and closes no connection.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::http::tls::curl;
use crate::support::{Answer, Binary, Database, Ended, PASSWORD, Server, certify, command, find_program, free_port};

const SETTINGS: &str = "service.env";

/// A server that tells systemd, which is this test, when it has read its settings again.
struct Reloading {
    server: Server,
    folder: PathBuf,
    told: UnixDatagram,
}

impl Reloading {
    fn start(binary: impl FnOnce(Binary) -> Binary, folder: PathBuf, settings: &str) -> Self {
        fs::write(folder.join(SETTINGS), settings).unwrap();
        Self::of(binary(Binary::new(&folder).args(&["--env-file", SETTINGS])), folder)
    }

    fn of(binary: Binary, folder: PathBuf) -> Self {
        let path = folder.join("notify");
        let told = UnixDatagram::bind(&path).unwrap();
        told.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let this = Self { server: binary.env("NOTIFY_SOCKET", path.to_str().unwrap()).serve(), folder, told };
        assert_eq!(this.next(), "READY=1");
        this
    }

    fn next(&self) -> String {
        let mut message = [0; 200];
        let length = self.told.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap().trim().to_owned()
    }

    /// Sends SIGHUP, and waits until the server has read its settings.
    fn hang_up(&self) {
        let pid = self.server.child.id().to_string();
        assert!(command("kill").args(["-HUP", &pid]).status().unwrap().success());
        let told = self.next();
        assert!(told.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told}");
        assert_eq!(self.next(), "READY=1");
    }

    fn reload(&self, settings: &str) {
        fs::write(self.folder.join(SETTINGS), settings).unwrap();
        self.hang_up();
    }

    fn stop(self) -> Ended {
        self.server.stop()
    }
}

/// Asks on an open connection for something that logs at the level debug. Returns the head of the answer.
fn ask(connection: &mut TcpStream, from: &str) -> String {
    let head = "GET /health HTTP/1.1\r\nhost: x\r\norigin: https://app.example.com\r\nx-forwarded-for:";
    connection.write_all(format!("{head} {from}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let length = connection.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

/// The line of the log that has this text.
#[track_caller]
fn line<'a>(log: &'a str, text: &str) -> &'a str {
    log.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text} in {log}"))
}

#[tokio::test]
async fn new_proxies_origins_and_levels_are_in_force_on_connections_that_stay_open() {
    let database = Database::new().await;
    let server = Reloading::start(
        |binary| binary.env("DATABASE_URL", &database.url),
        database.folder.path().to_owned(),
        "RUST_LOG=warn\nCOUNTERSIGN_CORS_ORIGINS=https://other.example.com\n",
    );
    let mut connection = TcpStream::connect(("127.0.0.1", server.server.port)).unwrap();
    let answer = ask(&mut connection, "192.0.2.1");
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("allow-origin"), "{answer}");
    // A login whose body is still missing.
    let body = r#"{"username": "nobody", "password": "my-password"}"#;
    let mut running = TcpStream::connect(("127.0.0.1", server.server.port)).unwrap();
    let head = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue";
    let head = format!("{head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    running.write_all(head.as_bytes()).unwrap();
    running.read_exact(&mut [0; 25]).unwrap();

    server.reload(
        "RUST_LOG=info,countersign=debug\nCOUNTERSIGN_CORS_ORIGINS=https://app.example.com\n\
         COUNTERSIGN_TRUSTED_PROXIES=127.0.0.1\n",
    );

    running.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    running.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let answer = ask(&mut connection, "192.0.2.2");
    assert!(answer.contains("access-control-allow-origin: https://app.example.com"), "{answer}");
    // What is not in the file any more has its default again.
    server.reload("COUNTERSIGN_TRUSTED_PROXIES=\n");
    let answer = ask(&mut connection, "192.0.2.3");
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("allow-origin"), "{answer}");

    let log = server.stop().stdout;
    assert!(!log.contains("address=192.0.2.1") && !log.contains("address=192.0.2.3"), "{log}");
    line(&log, "address=192.0.2.2");
    assert!(log.contains("setting=\"RUST_LOG\" old=\"info,countersign=debug\" new=\"info\""), "{log}");
    let again: Vec<_> = log.lines().filter(|line| line.contains("the settings were read again")).collect();
    assert_eq!(again.len(), 2, "{log}");
    let taken = "taken=\"COUNTERSIGN_TRUSTED_PROXIES,COUNTERSIGN_CORS_ORIGINS,RUST_LOG\" needs_restart=\"\"";
    assert!(again[0].contains(&format!("file=service.env {taken}")), "{}", again[0]);
}

#[tokio::test]
async fn a_file_that_cannot_be_used_changes_nothing_and_the_log_says_why() {
    let folder = TempDir::new().unwrap();
    let good = "COUNTERSIGN_CORS_ORIGINS=https://app.example.com\n";
    let server = Reloading::start(|binary| binary, folder.path().to_owned(), good);
    let mut connection = TcpStream::connect(("127.0.0.1", server.server.port)).unwrap();
    let other = "COUNTERSIGN_CORS_ORIGINS=https://other.example.com\n";
    let mail = "COUNTERSIGN_PUBLIC_URL=https://auth.example.com\nCOUNTERSIGN_MAIL_FROM=a@example.com\n\
                COUNTERSIGN_SMTP_URL=canary\n";
    let refused = [
        ("COUNTERSIGN_TRUSTED_PROXIES=canary\n", "COUNTERSIGN_TRUSTED_PROXIES: must be networks"),
        ("RUST_LOG=canary=canary\n", "RUST_LOG: must be levels"),
        ("COUNTERSIGN_LISTEN=canary\n", "COUNTERSIGN_LISTEN: must be an address"),
        ("COUNTERSIGN_ARGON2_MEMORY_KIB=\n", "COUNTERSIGN_ARGON2_MEMORY_KIB: must be a whole number"),
        ("COUNTERSIGN_JWT_ALGORITHM=HS256\n", "COUNTERSIGN_JWT_SECRET: HS256 needs a secret"),
        ("COUNTERSIGN_TRUSTED_PROXY=127.0.0.1\n", "did you mean COUNTERSIGN_TRUSTED_PROXIES?"),
        ("NAME=a canary that is not in quotes\n", "service.env: a line cannot be read"),
        // What else would stop the next start.
        (mail, "COUNTERSIGN_SMTP_URL: "),
        ("COUNTERSIGN_OTLP_HEADERS='canary header'\n", "COUNTERSIGN_OTLP_HEADERS: must be NAME=value"),
        ("COUNTERSIGN_COOKIE_DOMAIN=other.example.com\n", "COUNTERSIGN_COOKIE_DOMAIN: is other.example.com"),
        ("COUNTERSIGN_TLS_CERT=cert.pem\n", "COUNTERSIGN_TLS_KEY: is missing"),
        (
            "COUNTERSIGN_TLS_CERT=cert.pem\nCOUNTERSIGN_TLS_KEY=key.pem\n",
            "COUNTERSIGN_TLS_CERT: cert.pem cannot be used",
        ),
    ];
    for (settings, fault) in &refused {
        server.reload(&format!("{other}{settings}"));
        assert!(ask(&mut connection, "192.0.2.1").contains("https://app.example.com"), "{fault}");
    }
    fs::remove_file(folder.path().join(SETTINGS)).unwrap();
    server.hang_up();
    assert!(ask(&mut connection, "192.0.2.1").contains("https://app.example.com"));
    server.reload(other);
    assert!(!ask(&mut connection, "192.0.2.1").contains("https://app.example.com"));

    let log = server.stop().stdout;
    let faults: Vec<_> = log.lines().filter(|line| line.contains("ERROR")).collect();
    let expected: Vec<_> = refused.iter().map(|(_, fault)| *fault).chain(["service.env: cannot be read"]).collect();
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (said, fault) in faults.iter().zip(expected) {
        assert!(said.contains("the settings cannot be used; those before stay in force error="), "{said}");
        assert!(said.contains(fault), "{fault}: {said}");
    }
    assert_eq!(log.matches("the settings were read again").count(), 1, "{log}");
    assert!(!log.contains("canary"), "{log}");
}

/// An editor that saves the file may take it away for a moment.
#[tokio::test]
async fn a_file_without_a_flag_that_was_there_must_be_there_when_it_is_read_again() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(".env");
    let server = Reloading::of(Binary::new(folder.path()), folder.path().to_owned());
    let mut connection = TcpStream::connect(("127.0.0.1", server.server.port)).unwrap();
    // It need not be there, if it was not there before.
    server.hang_up();
    fs::write(&file, "COUNTERSIGN_CORS_ORIGINS=https://app.example.com\n").unwrap();
    server.hang_up();
    assert!(ask(&mut connection, "192.0.2.1").contains("https://app.example.com"));
    fs::remove_file(file).unwrap();
    server.hang_up();
    assert!(ask(&mut connection, "192.0.2.1").contains("https://app.example.com"));
    let log = server.stop().stdout;
    line(&log, "those before stay in force error=.env: cannot be read");
    assert_eq!(log.matches("the settings were read again").count(), 2, "{log}");
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_no_secret_is_shown() {
    let folder = TempDir::new().unwrap();
    let secret = folder.path().join("setup");
    fs::write(&secret, "canary-setup-token-of-old\n").unwrap();
    let token = format!("COUNTERSIGN_SETUP_TOKEN_FILE={}\n", secret.display());
    let settings = format!("{token}COUNTERSIGN_JWT_SECRET=canary-1\nCOUNTERSIGN_SERVICE_NAME=One\n");
    let server = Reloading::start(|binary| binary, folder.path().to_owned(), &settings);
    fs::write(&secret, "canary-setup-token-of-new\n").unwrap();
    let settings = settings.replace("canary-1", "canary-2").replace("One", "Two");
    server.reload(&format!("{settings}COUNTERSIGN_TRUSTED_PROXIES=10.0.0.0/8\n"));
    server.hang_up();

    let log = server.stop().stdout;
    for name in ["COUNTERSIGN_SETUP_TOKEN", "COUNTERSIGN_JWT_SECRET", "COUNTERSIGN_SERVICE_NAME"] {
        let said = format!("a setting has changed that needs a restart setting=\"{name}\"");
        assert_eq!(log.matches(&said).count(), 2, "it is named as long as it waits: {log}");
    }
    assert_eq!(log.matches("needs a restart setting=").count(), 6, "{log}");
    assert_eq!(log.matches("a setting has changed setting=\"COUNTERSIGN_TRUSTED_PROXIES\"").count(), 1, "{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn flags_and_the_environment_win_over_the_file_also_when_it_is_read_again() {
    let folder = TempDir::new().unwrap();
    let start = |binary: Binary| {
        let binary = binary.env("COUNTERSIGN_CORS_ORIGINS", "https://app.example.com");
        binary.args(&["--trusted-proxies", "127.0.0.1"])
    };
    let file = "COUNTERSIGN_CORS_ORIGINS=https://other.example.com\nCOUNTERSIGN_TRUSTED_PROXIES=10.0.0.0/8\n";
    let server = Reloading::start(start, folder.path().to_owned(), file);
    let mut connection = TcpStream::connect(("127.0.0.1", server.server.port)).unwrap();
    assert!(ask(&mut connection, "192.0.2.1").contains("https://app.example.com"));
    server.reload(&file.replace("other", "third").replace("10.", "11."));
    assert!(ask(&mut connection, "192.0.2.2").contains("https://app.example.com"));
    let log = server.stop().stdout;
    line(&log, "address=192.0.2.1");
    line(&log, "address=192.0.2.2");
    line(&log, "taken=\"\" needs_restart=\"\"");
}

#[tokio::test]
async fn the_console_shows_the_settings_that_are_in_force_now() {
    let folder = TempDir::new().unwrap();
    let start =
        |binary: Binary| binary.env("COUNTERSIGN_ADMIN_USERNAME", "root").env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD);
    let server = Reloading::start(start, folder.path().to_owned(), "COUNTERSIGN_SERVICE_NAME=One\n");
    server.reload("COUNTERSIGN_SERVICE_NAME=Two\nCOUNTERSIGN_TRUSTED_PROXIES=10.9.8.0/24\n");
    let url = server.server.url();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let form = [("username", "root"), ("password", PASSWORD)];
    let signed_in =
        Answer::of(client.post(format!("{url}/signin")).header("origin", &url).form(&form)).await.expect(303);
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let page = client.get(format!("{url}/admin/console/settings")).header("cookie", cookie);
    let page = Answer::of(page).await.expect(200).text;
    assert!(
        page.contains("<code>10.9.8.0&#x2f;24</code>")
            && page.contains("<code>One</code>")
            && !page.contains("<code>Two"),
        "{page}"
    );
}

#[tokio::test]
async fn a_new_certificate_is_in_use_at_once() {
    let (Some(openssl), Some(_)) = (find_program("openssl"), find_program("curl")) else { return };
    let folder = TempDir::new().unwrap();
    certify(&openssl, folder.path(), "localhost");
    let settings = "COUNTERSIGN_TLS_CERT=cert.pem\nCOUNTERSIGN_TLS_KEY=key.pem\n";
    let server = Reloading::start(|binary| binary, folder.path().to_owned(), settings);
    fs::copy(folder.path().join("cert.pem"), folder.path().join("old.pem")).unwrap();
    certify(&openssl, folder.path(), "localhost");
    server.hang_up();
    let works = |certificate| curl(folder.path(), certificate, server.server.port, &[]).status.success();
    assert!(works("cert.pem") && !works("old.pem"));
    // A certificate that cannot be used keeps the rest from being taken, too.
    fs::rename(folder.path().join("cert.pem"), folder.path().join("new.pem")).unwrap();
    fs::write(folder.path().join("cert.pem"), "none").unwrap();
    server.reload(&format!("{settings}COUNTERSIGN_TRUSTED_PROXIES=10.0.0.0/8\n"));
    assert!(works("new.pem"));
    let log = server.stop().stdout;
    line(&log, "those before stay in force error=COUNTERSIGN_TLS_CERT: cert.pem cannot be used");
    assert_eq!(log.matches("the settings were read again").count(), 1, "{log}");
    assert!(!log.contains("a setting has changed"), "{log}");
}

#[test]
fn a_file_that_a_flag_names_has_to_be_there() {
    let folder = TempDir::new().unwrap();
    let done = Binary::new(folder.path()).args(&["--env-file", "nowhere.env", "settings"]).output();
    let text = String::from_utf8(done.stderr).unwrap();
    assert!(!done.status.success() && text.starts_with("countersign: nowhere.env: cannot be read"), "{text}");
}

/// Whoever closes the window in which a server runs does not expect it to go on.
#[test]
fn a_server_ends_with_the_terminal_it_runs_on() {
    let Some(script) = find_program("script") else { return };
    for elsewhere in ["", "2>err.log", ">out.log 2>err.log"] {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let server = format!("{} --listen 127.0.0.1:{port} {elsewhere}", env!("CARGO_BIN_EXE_countersign"));
        let mut terminal =
            command(&script).args(["-qfec", &server, "/dev/null"]).current_dir(folder.path()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let read = |file| fs::read_to_string(folder.path().join(file)).unwrap_or_default();
        let wait_until = |what, is_so: &dyn Fn() -> bool| {
            while !is_so() {
                let said = || read("out.log") + &read("err.log");
                assert!(Instant::now() < deadline, "{elsewhere}: waited for {what}; the server said: {}", said());
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        wait_until("the start", &listens);
        terminal.kill().unwrap();
        terminal.wait().unwrap();
        wait_until("the end", &|| !listens());
        if elsewhere.contains("out.log") {
            wait_until("the last line", &|| read("out.log").contains("stopped"));
            line(&read("out.log"), "stopping");
        }
    }
}
