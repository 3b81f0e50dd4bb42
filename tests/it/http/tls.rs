//! TLS without a proxy, asked by the real curl.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use countersign::http::{self, Access, Tls};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::{App, Binary, certify, find_program};

pub fn curl(folder: &Path, certificate: &str, port: u16, args: &[&str]) -> Output {
    let url = format!("https://localhost:{port}/health");
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--include", "--max-time", "5", "--cacert", certificate]).args(args);
    command.arg(url).current_dir(folder).output().unwrap()
}

#[tokio::test]
async fn tls_is_served_from_version_1_2_on_with_hsts_and_a_new_certificate_without_a_restart() {
    let (Some(openssl), Some(_)) = (find_program("openssl"), find_program("curl")) else { return };
    let folder = TempDir::new().unwrap();
    certify(&openssl, folder.path(), "localhost");
    let tls = Tls::open(&folder.path().join("cert.pem"), &folder.path().join("key.pem")).unwrap();
    let app = App::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let access = Access { tls: Some(tls.clone()), ..Access::default() };
    let service = http::App::new(app.service.auth().clone(), access);
    tokio::spawn(http::serve(listener, service, std::future::pending()));
    let place = folder.path().to_owned();
    let ask = async |certificate: &'static str, args: &'static [&'static str]| {
        let place = place.clone();
        tokio::task::spawn_blocking(move || curl(&place, certificate, port, args)).await.unwrap()
    };
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let answer = ask("cert.pem", version).await;
        let text = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("strict-transport-security: max-age="), "{answer:?}");
    }
    assert!(
        !ask("cert.pem", &["--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]).await.status.success()
    );

    fs::copy(folder.path().join("cert.pem"), folder.path().join("old.pem")).unwrap();
    // While only one of the two files is there, the old pair serves on.
    fs::write(folder.path().join("cert.pem"), "nothing yet").unwrap();
    assert!(tls.reload().is_err());
    assert!(ask("old.pem", &[]).await.status.success());
    certify(&openssl, folder.path(), "localhost");
    tls.reload().unwrap();
    assert!(ask("cert.pem", &[]).await.status.success());
    assert!(!ask("old.pem", &[]).await.status.success());
}

#[test]
fn a_certificate_without_its_key_stops_the_start_and_both_make_the_address_https() {
    let Some(openssl) = find_program("openssl") else { return };
    let folder = TempDir::new().unwrap();
    certify(&openssl, folder.path(), "localhost");
    let binary =
        || Binary::new(folder.path()).env("COUNTERSIGN_TLS_CERT", "cert.pem").args(&["--listen", "127.0.0.1:0"]);
    let said = |binary: Binary| String::from_utf8(binary.output().stderr).unwrap();
    let text = said(binary());
    assert!(text.starts_with("countersign: COUNTERSIGN_TLS_KEY: is missing"), "{text}");
    let text = said(binary().env("COUNTERSIGN_TLS_KEY", "nowhere.pem"));
    assert!(text.starts_with("countersign: COUNTERSIGN_TLS_KEY: nowhere.pem cannot be used"), "{text}");
    let text = said(binary().env("COUNTERSIGN_TLS_KEY", "cert.pem"));
    assert!(text.starts_with("countersign: COUNTERSIGN_TLS_KEY: cert.pem cannot be used"), "{text}");
    let server = Binary::new(folder.path())
        .env("COUNTERSIGN_TLS_CERT", "cert.pem")
        .env("COUNTERSIGN_TLS_KEY", "key.pem")
        .serve();
    assert!(server.welcome.contains("API document: https://localhost:"), "{}", server.welcome);
}
