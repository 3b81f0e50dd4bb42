//! `deploy/*/publish*`: the real nginx, HAProxy, Caddy and Traefik put Countersign itself on the internet, with a certificate
//! that the real curl and openssl make and check.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use serde_json::Value;
use tempfile::TempDir;

use super::{TRACE, TRACEPARENT};
use crate::support::{Binary, Killed, PASSWORD, Server, certify, find_program, free_port};

/// The name in the certificate. The files say `auth.example.com`.
const HOST: &str = "auth.test.localhost";
/// The client's address, and that of one in the administrators' network.
const CLIENT: &str = "127.0.0.2";
const INSIDE: &str = "127.0.0.3";
/// A path with a secret.
const LINK: &str = "/link/c3RyYW5nZXJzLWRvLW5vdC1yZWFkLXRoaXM";

/// A proxy with a file of `deploy/` in front of Countersign.
struct Site {
    http: u16,
    https: u16,
    /// The file with part of its comments switched on: those below the line with these words.
    switched_on: &'static str,
    /// The port of Countersign.
    port: u16,
    server: Option<Server>,
    folder: TempDir,
}

/// Writes the configuration of a proxy, and gives the command that runs it.
type Program = fn(&Site) -> Option<Command>;

fn nginx(site: &Site) -> Option<Command> {
    let nginx = find_program("nginx")?;
    site.write("deploy/nginx/publish.conf", |text| {
        replaced(
            &text,
            &[
                ("listen 80;", &format!("listen 127.0.0.1:{};", site.http)),
                ("    listen [::]:80;\n", ""),
                ("listen 443 ", &format!("listen 127.0.0.1:{} ", site.https)),
                ("    listen [::]:443 ssl http2;\n", ""),
                ("/etc/letsencrypt/live/auth.test.localhost/fullchain.pem", &site.place("cert.pem")),
                ("/etc/letsencrypt/live/auth.test.localhost/privkey.pem", &site.place("key.pem")),
                ("/var/log/nginx/countersign.log", &site.place("access.log")),
                ("/var/log/nginx/error.log", "stderr"),
            ],
        )
    });
    let frame = "master_process off; pid nginx.pid; error_log stderr error; events {} http { client_body_temp_path body; \
                 proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi; include \
                 publish.conf; }";
    fs::write(site.place("nginx.conf"), frame).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(site.folder.path()).args([
        "-c",
        &site.place("nginx.conf"),
        "-e",
        "stderr",
        "-g",
        "daemon off;",
    ]);
    Some(command)
}

fn haproxy(site: &Site) -> Option<Command> {
    let haproxy = find_program("haproxy")?;
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| fs::read_to_string(site.place(name)).unwrap());
    fs::write(site.place("both.pem"), certificate + &key).unwrap();
    let (http, https) = (format!("bind 127.0.0.1:{}\n", site.http), format!("bind 127.0.0.1:{} ", site.https));
    site.write("deploy/haproxy/publish.cfg", |text| {
        let without: Vec<_> = text.lines().filter(|line| !line.contains("bind :::")).collect();
        replaced(
            &(without.join("\n") + "\n"),
            &[
                ("bind :80\n", &http),
                ("bind :443 ", &https),
                ("/etc/haproxy/auth.test.localhost.pem", &site.place("both.pem")),
                ("log /dev/log local0", "log stdout format raw local0"),
                // Only root may do this.
                ("    chroot /var/lib/haproxy\n    user haproxy\n    group haproxy\n", ""),
            ],
        )
    });
    let mut command = Command::new(haproxy);
    command.args(["-db", "-f", &site.place("publish.cfg")]);
    Some(command)
}

fn caddy(site: &Site) -> Option<Command> {
    let caddy = find_program("caddy")?;
    let tls = format!("tls {} {}", site.place("cert.pem"), site.place("key.pem"));
    let ports = format!(
        "{{\n\thttp_port {}\n\thttps_port {}\n\tdefault_bind 127.0.0.1\n\t# The admin API",
        site.http, site.https
    );
    site.write("deploy/caddy/publish.Caddyfile", |text| {
        replaced(
            &text,
            &[
                ("{\n\t# The admin API", &ports),
                ("#tls /etc/ssl/auth.test.localhost.pem /etc/ssl/auth.test.localhost.key", &tls),
            ],
        )
    });
    let mut command = Command::new(caddy);
    command.args(["run", "--config", &site.place("publish.Caddyfile"), "--adapter", "caddyfile"]);
    for home in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
        command.env(home, site.folder.path());
    }
    Some(command)
}

fn traefik(site: &Site) -> Option<Command> {
    let traefik = find_program("traefik")?;
    site.write("deploy/traefik/publish.yml", |text| {
        replaced(
            &text,
            &[
                ("/etc/letsencrypt/live/auth.test.localhost/fullchain.pem", &site.place("cert.pem")),
                ("/etc/letsencrypt/live/auth.test.localhost/privkey.pem", &site.place("key.pem")),
            ],
        )
    });
    site.write("deploy/traefik/publish-static.yml", |text| {
        replaced(
            &text,
            &[
                ("\":80\"", &format!("127.0.0.1:{}", site.http)),
                ("\":443\"", &format!("127.0.0.1:{}", site.https)),
                ("/etc/traefik/publish.yml", &site.place("publish.yml")),
            ],
        )
    });
    let mut command = Command::new(traefik);
    command.arg(format!("--configFile={}", site.place("publish-static.yml"))).current_dir(site.folder.path());
    Some(command)
}

/// The text with each of these once in place of another, which must be there.
fn replaced(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (shown, put)| {
        assert!(text.contains(shown), "{shown} is in the file");
        text.replace(shown, put)
    })
}

/// The text with the commented lines below the one with these words, up to an empty one: what they say, they do.
fn uncommented(text: &str, words: &str) -> String {
    assert_eq!(text.matches(words).count(), 1, "{words} is in the file");
    let mut is_on = false;
    let lines = text.lines().map(|line| {
        is_on = (is_on || line.contains(words)) && !line.is_empty();
        let prose = line.trim_start().starts_with("# ");
        if is_on && !prose { line.replacen('#', "", 1) } else { line.to_owned() }
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

impl Site {
    /// A proxy that is ready, with the certificate and a new Countersign.
    fn start(program: Program, switched_on: &'static str) -> Option<(Self, Killed)> {
        let (openssl, _) = (find_program("openssl")?, find_program("curl")?);
        let folder = TempDir::new().unwrap();
        certify(&openssl, folder.path(), HOST);
        fs::create_dir(folder.path().join("countersign")).unwrap();
        let server = Binary::new(&folder.path().join("countersign"))
            .env("COUNTERSIGN_PUBLIC_URL", &format!("https://{HOST}"))
            .env("COUNTERSIGN_TRUSTED_PROXIES", "127.0.0.1")
            .env("COUNTERSIGN_METRICS_LISTEN", &format!("127.0.0.1:{}", free_port()))
            .env("COUNTERSIGN_LOG_FORMAT", "json")
            // Nobody listens there, but requests have traces.
            .env("COUNTERSIGN_OTLP_URL", &format!("http://127.0.0.1:{}", free_port()))
            .env("COUNTERSIGN_ADMIN_USERNAME", "root")
            .env("COUNTERSIGN_ADMIN_PASSWORD", PASSWORD)
            .serve();
        let site = Self {
            http: free_port(),
            https: free_port(),
            switched_on,
            port: server.port,
            server: Some(server),
            folder,
        };
        let mut command = program(&site)?;
        let [output, errors] = ["output", "errors"].map(|name| fs::File::create(site.place(name)).unwrap());
        let process = Killed(command.stdout(output).stderr(errors).spawn().unwrap());
        // Traefik listens before it has read its routers.
        for _ in 0..500 {
            if site.ask("/health", &[]).status == 200 {
                return Some((site, process));
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{}", fs::read_to_string(site.place("errors")).unwrap());
    }

    /// The path of a file in the folder of this test.
    fn place(&self, name: &str) -> String {
        self.folder.path().join(name).into_os_string().into_string().unwrap()
    }

    /// Writes a file of the repository with the names and addresses of this test, changed further by `edit`.
    fn write(&self, file: &str, edit: impl Fn(String) -> String) {
        let mut text = fs::read_to_string(file).unwrap();
        if !self.switched_on.is_empty() && text.contains(self.switched_on) {
            text = uncommented(&text, self.switched_on);
        }
        let countersign = format!("127.0.0.1:{}", self.port);
        let text = text.replace("127.0.0.1:5000", &countersign).replace("auth.example.com", HOST);
        let text = edit(text.replace("10.0.0.0/8", &format!("{INSIDE}/32")));
        fs::write(self.place(&Path::new(file).file_name().unwrap().to_string_lossy()), text).unwrap();
    }

    /// Asks for a path by HTTPS, from the client's address unless the arguments of curl say otherwise.
    fn ask(&self, path: &str, args: &[&str]) -> Seen {
        Seen::of(&self.curl(&format!("https://{HOST}:{}", self.https), path, args))
    }

    fn curl(&self, origin: &str, path: &str, args: &[&str]) -> String {
        let mut command = self.command();
        // As it is written: curl would follow the dots.
        command.args(["--include", "--request-target", path]).args(args).arg(format!("{origin}/"));
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    }

    /// curl from the client's address, unless another one follows.
    fn command(&self) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--max-time", "20", "--cacert", &self.place("cert.pem"), "--interface", CLIENT]);
        for port in [self.http, self.https] {
            command.args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")]);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Stops Countersign. Returns its log.
    fn stop_countersign(&mut self) -> String {
        self.server.take().unwrap().stop().stdout
    }
}

/// The answer that curl shows; status 0 if there was none.
#[derive(Debug)]
struct Seen {
    status: u16,
    head: String,
    body: String,
}

impl Seen {
    fn of(text: &str) -> Self {
        let (mut head, mut body) = text.split_once("\r\n\r\n").unwrap_or_default();
        while head.contains(" 100") && body.starts_with("HTTP/") {
            (head, body) = body.split_once("\r\n\r\n").unwrap();
        }
        let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// The values of a header.
    fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// Asserts the status, and what every answer by HTTPS has.
    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.all("strict-transport-security"), ["max-age=31536000"], "{self:?}");
        self
    }
}

/// Checks a site as it is in the file. `limits` is whether the program has limits of its own on requests, and `gone` its status
/// when Countersign does not answer.
fn check_site(program: Program, limits: bool, gone: u16) {
    let Some((mut site, _process)) = Site::start(program, "") else { return };
    http_leads_to_https(&site);
    tls_is_new_enough(&site);
    answers_are_those_of_countersign(&site);
    heads_and_bodies_have_limits(&site);
    a_browser_signs_in(&site);
    an_import_passes(&site);
    a_link_is_in_no_log(&site, 410);
    guessing_is_limited_by_address(&site);
    if limits {
        floods_are_refused(&site);
    }
    forged_addresses_are_dropped(&site);
    forged_traces_are_dropped(&site);
    let log = site.stop_countersign();
    let lines: Vec<_> = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    let of = |route: &'static str| lines.iter().filter(move |line| line["route"] == route);
    let addresses: Vec<_> = of("/users").map(|line| line["address"].as_str().unwrap().to_owned()).collect();
    let goes_on: Vec<_> = of("/me/sessions").map(|line| line["trace_id"] == TRACE).collect();
    assert_eq!(goes_on, [true, false, false], "{log}");
    assert_eq!(addresses, [[CLIENT; 3], ["127.0.0.1"; 3]].concat(), "{log}");
    assert_eq!(site.ask("/health", &[]).expect(gone).all("retry-after").len(), usize::from(gone == 503));
    a_link_is_in_no_log(&site, gone);
}

fn http_leads_to_https(site: &Site) {
    let origin = format!("http://{HOST}:{}", site.http);
    for args in [&[][..], &["--data", "username=root"]] {
        let seen = Seen::of(&site.curl(&origin, "/signin?return_to=%2Faccount", args));
        assert!([301, 308].contains(&seen.status), "{seen:?}");
        assert_eq!(seen.all("location"), [format!("https://{HOST}/signin?return_to=%2Faccount")]);
    }
    for path in ["/metrics", "/admin", "//evil.example"] {
        let seen = Seen::of(&site.curl(&origin, path, &[]));
        assert!(seen.all("location")[0].starts_with(&format!("https://{HOST}/")), "{path}: {seen:?}");
    }
}

fn tls_is_new_enough(site: &Site) {
    let old = ["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"];
    assert_eq!(site.ask("/health", &old).status, 0);
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        assert!(site.ask("/health", version).expect(200).head.starts_with("HTTP/2 "), "{version:?}");
        assert!(site.ask("/health", &[version, &["--http1.1"]].concat()).expect(200).head.starts_with("HTTP/1.1 "));
    }
}

fn answers_are_those_of_countersign(site: &Site) {
    assert!(site.ask("/health", &["--head"]).expect(200).body.is_empty());
    assert_eq!(site.ask("/metrics", &[]).expect(404).all("content-type"), ["application/problem+json"]);
    let refused = site.ask("/me", &[]).expect(401);
    assert_eq!(refused.all("www-authenticate").len(), 2, "{refused:?}");
    assert_eq!(refused.all("cache-control"), ["no-store"]);
    for version in ["--http1.1", "--http2"] {
        let twice = [version, "--header", "Authorization: Bearer a", "--header", "Authorization: Bearer b"];
        site.ask("/me", &twice).expect(400);
        let user = ["--user", &format!("root:{PASSWORD}"), version];
        site.ask("/me", &user).expect(200);
    }
    let keys = site.ask("/.well-known/jwks.json", &[]).expect(200);
    let matched = format!("If-None-Match: {}", keys.all("etag")[0]);
    site.ask("/.well-known/jwks.json", &["--header", &matched]).expect(304);
    // A compressed page with a secret can be guessed from outside.
    let page = site.ask("/signin", &["--header", "Accept-Encoding: gzip, br"]).expect(200);
    assert!(page.all("content-encoding").is_empty() && page.body.contains("<form method=\"post\""), "{page:?}");
    for name in ["content-security-policy", "x-content-type-options", "referrer-policy", "x-request-id"] {
        assert_eq!(page.all(name).len(), 1, "{name}: {page:?}");
    }
}

fn heads_and_bodies_have_limits(site: &Site) {
    for version in ["--http1.1", "--http2"] {
        let of_length = |length: usize| format!("Cookie: a={}", "x".repeat(length));
        site.ask("/health", &[version, "--header", &of_length(12_000)]).expect(200);
        site.ask("/health", &[version, "--header", &of_length(20_000)]).expect(431);
        let json = ["--header", "Content-Type: application/json"];
        site.ask("/login", &[&[version, "--data", &"x".repeat(60_000)], &json[..]].concat()).expect(400);
        site.ask("/login", &[&[version, "--data", &"x".repeat(100_000)], &json[..]].concat()).expect(413);
    }
}

fn a_browser_signs_in(site: &Site) {
    let (from, password) = (format!("Origin: https://{HOST}"), format!("password={PASSWORD}"));
    let fields = ["--data", "username=root", "--data-urlencode", &password];
    site.ask("/signin", &[&fields[..], &["--header", "Origin: https://evil.example"]].concat()).expect(403);
    let begun = site.ask("/signin", &[&fields[..], &["--header", &from]].concat()).expect(303);
    let cookie = begun.all("set-cookie")[0];
    assert!(cookie.starts_with("__Host-countersign=") && cookie.contains("; Path=/; HttpOnly"), "{cookie}");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let sent = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let page = site.ask("/account", &["--header", &sent]).expect(200);
    assert!(page.body.contains("root"), "{page:?}");
    // The address of the session is the client's.
    assert!(page.body.contains(CLIENT) && !page.body.contains("127.0.0.1"), "{page:?}");
}

fn an_import_passes(site: &Site) {
    let row =
        |i: usize| format!("{{\"username\":\"user-{i}\",\"password_hash\":\"!\",\"name\":\"{}\"}}\n", "n".repeat(60));
    fs::write(site.place("users"), (0..10_000).map(row).collect::<String>()).unwrap();
    let (from, user) = (format!("@{}", site.place("users")), format!("root:{PASSWORD}"));
    let common = ["--user", &user, "--header", "Content-Type: application/x-ndjson"];
    for version in ["--http1.1", "--http2"] {
        for more in [&[][..], &["--header", "Transfer-Encoding: chunked"]] {
            let sent = [&common[..], &[version, "--data-binary", &from], more].concat();
            let seen = site.ask("/admin/import?dry_run=true", &sent).expect(200);
            assert!(seen.body.contains(r#"{"summary":{"rows":10000,"created":10000,"#), "{}", seen.head);
        }
    }
}

fn a_link_is_in_no_log(site: &Site, status: u16) {
    site.ask(LINK, &[]).expect(status);
    for name in ["output", "errors", "access.log"] {
        let log = fs::read_to_string(site.place(name)).unwrap_or_default();
        assert!(!log.contains(LINK), "{name}: {log}");
    }
}

fn guessing_is_limited_by_address(site: &Site) {
    let login = |address: &str, password: &str| {
        let body = serde_json::json!({"username": "root", "password": password}).to_string();
        site.ask("/login", &["--json", &body, "--interface", address])
    };
    for i in 0..10 {
        login("127.0.0.4", &format!("wrong-{i}")).expect(401);
    }
    assert_eq!(login("127.0.0.4", "wrong").expect(429).all("retry-after").len(), 1);
    login(CLIENT, PASSWORD).expect(200);
}

fn floods_are_refused(site: &Site) {
    let many = |path: &str| {
        let mut command = site.command();
        command.args([
            "--interface",
            "127.0.0.5",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code} %header{retry-after}\n",
            "--data",
            "",
        ]);
        command.arg(format!("https://{HOST}:{}{path}?[1-200]", site.https));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let said = many("/login");
    let (first, last) = (said.lines().next().unwrap(), said.lines().last().unwrap());
    assert!(first.starts_with("4") && !first.starts_with("429"), "{said}");
    let (status, wait) = last.split_once(' ').unwrap();
    assert!(status == "429" && (1..60).contains(&wait.parse::<u32>().unwrap()), "{said}");
    // Only such requests, and only this client.
    site.ask("/signin", &["--interface", "127.0.0.5"]).expect(200);
    assert_ne!(site.ask("/login", &["--data", ""]).status, 429);
}

fn forged_addresses_are_dropped(site: &Site) {
    let forged = [
        &["X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "X-Real-IP: 203.0.113.9"][..],
        &["X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 203.0.113.8, 127.0.0.1", "X_Forwarded_For: 203.0.113.9"],
        &["Connection: X-Forwarded-For", "Forwarded: for=203.0.113.9"],
    ];
    // Countersign passes over the addresses of trusted proxies. A client there would be whoever it says, if its word were kept.
    for address in [CLIENT, "127.0.0.1"] {
        for headers in forged {
            let args: Vec<_> = headers.iter().flat_map(|header| ["--header", *header]).collect();
            site.ask("/users", &[&args[..], &["--http1.1", "--interface", address]].concat()).expect(401);
        }
    }
}

/// The trace that a client names, while Countersign would go on with it.
fn forged_traces_are_dropped(site: &Site) {
    let forged = format!("Traceparent: {TRACEPARENT}");
    let direct = format!("http://127.0.0.1:{}", site.port);
    let args = ["--header", &forged, "--interface", "127.0.0.1"];
    assert_eq!(Seen::of(&site.curl(&direct, "/me/sessions", &args)).status, 401);
    for version in ["--http1.1", "--http2"] {
        site.ask("/me/sessions", &[version, "--header", &forged, "--header", "Tracestate: a=b"]).expect(401);
    }
}

/// Paths of administrators.
const KEPT_IN: [&str; 10] = [
    "/admin",
    "/admin/",
    "/admin?a=b",
    "/admin/users",
    "/admin/users/",
    "/admin/import",
    "/admin/console/import",
    "/admin/console/users",
    "/ADMIN/users",
    "/setup",
];

/// Paths that somebody could read as one of those.
const ODD: [&str; 18] = [
    "//admin/users",
    "///admin/users",
    "/./admin/users",
    "/../admin/users",
    "/health/../admin/users",
    "/admin//users",
    "/admin/./users",
    "/admin%2fusers",
    "/admin%2f..",
    "/%61dmin/users",
    "/%2561dmin/users",
    "/%2e/admin/users",
    "/health%2f..%2fadmin/users",
    "/;/admin/users",
    "/..;/admin/users",
    "/admin;a=b/users",
    "/\\admin/users",
    "/health\\..\\admin\\users",
];

/// Checks a site that lets one network alone administer, and answers paths of [`ODD`] with one of these.
fn check_administration(program: Program, odd: &[u16]) {
    let Some((mut site, _process)) = Site::start(program, "Administration only from") else { return };
    let user = format!("root:{PASSWORD}");
    let ask = |path: &str, more: &[&str]| site.ask(path, &[&["--user", &user], more].concat());
    let ways = [&["--http1.1"][..], &["--http2"], &["--header", "X-Forwarded-For: 127.0.0.3"], &["--data", "a"]];
    for more in ways {
        for path in KEPT_IN {
            ask(path, more).expect(403);
        }
        for path in ODD {
            let seen = ask(path, more);
            assert!(odd.contains(&seen.status), "{path} {more:?}: {seen:?}");
        }
        for path in ["https://evil.example/admin/users", "http://127.0.0.1/admin/users"] {
            let seen = ask(path, more);
            // Caddy has an empty 200 for other hosts. Without a status it was no request to the program.
            let is_nothing = seen.status == 200 && seen.body.is_empty();
            assert!(is_nothing || [0, 400, 403, 404, 421].contains(&seen.status), "{path} {more:?}: {seen:?}");
        }
    }
    ask("/me", &[]).expect(200);
    ask("/admin/users", &["--interface", INSIDE]).expect(200);
    site.ask("/admin", &["--interface", INSIDE]).expect(303);
    let log = site.stop_countersign();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let kept_in = lines.filter(|line| line["route"].as_str().is_some_and(|route| route.starts_with("/admin")));
    let addresses: Vec<_> = kept_in.map(|line| line["address"].as_str().unwrap().to_owned()).collect();
    assert_eq!(addresses, [INSIDE; 2], "{log}");
}

/// Checks that a server is asked whether it is ready, once that is switched on.
fn check_health_checks(program: Program) {
    let Some((mut site, _process)) = Site::start(program, "Several servers:") else { return };
    // It is asked once a second, and the first time before it gets a request.
    thread::sleep(Duration::from_millis(1500));
    let log = site.stop_countersign();
    assert!(log.contains("\"route\":\"/ready\""), "{log}");
}

#[test]
fn haproxy_caddy_and_traefik_ask_servers_whether_they_are_ready() {
    for program in [haproxy, caddy, traefik] {
        check_health_checks(program);
    }
}

#[test]
fn nginx_publishes_countersign() {
    check_site(nginx, true, 503);
}

#[test]
fn haproxy_publishes_countersign() {
    check_site(haproxy, true, 503);
}

#[test]
fn caddy_publishes_countersign() {
    check_site(caddy, false, 503);
}

#[test]
fn traefik_publishes_countersign() {
    check_site(traefik, true, 502);
}

#[test]
fn nginx_keeps_administration_in_a_network() {
    check_administration(nginx, &[400]);
}

#[test]
fn haproxy_keeps_administration_in_a_network() {
    check_administration(haproxy, &[400]);
}

#[test]
fn caddy_keeps_administration_in_a_network() {
    check_administration(caddy, &[400]);
}

#[test]
fn traefik_keeps_administration_in_a_network() {
    check_administration(traefik, &[400, 403, 404]);
}
