//! The counting of changes once more, in every order in which the processors could do it.

use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

mod atomic {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}
#[allow(clippy::duplicate_mod, reason = "the same text with other atomics")]
#[path = "counts.rs"]
mod counts;

use counts::Counts;

const USER: u64 = 1;
const ANOTHER: u64 = 2;

/// Someone ends a session while others look it up and keep what they read. Whoever asks after the end was acknowledged
/// is not let in by what is kept.
fn end_while_others_look(note: fn(&Counts)) {
    loom::model(move || {
        let counts = Arc::new(Counts::new(2));
        let (lives, kept) = (Arc::new(Mutex::new(true)), Arc::new(Mutex::new(None)));
        let acknowledged = Arc::new(AtomicBool::new(false));
        let looking = {
            let (counts, lives, kept) = (Arc::clone(&counts), Arc::clone(&lives), Arc::clone(&kept));
            thread::spawn(move || {
                let number = counts.last();
                let read = *lives.lock().unwrap();
                *kept.lock().unwrap() = Some((number, read));
            })
        };
        let ending = {
            let (counts, lives, acknowledged) = (Arc::clone(&counts), Arc::clone(&lives), Arc::clone(&acknowledged));
            thread::spawn(move || {
                *lives.lock().unwrap() = false;
                note(&counts);
                acknowledged.store(true, Ordering::Release);
            })
        };
        let heard = acknowledged.load(Ordering::Acquire);
        let entry = *kept.lock().unwrap();
        if let (true, Some((number, read))) = (heard, entry) {
            assert!(!(read && counts.is_current(number, [USER, ANOTHER])), "let in after the end");
        }
        looking.join().unwrap();
        ending.join().unwrap();
        let (number, read) = kept.lock().unwrap().unwrap();
        assert!(!(read && counts.is_current(number, [USER, ANOTHER])), "kept for ever");
        assert!(counts.is_current(counts.last(), [USER, ANOTHER]), "what is read now stands");
    });
}

#[test]
fn nobody_is_let_in_by_what_was_read_before_a_change_that_was_acknowledged() {
    end_while_others_look(|counts| counts.note([USER]));
    end_while_others_look(|counts| counts.note([ANOTHER, USER]));
    end_while_others_look(Counts::note_all);
}

/// Two changes at a time, of which the one that is counted first is noted last.
#[test]
fn of_two_changes_at_a_time_neither_hides_the_other() {
    loom::model(|| {
        let counts = Arc::new(Counts::new(2));
        let state = Arc::new(AtomicU64::new(0));
        let change = |bit: u64| {
            let (counts, state) = (Arc::clone(&counts), Arc::clone(&state));
            thread::spawn(move || {
                state.fetch_or(bit, Ordering::AcqRel);
                counts.note([USER]);
            })
        };
        let changes = [change(1), change(2)];
        let number = counts.last();
        let read = state.load(Ordering::Acquire);
        for change in changes {
            change.join().unwrap();
        }
        assert!(read == 3 || !counts.is_current(number, [USER]), "what was read of {read} stands");
    });
}
