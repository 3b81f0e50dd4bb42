//! `countersign audit`: listing and verifying the trail.

use serde_json::{Value, json};

use super::{Shell, login};
use crate::support::{Answer, Database, PASSWORD, basic, on_postgres};

#[tokio::test]
async fn audit_list_matches_the_route() {
    let database = Database::new().await;
    let shell = Shell::on(&database);
    let server = shell.serve();
    shell.create("root", &["user", "admin"]);
    shell.create("sergio", &["user"]);
    login(&server, "sergio").await;
    login(&server, "root").await;
    let list = |more: &[&str]| shell.run(&[&["audit", "list"], more].concat(), "");
    let records = |text: &str| -> Vec<Value> { text.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    let numbers = |more: &[&str]| -> Vec<i64> {
        let found = list(&[more, &["--json"]].concat()).unwrap();
        records(&found).iter().map(|record| record["seq"].as_i64().unwrap()).collect()
    };

    let request = reqwest::Client::new().get(format!("{}/admin/audit", server.url()));
    let served = Answer::of(request.header("authorization", basic("root", PASSWORD))).await.expect(200).json();
    assert_eq!(json!(records(&list(&["--json"]).unwrap())), served["items"]);
    assert_eq!(numbers(&[]), [5, 4, 3, 2, 1]);
    assert_eq!(numbers(&["--limit", "2"]), [5, 4]);
    assert_eq!(numbers(&["--user", "SERGIO"]), [4, 3]);
    assert_eq!(numbers(&["--user", "sergio", "--event", "login.succeeded"]), [4]);
    assert_eq!(numbers(&["--since", "2999-01-01T00:00:00Z"]), [0_i64; 0]);
    let third = served["items"][1]["at"].as_str().unwrap();
    assert_eq!(numbers(&["--since", third, "--event", "login.succeeded"]), [5, 4]);

    // The table shows usernames, and the ids of deleted users.
    shell.run(&["user", "delete", "--yes", "sergio"], "").unwrap();
    let table = list(&["--limit", "2"]).unwrap();
    let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!((lines[0][0], lines[1][2], lines[1][6], lines[2][4]), ("NUMBER", "user.deleted", "command", "root"));
    assert!(list(&["--user", "sergio"]).unwrap().contains("user.deleted"), "what is left of a user who was deleted");
    assert!(list(&["--user", "nobody"]).unwrap_err().contains("there is and was no user nobody"));
    assert_eq!(numbers(&["--since", "1h", "--event", "login.succeeded"]), [5, 4], "of the last hour");
    for (wrong, said) in [
        (["--since", "yesterday"], "must be so long ago, such as 24h or 7d, or a time"),
        (["--limit", "0"], "0"),
        (["--event", "login.fail"], "must be one of login.succeeded, login.failed, "),
        (["--event", "login.fail"], "did you mean login.failed?"),
    ] {
        let ended = shell.end(&[&["audit", "list"], &wrong[..]].concat(), "");
        assert!(ended.code == 2 && ended.stderr.contains(said), "{wrong:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn a_trail_of_many_pages_is_listed_completely() {
    let database = Database::new().await;
    let shell = Shell::on(&database);
    shell.create("root", &["user", "admin"]);
    let zeros = if on_postgres().is_some() { "decode(repeat('00', 32), 'hex')" } else { "zeroblob(32)" };
    let many = format!(
        "WITH RECURSIVE n (i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
        INSERT INTO audit (seq, at, event, outcome, hash) SELECT i, i, 'x', 'done', {zeros} FROM n"
    );
    database.sql(&many).await;
    for (more, count) in [(vec![], 2500), (vec!["--limit", "1000"], 1000), (vec!["--limit", "2001"], 2001)] {
        let text = shell.run(&[vec!["audit", "list", "--json"], more].concat(), "").unwrap();
        assert_eq!(text.lines().count(), count);
    }
}

#[tokio::test]
async fn a_broken_chain_is_reported_with_its_record_number_and_exit_code_3() {
    let database = Database::new().await;
    let shell = Shell::on(&database);
    for name in ["root", "sergio", "zoe"] {
        shell.create(name, &["user", "admin"]);
    }
    let verify = || shell.end(&["audit", "verify"], "");
    let ended = verify();
    let said = "4 records hang together, from the first to the last\n";
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, said, ""));
    // Whoever noted a record elsewhere sees that the end of the chain was cut, though what is left hangs together.
    let noted = shell.run(&["audit", "list", "--limit", "1", "--json"], "").unwrap();
    let noted: serde_json::Value = serde_json::from_str(noted.trim()).unwrap();
    let expect = format!("{}:{}", noted["seq"], noted["hash"].as_str().unwrap());
    assert_eq!(shell.end(&["audit", "verify", "--expect", &expect], "").code, 0);
    assert_eq!(shell.end(&["audit", "verify", "--expect", "3:abc"], "").code, 2);
    let other = format!("2:{}", noted["hash"].as_str().unwrap());
    let ended = shell.end(&["audit", "verify", "--expect", &other], "");
    let missing = "4 records hang together, but record 2 is not there with that hash\n";
    assert_eq!((ended.code, ended.stdout.as_str()), (3, missing));
    database.sql("UPDATE audit SET outcome = 'refused' WHERE seq = 2").await;
    let ended = verify();
    let said = "record 2 was changed or is missing; the 1 before it hang together\n";
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (3, said, ""));
}
