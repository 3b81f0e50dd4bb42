//! `countersign health`: what it says of servers, and of what is none.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use tempfile::TempDir;

use crate::support::{Binary, certify, find_program, free_port};

/// Runs the command with these variables, in a folder of its own, which has to stay empty. Returns what it prints, or its one
/// line on standard error.
fn health(variables: &[(&str, &str)]) -> Result<String, String> {
    let folder = TempDir::new().unwrap();
    let mut binary = Binary::new(folder.path()).args(&["health"]);
    for (name, value) in variables {
        binary = binary.env(name, value);
    }
    let done = binary.output();
    let (stdout, stderr) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    match done.status.code() {
        Some(0) if stderr.is_empty() => Ok(stdout),
        Some(1) if stdout.is_empty() && stderr.lines().count() == 1 => Err(stderr),
        code => panic!("{code:?}: {stdout}{stderr}"),
    }
}

fn health_at(listen: &str) -> Result<String, String> {
    health(&[("COUNTERSIGN_LISTEN", listen)])
}

#[test]
fn a_server_is_healthy_when_it_is_ready_whatever_the_command_could_do_with_its_database() {
    let folder = TempDir::new().unwrap();
    let server = Binary::new(folder.path()).serve();
    let (own, any) = (format!("127.0.0.1:{}", server.port), format!("0.0.0.0:{}", server.port));
    let ready = format!("the server at {own} is ready\n");
    assert_eq!(health_at(&own), Ok(ready.clone()));
    assert_eq!(health_at(&any), Ok(ready.clone()));
    // Nobody answers for this database, and no key is given.
    let unreachable = ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing");
    assert_eq!(health(&[("COUNTERSIGN_LISTEN", &own), unreachable]), Ok(ready));
}

#[test]
fn a_server_that_shuts_down_is_not_healthy() {
    let folder = TempDir::new().unwrap();
    let server = Binary::new(folder.path()).args(&["--drain-time", "30s"]).serve();
    let address = format!("127.0.0.1:{}", server.port);
    assert!(health_at(&address).is_ok());
    server.terminate();
    // The signal takes its time to arrive.
    let said = std::iter::repeat_with(|| health_at(&address)).take(200).find_map(Result::err);
    assert_eq!(said.unwrap(), format!("countersign: the server at {address} is not ready: draining\n"));
}

#[test]
fn without_a_server_it_is_said_that_none_answers() {
    let address = format!("127.0.0.1:{}", free_port());
    let said = health_at(&address).unwrap_err();
    assert!(
        said.starts_with(&format!("countersign: the server at {address} does not answer: Connection refused")),
        "{said}"
    );
}

#[test]
fn something_else_in_the_place_of_the_server_is_not_healthy() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "is not the server of these settings"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "is not the server of these settings"),
        ("", "is not the server of these settings"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let said = health_at(&address).unwrap_err();
        assert!(said.contains(expected), "{said}");
        assert!(other.join().unwrap().starts_with("GET /ready HTTP/1.1\r\n"));
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    // Connections wait in its queue.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let said = health_at(&listener.local_addr().unwrap().to_string()).unwrap_err();
    assert!(said.ends_with("does not answer: 5 seconds have passed\n"), "{said}");
}

#[test]
fn with_tls_only_a_server_with_the_certificate_of_the_settings_is_healthy() {
    let Some(openssl) = find_program("openssl") else { return };
    let (folder, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    for folder in [&folder, &other] {
        certify(&openssl, folder.path(), "localhost");
    }
    let tls =
        |folder: &TempDir| ["cert.pem", "key.pem"].map(|file| folder.path().join(file).to_str().unwrap().to_owned());
    let [certificate, key] = tls(&folder);
    let server =
        Binary::new(folder.path()).env("COUNTERSIGN_TLS_CERT", &certificate).env("COUNTERSIGN_TLS_KEY", &key).serve();
    let address = format!("127.0.0.1:{}", server.port);
    let ask = |certificate: &str| health(&[("COUNTERSIGN_LISTEN", &address), ("COUNTERSIGN_TLS_CERT", certificate)]);
    assert_eq!(ask(&certificate), Ok(format!("the server at {address} is ready\n")));
    let said = ask(&tls(&other)[0]).unwrap_err();
    assert!(said.contains("it shows another certificate than that in COUNTERSIGN_TLS_CERT"), "{said}");
    let said = ask("nowhere.pem").unwrap_err();
    assert!(said.starts_with("countersign: COUNTERSIGN_TLS_CERT: nowhere.pem cannot be used"), "{said}");
    assert!(health_at(&address).unwrap_err().contains("is not the server of these settings"));

    let plain = Binary::new(folder.path()).serve();
    let address = format!("127.0.0.1:{}", plain.port);
    let said = health(&[("COUNTERSIGN_LISTEN", &address), ("COUNTERSIGN_TLS_CERT", &certificate)]).unwrap_err();
    assert!(said.contains("does not answer"), "{said}");
}
