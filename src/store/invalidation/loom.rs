//! The version table once more, in every order of its steps that the memory model allows.

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

mod atomic {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}
#[allow(clippy::duplicate_mod, reason = "the same text with loom's atomics")]
#[path = "versions.rs"]
mod versions;

use versions::VersionTable;

const USER: u64 = 1;
const ANOTHER: u64 = 2;

/// One thread ends a session while another looks it up and caches what it read. A request that comes after the end was
/// acknowledged is not let in by the cache.
fn end_during_a_lookup(advance: fn(&VersionTable)) {
    loom::model(move || {
        let table = Arc::new(VersionTable::new(2));
        let (lives, cached) = (Arc::new(Mutex::new(true)), Arc::new(Mutex::new(None)));
        let acknowledged = Arc::new(AtomicBool::new(false));
        let lookup = {
            let (table, lives, cached) = (Arc::clone(&table), Arc::clone(&lives), Arc::clone(&cached));
            thread::spawn(move || {
                let number = table.last();
                let read = *lives.lock().unwrap();
                *cached.lock().unwrap() = Some((number, read));
            })
        };
        let end = {
            let (table, lives, acknowledged) = (Arc::clone(&table), Arc::clone(&lives), Arc::clone(&acknowledged));
            thread::spawn(move || {
                *lives.lock().unwrap() = false;
                advance(&table);
                acknowledged.store(true, Ordering::Release);
            })
        };
        let was_acknowledged = acknowledged.load(Ordering::Acquire);
        let entry = *cached.lock().unwrap();
        if let (true, Some((number, read))) = (was_acknowledged, entry) {
            assert!(!(read && table.unchanged_since(number, [USER, ANOTHER])), "let in after the end");
        }
        lookup.join().unwrap();
        end.join().unwrap();
        let (number, read) = cached.lock().unwrap().unwrap();
        assert!(!(read && table.unchanged_since(number, [USER, ANOTHER])), "cached for ever");
        assert!(table.unchanged_since(table.last(), [USER, ANOTHER]), "what is read now is fresh");
    });
}

#[test]
fn the_cache_lets_nobody_in_by_what_was_read_before_an_acknowledged_change() {
    end_during_a_lookup(|table| table.advance([USER]));
    end_during_a_lookup(|table| table.advance([ANOTHER, USER]));
    end_during_a_lookup(VersionTable::advance_all);
}

/// Two changes at a time, of which the one with the lower number may be noted last.
#[test]
fn of_two_changes_at_a_time_neither_hides_the_other() {
    loom::model(|| {
        let table = Arc::new(VersionTable::new(2));
        let state = Arc::new(AtomicU64::new(0));
        let change = |bit: u64| {
            let (table, state) = (Arc::clone(&table), Arc::clone(&state));
            thread::spawn(move || {
                state.fetch_or(bit, Ordering::AcqRel);
                table.advance([USER]);
            })
        };
        let changes = [change(1), change(2)];
        let number = table.last();
        let read = state.load(Ordering::Acquire);
        for change in changes {
            change.join().unwrap();
        }
        assert!(read == 3 || !table.unchanged_since(number, [USER]), "what was read of {read} counts as fresh");
    });
}
