//! What mails look like to whoever gets them, as Python's own parser reads them. `UPDATE_SNAPSHOTS=1` writes the files anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

use clap::Parser;
use countersign::config::Cli;
use countersign::mail::{Mailer, Message, Subject};
use uuid::Uuid;

use super::{FLAGS, Sink};

#[tokio::test]
async fn each_mail_reads_as_its_snapshot() {
    let Some(sink) = Sink::start() else { return };
    let url = format!("smtp://127.0.0.1:{}", sink.port);
    let args = [&["countersign", "--smtp-url", &url], &FLAGS[..]].concat();
    let mailer = Mailer::new(&Cli::try_parse_from(args).unwrap().config.settings).unwrap().unwrap();
    let values: BTreeMap<_, _> = [
        ("name", "Ana Muñoz"),
        ("username", "ana"),
        ("url", "https://auth.example.com/link/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        ("until", "2026-01-08 00:00 UTC"),
        ("at", "2026-01-01 00:00 UTC"),
        ("by", "from the address 192.0.2.7"),
        ("address", "192.0.2.7"),
        ("email", "ana@example.com"),
        ("token", "my script"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for subject in Subject::ALL {
        let message = Message { to: "ana@example.com".into(), subject, values: values.clone() };
        mailer.send(Uuid::nil(), &message).await.unwrap();
        let mail = sink.next();
        let text = |part: &str| mail[part].as_str().unwrap().replace("\r\n", "\n");
        let read = format!("{}\n\n{}\n-- html --\n{}\n", text("subject"), text("text"), text("html").trim_end());
        let file = Path::new("tests/it/mail/snapshots").join(format!("{}.txt", subject.as_str()));
        if env::var_os("UPDATE_SNAPSHOTS").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &read).unwrap();
        }
        assert_eq!(read, fs::read_to_string(&file).unwrap_or_default(), "{}", file.display());
        assert_eq!(mail["defects"], serde_json::json!([]));
    }
}
