//! `deploy/`: the real nginx, Caddy and Traefik ask Countersign before they forward a request to an upstream. Identity headers
//! of the client never reach it, and everything else does.

mod passing;
mod publish;
mod upstream;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use reqwest::Method;
use tempfile::TempDir;
use upstream::Upstream;

use crate::pages::stories;
use crate::support::{Answer, App, Binary, Database, Killed, PASSWORD, basic, find_program, free_port};

/// A trace that a client names, and how (W3C Trace Context).
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A proxy with a configuration of `deploy/`, in front of an upstream.
struct Proxy {
    port: u16,
    upstream: Upstream,
    /// Traefik's file separates what requires a role by host and not by path, and answers itself when Countersign does not.
    is_traefik: bool,
    _process: Killed,
    _folder: TempDir,
}

/// The configuration in the repository, with its ports replaced by those of the test.
fn configuration(file: &str, listen: &str, port: u16, countersign: u16, upstream: u16) -> String {
    let text = fs::read_to_string(file).unwrap();
    let placed = text
        .replace("127.0.0.1:5000", &format!("127.0.0.1:{countersign}"))
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{upstream}"));
    assert!(placed.contains(listen), "{file} listens on {listen}");
    placed.replace(listen, &listen.replace("8000", &port.to_string()))
}

impl Proxy {
    fn nginx(countersign: u16) -> Option<Self> {
        Self::nginx_with(countersign, "")
    }

    /// nginx, with more directives in the location of the application.
    fn nginx_with(countersign: u16, more: &str) -> Option<Self> {
        let nginx = find_program("nginx")?;
        let (folder, upstream, port) = (TempDir::new().unwrap(), Upstream::start(), free_port());
        let place = folder.path().to_owned();
        let text = configuration("deploy/nginx/countersign.conf", "127.0.0.1:8000", port, countersign, upstream.port);
        let text = text.replacen("    location / {\n", &format!("    location / {{\n        {more}\n"), 1);
        fs::write(place.join("countersign.conf"), text).unwrap();
        let module = "/usr/lib/nginx/modules/ngx_http_headers_more_filter_module.so";
        assert!(Path::new(module).exists(), "install libnginx-mod-http-headers-more-filter");
        let frame = "load_module MODULE; master_process off; pid nginx.pid; error_log stderr info; events {} http { access_log off; \
                     client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path \
                     uwsgi; scgi_temp_path scgi; include countersign.conf; }";
        fs::write(place.join("nginx.conf"), frame.replace("MODULE", module)).unwrap();
        let mut command = Command::new(nginx);
        command.arg("-p").arg(&place).arg("-c").arg(place.join("nginx.conf")).args([
            "-e",
            "stderr",
            "-g",
            "daemon off;",
        ]);
        Some(Self::run(command, port, upstream, folder))
    }

    fn caddy(countersign: u16) -> Option<Self> {
        let caddy = find_program("caddy")?;
        let (folder, upstream, port) = (TempDir::new().unwrap(), Upstream::start(), free_port());
        let place = folder.path().to_owned();
        let text = configuration("deploy/caddy/Caddyfile", "http://:8000", port, countersign, upstream.port);
        fs::write(place.join("Caddyfile"), text).unwrap();
        let mut command = Command::new(caddy);
        command.arg("run").arg("--config").arg(place.join("Caddyfile")).args(["--adapter", "caddyfile"]);
        for home in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            command.env(home, &place);
        }
        Some(Self::run(command, port, upstream, folder))
    }

    /// Traefik, without TLS. The hosts of its routers are those that the checks ask for.
    fn traefik(countersign: u16) -> Option<Self> {
        let traefik = find_program("traefik")?;
        let (folder, upstream, port) = (TempDir::new().unwrap(), Upstream::start(), free_port());
        let place = folder.path().to_owned();
        let text = configuration("deploy/traefik/countersign.yml", "[websecure]", port, countersign, upstream.port);
        let text = text
            .replace("127.0.0.1:8081", &format!("127.0.0.1:{}", upstream.port))
            .replace("      tls: {}\n", "")
            .replace("Host(`app.example.org`)", "PathPrefix(`/`)")
            .replace("Host(`admin.example.org`)", "Host(`admin.example.com`)");
        fs::write(place.join("countersign.yml"), text).unwrap();
        let frame = format!(
            "global: {{checkNewVersion: false, sendAnonymousUsage: false}}
entryPoints: {{websecure: {{address: \"127.0.0.1:{port}\", http: {{aliasHeadersStrategy: delete}}}}}}
providers: {{file: {{filename: {}}}}}
",
            place.join("countersign.yml").display()
        );
        fs::write(place.join("traefik.yml"), frame).unwrap();
        let mut command = Command::new(traefik);
        command.arg(format!("--configFile={}", place.join("traefik.yml").display())).current_dir(&place);
        let proxy = Self { is_traefik: true, ..Self::run(command, port, upstream, folder) };
        // It listens before it has read its routers.
        for _ in 0..500 {
            if proxy.send(&get("/", &[])).status != 404 {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        Some(proxy)
    }

    fn run(mut command: Command, port: u16, upstream: Upstream, folder: TempDir) -> Self {
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = Killed(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Self { port, upstream, is_traefik: false, _process: process, _folder: folder };
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{}", fs::read_to_string(folder.path().join("log")).unwrap());
    }

    /// Sends a raw request and parses the response.
    fn send(&self, request: &str) -> Seen {
        let before = self.upstream.hits();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, upstream_saw) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}\n{answer}"));
        Seen {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: upstream_saw.to_owned(),
            reached: self.upstream.hits() - before,
        }
    }
}

#[derive(Debug)]
struct Seen {
    status: u16,
    head: String,
    body: String,
    /// The number of requests that reached the upstream.
    reached: usize,
}

impl Seen {
    /// The headers that the upstream received, by name in lower case.
    fn upstream_headers(&self) -> BTreeMap<String, Vec<String>> {
        let mut headers = BTreeMap::new();
        for line in self.body.split("\r\n").skip(1).take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            headers.entry(name.to_lowercase()).or_insert_with(Vec::new).push(value.trim().to_owned());
        }
        headers
    }

    fn challenges(&self) -> Vec<&str> {
        let lines = self.head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.filter(|(name, _)| name.eq_ignore_ascii_case("www-authenticate")).map(|(_, value)| value).collect()
    }
}

fn get(path: &str, headers: &[&str]) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{headers}\r\n")
}

/// A browser that opens a page of the application signs in at Countersign, comes back, and signs out.
async fn check_sign_in(start: impl FnOnce(u16) -> Option<Proxy> + Send + 'static) {
    let port = free_port();
    let Some(proxy) = tokio::task::spawn_blocking(move || start(port)).await.unwrap() else { return };
    // Chromium finds every name under localhost on this machine.
    let (auth, site) =
        (format!("http://auth.test.localhost:{port}"), format!("http://app.test.localhost:{}", proxy.port));
    let flags = ["--public-url", &auth, "--cookie-domain", "test.localhost", "--return-to", &site];
    let app = App::start_at(port, &flags).await;
    app.create("ana", &["user"]).await;
    let folder = TempDir::new().unwrap();
    let (also, keeps_session) = ([&site], proxy.is_traefik);
    let given = serde_json::json!({
        "url": auth, "also": also, "site": site, "password": PASSWORD, "keepsSession": keeps_session,
    });
    let seen = stories::tell(include_str!("../../pages/application.mjs"), folder.path(), &given).await;
    seen.iter().for_each(stories::assert_clean);
}

#[tokio::test]
async fn a_browser_signs_in_for_an_application_behind_nginx() {
    check_sign_in(Proxy::nginx).await;
}

#[tokio::test]
async fn a_browser_signs_in_for_an_application_behind_caddy() {
    check_sign_in(Proxy::caddy).await;
}

#[tokio::test]
async fn a_browser_signs_in_for_an_application_behind_traefik() {
    check_sign_in(Proxy::traefik).await;
}

async fn countersign() -> (App, u16) {
    let app = App::start().await;
    let port = app.address.rsplit(':').next().unwrap().parse().unwrap();
    (app, port)
}

/// Checks a proxy with our configuration.
async fn check_proxy(app: App, start: impl FnOnce() -> Option<Proxy> + Send + 'static) {
    let id = app.create("zoë", &["user", "editor"]).await;
    let (opaque, jwt) = app.tokens("zoë").await;
    let (roots, _) = app.tokens("root").await;
    let personal = app.personal_token("zoë", &serde_json::json!({"name": "a", "scopes": []})).await;
    let all = "profile users:read tokens";
    let kinds = vec![
        (opaque.clone(), "opaque", all),
        (jwt.clone(), "jwt", all),
        (personal, "personal", ""),
        (basic("zoë", PASSWORD), "basic", all),
    ];
    let good = format!("Authorization: {opaque}");
    let admins = format!("Authorization: {roots}");
    let proxy = tokio::task::spawn_blocking(move || {
        let proxy = start()?;
        for (credential, method, scopes) in kinds {
            let seen = proxy.send(&get("/path?q=1", &[&format!("Authorization: {credential}")]));
            assert_eq!((seen.status, seen.reached), (200, 1), "{seen:?}");
            assert!(seen.body.starts_with("GET /path?q=1 HTTP/1."), "{seen:?}");
            let headers = seen.upstream_headers();
            let said = |name: &str| headers.get(name).map(|values| values.join("|")).unwrap_or_default();
            assert_eq!((said("x-auth-user"), said("x-auth-user-id")), ("zoë".into(), id.clone()));
            let roles = if scopes == all { "editor,user" } else { "editor" };
            assert_eq!((said("x-auth-roles"), said("x-auth-scopes")), (roles.into(), scopes.into()));
            assert_eq!((said("x-auth-method"), said("authorization")), (method.into(), String::new()));
        }
        check_forged_headers(&proxy, &good, &id);
        check_refusals(&proxy, &good, &admins);
        let body = "x".repeat(5000);
        let post =
            format!("POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{good}\r\nContent-Length: 5000\r\n\r\n{body}");
        let seen = proxy.send(&post);
        assert!(seen.status == 200 && seen.body.ends_with(&body), "the whole body is forwarded");
        Some(proxy)
    });
    let Some(proxy) = proxy.await.unwrap() else { return };

    app.with(&jwt).send(Method::POST, "/logout").await.expect(204);
    let refused = format!("Authorization: {opaque}");
    let proxy = tokio::task::spawn_blocking(move || {
        let seen = proxy.send(&get("/", &[&refused]));
        assert_eq!((seen.status, seen.reached), (401, 0), "a logout applies to the next request");
        proxy
    });
    let proxy = proxy.await.unwrap();
    // First an internal error of Countersign, then no Countersign at all.
    app.database.sql("ALTER TABLE users RENAME TO away").await;
    let admins = format!("Authorization: {roots}");
    let failing = admins.clone();
    let proxy = tokio::task::spawn_blocking(move || {
        let seen = proxy.send(&get("/", &[&failing]));
        assert!(seen.status >= 500 && seen.reached == 0, "{seen:?}");
        proxy
    });
    let proxy = proxy.await.unwrap();
    drop(app);
    tokio::task::spawn_blocking(move || {
        // One of its connections may stay open for a moment.
        let mut seen = proxy.send(&get("/", &[&admins]));
        for _ in 0..100 {
            assert!(seen.status >= 500 && seen.reached == 0, "{seen:?}");
            if seen.status == 503 || proxy.is_traefik {
                break;
            }
            thread::sleep(Duration::from_millis(50));
            seen = proxy.send(&get("/", &[&admins]));
        }
        if proxy.is_traefik {
            return;
        }
        assert_eq!(seen.status, 503, "{seen:?}");
        assert!(seen.head.to_lowercase().contains("retry-after: "), "{seen:?}");
    })
    .await
    .unwrap();
}

/// What other gates call the caller, or the address or the path of the request.
const OTHER_GATES: [&str; 41] = [
    "Remote-User",
    "REMOTE_USER",
    "Remote-Groups",
    "Remote-Email",
    "X-Remote-User",
    "X-Remote_User",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Forwarded-Client-Cert",
    "Auth-User",
    "X-Authenticated-User",
    "X-Authentik-Username",
    "X-WEBAUTH-USER",
    "X_WEBAUTH_USER",
    "X-User",
    "X-User-Id",
    "X-User-Email",
    "X-Username",
    "X-Userinfo",
    "X-Pomerium-Claim-Email",
    "X-Vouch-User",
    "Cf-Access-Authenticated-User-Email",
    "Tailscale-User-Login",
    "X-Amzn-Oidc-Identity",
    "X-Goog-Authenticated-User-Email",
    "X-Goog-IAP-JWT-Assertion",
    "X-MS-CLIENT-PRINCIPAL",
    "Client-Cert",
    "X-Client-Cert",
    "SSL-Client-S-DN",
    "X-SSL-Client-Cert",
    "Proxy-Authorization",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Client-IP",
    "True-Client-IP",
    "X-Cluster-Client-IP",
    "Forwarded",
];

fn check_forged_headers(proxy: &Proxy, good: &str, id: &str) {
    let mut names = Vec::new();
    for name in ["X-Auth-User", "X-Auth-User-Id", "X-Auth-Roles", "X-Auth-Scopes", "X-Auth-Method", "X-Auth-Other"] {
        names.extend([name.to_owned(), name.to_lowercase(), name.to_uppercase(), name.replace('-', "_")]);
        names.push(name.replacen('-', "_", 1));
        names.push(name.replace('-', "."));
        names.push(name.replace('-', "!"));
    }
    names.extend(OTHER_GATES.iter().map(ToString::to_string));
    let mut cases: Vec<Vec<String>> = names.iter().map(|name| vec![format!("{name}: FORGED")]).collect();
    cases.push(names.iter().map(|name| format!("{name}: FORGED")).collect());
    cases.push(vec!["X-Auth-User: FORGED".into(), "X-Auth-User: FORGED".into()]);
    for dropped in ["X-Auth-User", "close, X-Auth-User, X-Auth-User-Id, X-Auth-Roles, X-Auth-Scopes, X-Auth-Method"] {
        cases.push(vec![format!("Connection: {dropped}"), "X-Auth-User: FORGED".into()]);
    }
    for case in cases {
        let headers: Vec<_> = std::iter::once(good).chain(case.iter().map(String::as_str)).collect();
        let seen = proxy.send(&get("/", &headers));
        assert_eq!((seen.status, seen.reached), (200, 1), "{case:?}: {seen:?}");
        assert!(!seen.body.contains("FORGED"), "{case:?}: {seen:?}");
        let upstream = seen.upstream_headers();
        assert_eq!(upstream["x-auth-user-id"], [id], "{case:?}");
        assert_eq!(upstream["x-auth-user"], ["zoë"], "{case:?}");
    }
}

fn check_refusals(proxy: &Proxy, good: &str, admins: &str) {
    let (basic, bearer) = (r#"Basic realm="countersign", charset="UTF-8""#, r#"Bearer realm="countersign""#);
    let refused = |request: &str, status: u16| {
        let seen = proxy.send(request);
        assert_eq!((seen.status, seen.reached), (status, 0), "{request}: {seen:?}");
        seen
    };
    assert_eq!(refused(&get("/", &["X-Auth-User: root"]), 401).challenges(), [basic, bearer]);
    assert_eq!(refused(&get("/", &["Sec-Fetch-Mode: cors"]), 401).challenges(), [bearer]);
    let wrong = refused(&get("/", &["Authorization: Bearer nonsense"]), 401);
    assert_eq!(wrong.challenges(), [basic, &format!("{bearer}, error=\"invalid_token\"")]);
    for verb in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        refused(&get("/", &[]).replacen("GET", verb, 1), 401);
    }
    refused(&get("/", &[good, good]), 400);
    let seen = proxy.send(&get("/x?role=nobody&scope=admin", &[good]));
    assert_eq!(seen.reached, 1, "the client's query sets no requirements");
    if proxy.is_traefik {
        let to_admin = |headers: &[&str]| get("/", headers).replace("example.com", "admin.example.com");
        refused(&to_admin(&[good, "X-Forwarded-Host: example.com"]), 403);
        assert_eq!(proxy.send(&to_admin(&[admins])).reached, 1);
        return;
    }
    for path in ["/admin", "/admin/", "/ADMIN/x", "/%61dmin/", "/admin?role=user", "/admin/?scope=profile"] {
        refused(&get(path, &[good]), 403);
        refused(&get(path, &[good, "X-Original-URL: /", "X-Forwarded-Uri: /"]), 403);
        assert_eq!(proxy.send(&get(path, &[admins])).reached, 1);
    }
    for path in ["//admin/", "/x/../admin/", "/x/..;/admin/", "/;a=b/admin/", "/%2e%2e/", "/..%2fadmin/", "/%5cadmin/"]
    {
        refused(&get(path, &[good]), 400);
    }
}

#[tokio::test]
async fn nginx_verifies_each_request_and_forwards_only_our_identity_headers() {
    let (app, port) = countersign().await;
    check_proxy(app, move || Proxy::nginx(port)).await;
}

#[tokio::test]
async fn traefik_verifies_each_request_and_forwards_only_our_identity_headers() {
    let (app, port) = countersign().await;
    check_proxy(app, move || Proxy::traefik(port)).await;
}

#[tokio::test]
async fn caddy_verifies_each_request_and_forwards_only_our_identity_headers() {
    let (app, port) = countersign().await;
    check_proxy(app, move || Proxy::caddy(port)).await;
}

/// The access log has the address at which the proxy sees the client, not the one that the client names; nor has it the trace
/// that the client names.
async fn check_client_address(start: impl FnOnce(u16) -> Option<Proxy>) {
    let database = Database::new().await;
    let server = Binary::new(database.folder.path())
        .env("DATABASE_URL", &database.url)
        .env("COUNTERSIGN_LOG_FORMAT", "json")
        .env("COUNTERSIGN_TRUSTED_PROXIES", "127.0.0.1")
        // Nobody listens there, but requests have traces.
        .env("COUNTERSIGN_OTLP_URL", &format!("http://127.0.0.1:{}", free_port()))
        .serve();
    let Some(proxy) = start(server.port) else { return };
    // On Linux, a client can have any address of 127.0.0.0/8. The proxy has 127.0.0.1.
    let client = reqwest::Client::builder().local_address(IpAddr::from([127, 0, 0, 2])).build().unwrap();
    let request = client.get(format!("http://127.0.0.1:{}/", proxy.port)).header("x-forwarded-for", "203.0.113.9");
    let request = request.header("traceparent", TRACEPARENT).header("tracestate", "a=b");
    Answer::of(request.header("forwarded", "for=203.0.113.9")).await.expect(401);
    let log = server.stop().stdout;
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut requests = lines.filter(|line| line["route"] == "/verify");
    let request = requests.next_back().unwrap();
    assert_eq!(request["address"], "127.0.0.2", "{log}");
    assert!(request["trace_id"].is_string() && request["trace_id"] != TRACE, "{log}");
}

#[tokio::test]
async fn nginx_passes_the_address_of_the_client_on_and_no_trace() {
    check_client_address(Proxy::nginx).await;
}

#[tokio::test]
async fn traefik_passes_the_address_of_the_client_on_and_no_trace() {
    check_client_address(Proxy::traefik).await;
}

#[tokio::test]
async fn caddy_passes_the_address_of_the_client_on_and_no_trace() {
    check_client_address(Proxy::caddy).await;
}

/// Otherwise the question to Countersign inherits the limit of the server, and ends with 413.
#[tokio::test]
async fn a_location_of_nginx_may_take_larger_bodies_than_the_server() {
    let (app, port) = countersign().await;
    let (opaque, _) = app.tokens("root").await;
    let seen = tokio::task::spawn_blocking(move || {
        let proxy = Proxy::nginx_with(port, "client_max_body_size 20m;")?;
        let body = "x".repeat(3_000_000);
        let length = body.len();
        Some(proxy.send(&format!(
            "POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {opaque}\r\nContent-Length: {length}\r\n\r\n{body}"
        )))
    });
    let Some(seen) = seen.await.unwrap() else { return };
    assert_eq!((seen.status, seen.reached), (200, 1), "{}", seen.head);
    assert!(seen.body.len() > 3_000_000);
}
