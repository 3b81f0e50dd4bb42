//! The service under systemd: what it tells it, and what the unit lets it do.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Binary, command, find_program};

#[test]
fn systemd_is_told_when_the_server_is_ready_goes_on_and_stops() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let server =
        Binary::new(folder.path()).env("NOTIFY_SOCKET", path.to_str().unwrap()).env("WATCHDOG_USEC", "300000").serve();
    let next = || {
        let mut message = [0; 200];
        let length = socket.recv(&mut message).unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap().trim().to_owned()
    };
    assert_eq!(next(), "READY=1");
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1");
    }
    assert!(server.stop().success);
    let last = std::iter::repeat_with(next).find(|told| told != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}

#[test]
fn the_unit_leaves_little_to_a_server_that_somebody_has_taken_over() {
    let Some(program) = find_program("systemd-analyze") else { return };
    let mut analyze = command(program);
    // In tenths: less than 2.0 of 10.
    analyze.args(["security", "--offline=true", "--threshold=20", "--no-pager", "deploy/systemd/countersign.service"]);
    let done = analyze.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}
