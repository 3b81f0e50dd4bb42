//! Walks along chains that were written by us, by an earlier version, under another key, or by somebody without the key.

use aws_lc_rs::hmac;

use super::*;
use crate::model::{AuditMethod, Outcome};

const ANOTHER: &str = "another key";

fn key() -> ChainKey {
    ChainKey::new(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]))
}

/// A record: what chains it to the one before, its event and its target.
type Written<'a> = (Link, Event, &'a str);

/// The rows of these records, of which the first follows the one with this number and hash.
fn rows(start: (i64, Vec<u8>), records: &[Written<'_>]) -> Vec<AuditRow> {
    let (mut seq, mut before) = start;
    let row = |(link, event, target): &Written<'_>| {
        seq += 1;
        let record = AuditRecord::by_system(*event, Timestamp(seq)).to(target);
        assert_eq!((record.method, record.outcome), (AuditMethod::System, Outcome::Done));
        let mut row = AuditRow::new(record, seq, &before, &key()).unwrap();
        row.hash = match link {
            Link::Keyed => row.hash,
            Link::Unkeyed => row.unkeyed_hash(&before).unwrap(),
            Link::Unknown => vec![9; 32],
        };
        before.clone_from(&row.hash);
        row
    };
    records.iter().map(row).collect()
}

/// Walks from there. Returns the number of the first record at fault, how many are from before the key, and whether the beginning
/// is still only claimed.
fn walk(start: (i64, Vec<u8>), rows: Vec<AuditRow>) -> (Option<i64>, i64, bool) {
    let key = key();
    let mut walk = Walk::from(start, &key);
    let fault = rows.into_iter().find_map(|row| walk.pass(row).unwrap());
    (fault, walk.unsealed, walk.claim.is_some())
}

#[test]
fn a_chain_is_ours_from_its_first_record_under_our_key_on() {
    use Link::{Keyed, Unkeyed, Unknown};
    let (login, seal) = (Event::LoggedIn, Event::AuditSealed);
    let (another, unkeyed) = (Unsealed::AnotherKey.as_str(), Unsealed::Unkeyed.as_str());
    assert_eq!(another, ANOTHER.replace(' ', "-"));
    for (records, fault, unsealed) in [
        (&[(Keyed, seal, "new"), (Keyed, login, ""), (Keyed, login, "")][..], None, 0),
        (&[(Unkeyed, login, ""), (Unkeyed, login, ""), (Keyed, seal, unkeyed), (Keyed, login, "")], None, 2),
        (&[(Unkeyed, login, ""), (Keyed, login, "")], None, 1),
        // What nobody here can check is accepted where a trail came from elsewhere, and the record that begins ours says so.
        (&[(Unknown, login, ""), (Unknown, login, ""), (Keyed, seal, another), (Keyed, login, "")], None, 2),
        (&[(Unkeyed, login, ""), (Unknown, login, ""), (Unkeyed, login, ""), (Keyed, seal, another)], None, 3),
        (&[(Unknown, login, ""), (Keyed, login, "")], Some(1), 1),
        (&[(Unkeyed, login, ""), (Unknown, login, ""), (Unknown, login, ""), (Keyed, login, "")], Some(2), 3),
        (&[(Unknown, login, ""), (Keyed, seal, unkeyed)], Some(1), 1),
        (&[(Unknown, login, ""), (Keyed, login, another)], Some(1), 1),
        (&[(Unknown, login, ""), (Unknown, seal, another)], None, 2),
        // Nothing else comes after ours.
        (&[(Keyed, login, ""), (Unkeyed, login, "")], Some(2), 0),
        (&[(Keyed, login, ""), (Unknown, login, "")], Some(2), 0),
        (&[(Keyed, login, ""), (Unknown, seal, another)], Some(2), 0),
        (&[(Keyed, login, ""), (Keyed, Event::AuditBroken, ""), (Keyed, login, "")], Some(2), 0),
        (&[(Unkeyed, Event::AuditBroken, ""), (Keyed, login, "")], None, 1),
    ] {
        let start = (0, vec![0; 32]);
        assert_eq!(walk(start.clone(), rows(start, records)), (fault, unsealed, false), "{records:?}");
    }
}

#[test]
fn a_record_that_is_missing_is_the_one_at_fault() {
    let start = (4, vec![4; 32]);
    let mut written = rows(start.clone(), &[(Link::Keyed, Event::LoggedIn, ""); 4]);
    written.remove(2);
    assert_eq!(walk(start, written).0, Some(7));
}

#[test]
fn where_a_chain_begins_is_confirmed_by_a_record_of_that_alone() {
    let start = (4, vec![4; 32]);
    let claim = forgotten_target(4, &start.1);
    assert_eq!(claim, format!("to 4 {}", "04".repeat(32)));
    for (event, target, is_claimed) in [
        (Event::AuditForgotten, claim.as_str(), false),
        (Event::AuditForgotten, "to 3", true),
        (Event::LoggedIn, claim.as_str(), true),
    ] {
        let written = rows(start.clone(), &[(Link::Keyed, event, target), (Link::Keyed, Event::LoggedIn, "")]);
        assert_eq!(walk(start.clone(), written), (None, 0, is_claimed), "{target}");
    }
}
