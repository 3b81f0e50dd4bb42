use super::*;

const NOW: Timestamp = Timestamp(1_767_225_600_000);
const SECOND: Duration = Duration::from_secs(1);

fn limiter() -> Limiter {
    let settings =
        GuessingSettings { limit_burst: Some(3), limit_account_refill: 60 * SECOND, limit_address_refill: 6 * SECOND };
    Limiter::new(&settings, &[7; 16], false)
}

fn guess(limiter: &Limiter, address: u8, account: u8, password: &str) -> Guess {
    let network = ClientNetwork::of([192, 0, 2, address].into());
    let flow = Flow { network: Some(network), account: [account; 16] };
    limiter.guess(flow, None, false, &password.into()).unwrap()
}

fn attempt(guess: &Guess, now: Timestamp) -> Attempt {
    match guess.admit(now) {
        Admission::Attempt(attempt) => attempt,
        _ => panic!("not admitted"),
    }
}

fn refused_for(guess: &Guess, now: Timestamp) -> Option<Duration> {
    match guess.admit(now) {
        Admission::Refused(refused) => Some(Duration::from_millis((refused.until.0 - now.0) as u64)),
        _ => None,
    }
}

#[test]
fn slots_are_used_up_by_different_wrong_passwords_and_come_back_one_by_one() {
    let limiter = limiter();
    for password in ["a", "b", "c"] {
        attempt(&guess(&limiter, 1, 1, password), NOW).settle(false, NOW);
        assert!(matches!(guess(&limiter, 1, 1, password).admit(NOW), Admission::KnownWrong));
    }
    assert_eq!(refused_for(&guess(&limiter, 1, 1, "d"), NOW), Some(60 * SECOND), "of the account");
    assert_eq!(refused_for(&guess(&limiter, 1, 2, "d"), NOW), Some(6 * SECOND), "of the address");
    let later = NOW.after(60 * SECOND);
    attempt(&guess(&limiter, 1, 1, "d"), later).settle(false, later);
    assert_eq!(refused_for(&guess(&limiter, 1, 1, "e"), later), Some(60 * SECOND));
    attempt(&guess(&limiter, 2, 1, "d"), NOW).settle(false, NOW);
}

#[test]
fn a_slot_in_use_makes_others_wait_until_the_outcome_is_known() {
    let limiter = limiter();
    let attempts = ["a", "b", "c"].map(|password| attempt(&guess(&limiter, 1, 1, password), NOW));
    let fourth = guess(&limiter, 1, 1, "d");
    assert!(matches!(fourth.admit(NOW), Admission::Wait));
    let [first, second, third] = attempts;
    drop(first);
    attempt(&fourth, NOW).settle(false, NOW);
    second.settle(false, NOW);
    third.settle(false, NOW);
    assert!(refused_for(&guess(&limiter, 1, 1, "e"), NOW).is_some());
}

#[test]
fn a_network_that_logged_in_before_has_a_limit_of_its_own_for_that_account() {
    let limiter = limiter();
    attempt(&guess(&limiter, 1, 1, "right"), NOW).settle(true, NOW);
    for password in ["a", "b", "c"] {
        attempt(&guess(&limiter, 1, 2, password), NOW).settle(false, NOW);
    }
    assert!(refused_for(&guess(&limiter, 1, 3, "d"), NOW).is_some());
    attempt(&guess(&limiter, 1, 1, "right"), NOW).settle(true, NOW);
    for password in ["a", "b", "c"] {
        attempt(&guess(&limiter, 1, 1, password), NOW).settle(false, NOW);
    }
    assert_eq!(refused_for(&guess(&limiter, 1, 1, "right"), NOW), Some(60 * SECOND));
}

#[test]
fn a_password_that_was_wrong_is_tried_again_once_the_hash_or_the_status_has_changed() {
    let limiter = limiter();
    let flow = guess(&limiter, 1, 1, "a");
    let flow_of = Flow { network: Some(ClientNetwork::of([192, 0, 2, 1].into())), account: [1; 16] };
    attempt(&flow, NOW).settle(false, NOW);
    let stored = PasswordHash("$argon2id$".into());
    for (stored, is_active) in [(Some(&stored), false), (None, true)] {
        let again = limiter.guess(flow_of, stored, is_active, &"a".into()).unwrap();
        assert!(matches!(again.admit(NOW), Admission::Attempt(_)));
    }
}

#[test]
fn a_clock_that_is_set_back_prolongs_no_wait() {
    let limiter = limiter();
    for password in ["a", "b", "c"] {
        attempt(&guess(&limiter, 1, 1, password), NOW).settle(false, NOW);
    }
    let yesterday = NOW.before(86_400 * SECOND);
    assert_eq!(refused_for(&guess(&limiter, 1, 1, "d"), yesterday), Some(60 * SECOND));
}

#[test]
fn memory_is_bounded_however_many_addresses_come() {
    let limiter = limiter();
    for i in 0..3 * MAX_REMEMBERED as u32 {
        let network = ClientNetwork::of(i.to_be_bytes().into());
        limiter.guess(Flow { network: Some(network), account: [0; 16] }, None, true, &"a".into()).unwrap();
    }
    assert!(limiter.accounts.len() <= MAX_REMEMBERED && limiter.networks.len() <= MAX_REMEMBERED);
}

#[test]
fn what_other_servers_have_used_up_counts_with_what_is_used_up_here() {
    let settings =
        GuessingSettings { limit_burst: Some(3), limit_account_refill: 60 * SECOND, limit_address_refill: 6 * SECOND };
    let limiter = Limiter::new(&settings, &[7; 16], true);
    let first = guess(&limiter, 1, 1, "a");
    let [account, network] = first.bucket_ids();
    assert_ne!(account, network);
    first.learn(&[(account, NOW.after(120 * SECOND)), (network, NOW.after(12 * SECOND))], first.tellings());
    assert!(attempt(&first, NOW).settle(false, NOW), "others are to be told");
    assert_eq!(refused_for(&guess(&limiter, 1, 1, "b"), NOW), Some(60 * SECOND));
    // Once they are told, what they say is all there is.
    let told: Vec<_> = limiter.untold.as_ref().unwrap().take(10).into_iter().collect();
    assert_eq!(told.iter().map(|(id, _)| *id).collect::<std::collections::BTreeSet<_>>(), [account, network].into());
    let before = first.tellings();
    told.iter().for_each(|(_, news)| news.bucket.begin_telling());
    // What is read meanwhile may have it already, and would count twice.
    first.learn(&[(account, NOW.after(600 * SECOND))], first.tellings());
    assert_eq!(refused_for(&guess(&limiter, 1, 1, "b"), NOW), Some(60 * SECOND));
    told.iter()
        .for_each(|(_, news)| news.bucket.end_telling(Some((news.used(NOW), NOW.after(3 * news.used(NOW)))), false));
    assert_eq!(refused_for(&guess(&limiter, 1, 1, "b"), NOW), Some(60 * SECOND));
    // What was read before does not have it.
    first.learn(&[], before);
    assert_eq!(refused_for(&guess(&limiter, 1, 1, "b"), NOW), Some(60 * SECOND));
    let cleared = guess(&limiter, 1, 1, "b");
    cleared.learn(&[], cleared.tellings());
    assert!(!attempt(&cleared, NOW).settle(true, NOW), "a right password that follows no wrong one is no news");
    // What is owed beyond the last slot has to come back, too.
    cleared.learn(&[(account, NOW.after(600 * SECOND))], cleared.tellings());
    assert_eq!(refused_for(&guess(&limiter, 1, 1, "c"), NOW), Some(480 * SECOND));
    assert_eq!(guess(&self::limiter(), 1, 1, "a").bucket_ids(), [account, network], "they are the same on each server");
}

#[test]
fn as_many_wrong_passwords_are_known_as_may_be_tried_at_once() {
    let limiter = limiter();
    for (minute, password) in (0..).zip(["a", "b", "c", "d"]) {
        let now = NOW.after(60 * minute * SECOND);
        attempt(&guess(&limiter, 1, 1, password), now).settle(false, now);
    }
    let known = ["a", "b", "c", "d"].map(|password| {
        matches!(guess(&limiter, 1, 1, password).admit(NOW.after(3600 * SECOND)), Admission::KnownWrong)
    });
    assert_eq!(known, [false, true, true, true]);
    assert_ne!(limiter.account_key("ana"), limiter.account_key("ben"));
}

#[test]
fn one_wrong_password_twice_at_the_same_moment_uses_up_one_slot() {
    let settings =
        GuessingSettings { limit_burst: Some(3), limit_account_refill: 60 * SECOND, limit_address_refill: 6 * SECOND };
    let limiter = Limiter::new(&settings, &[7; 16], true);
    let both = [(); 2].map(|()| attempt(&guess(&limiter, 1, 1, "a"), NOW));
    assert_eq!(both.map(|attempt| attempt.settle(false, NOW)), [true, false]);
    for password in ["b", "c"] {
        attempt(&guess(&limiter, 1, 1, password), NOW).settle(false, NOW);
    }
    assert_eq!(refused_for(&guess(&limiter, 1, 1, "d"), NOW), Some(60 * SECOND));
    let [account, network] = guess(&limiter, 1, 1, "a").bucket_ids();
    let told = limiter.untold.as_ref().unwrap().take(10);
    let about = |id| (told[&id].is_cleared, told[&id].used(NOW), told[&id].longest);
    assert_eq!(told.len(), 2);
    assert_eq!(about(account), (false, 180 * SECOND, 1800 * SECOND));
    assert_eq!(about(network), (false, 18 * SECOND, 180 * SECOND));
}

#[test]
fn a_network_that_is_known_to_an_account_takes_no_slot_of_all_accounts() {
    let limiter = limiter();
    assert_eq!(guess(&limiter, 1, 1, "a").is_known(), None);
    for is_known in [false, true] {
        guess(&limiter, 1, 1, "a").set_known(is_known);
        assert_eq!(guess(&limiter, 1, 1, "a").is_known(), Some(is_known));
    }
    let others = [2, 3].map(|account| attempt(&guess(&limiter, 1, account, "a"), NOW));
    let own = ["a", "b", "c"].map(|password| attempt(&guess(&limiter, 1, 1, password), NOW));
    let third = attempt(&guess(&limiter, 1, 4, "a"), NOW);
    let waits = |account| matches!(guess(&limiter, 1, account, "d").admit(NOW), Admission::Wait);
    assert!(waits(1) && waits(5), "three at a time, each");
    let [first, second, last] = own;
    drop(first);
    second.settle(false, NOW);
    assert!(!waits(1) && waits(5), "those of the account give back none of the network");
    drop((others, third, last));
    assert!(!waits(5));
    for password in ["x", "y"] {
        attempt(&guess(&limiter, 1, 1, password), NOW).settle(false, NOW);
    }
    assert!(refused_for(&guess(&limiter, 1, 1, "z"), NOW).is_some() && !waits(5), "nor use one up");
}

#[test]
fn others_are_told_of_a_right_password_that_follows_wrong_ones() {
    let settings =
        GuessingSettings { limit_burst: Some(3), limit_account_refill: 60 * SECOND, limit_address_refill: 6 * SECOND };
    let limiter = Limiter::new(&settings, &[7; 16], true);
    let [account, network] = guess(&limiter, 1, 1, "a").bucket_ids();
    let told = || limiter.untold.as_ref().unwrap().take(10);
    attempt(&guess(&limiter, 1, 1, "a"), NOW).settle(false, NOW);
    assert!(!told()[&account].is_cleared);
    assert!(attempt(&guess(&limiter, 1, 1, "right"), NOW).settle(true, NOW));
    let news = told();
    assert!(news[&account].is_cleared && !news.contains_key(&network));
    // The network is known from now on.
    attempt(&guess(&limiter, 1, 1, "b"), NOW).settle(false, NOW);
    assert!(told().keys().eq([&account]));
    // Who shows in another way whose account it is.
    limiter.admit_again(Flow { network: Some(ClientNetwork::of([192, 0, 2, 1].into())), account: [1; 16] });
    assert!(told()[&account].is_cleared);
    assert_eq!(guess(&limiter, 1, 1, "c").is_known(), Some(true));
}

#[test]
fn a_block_that_is_lifted_gives_its_slots_back_and_no_others() {
    let limiter = limiter();
    let use_up = |address, account| {
        for password in ["a", "b", "c"] {
            attempt(&guess(&limiter, address, account, password), NOW).settle(false, NOW);
        }
    };
    let refused = |address, account| refused_for(&guess(&limiter, address, account, "d"), NOW).is_some();
    use_up(1, 1);
    use_up(2, 1);
    let [account, network] = guess(&limiter, 1, 1, "d").bucket_ids();
    limiter.lift(network);
    assert!(refused(1, 1) && !refused(1, 2));
    use_up(1, 3);
    limiter.lift(account);
    assert!(!refused(1, 1) && !refused(1, 2) && refused(1, 3), "the network goes with the account");
    assert!(refused(2, 1) && refused(2, 2));

    // The same, by a server that hears of it.
    let forgive = |account| match guess(&limiter, 2, account, "d").admit(NOW) {
        Admission::Refused(refused) => guess(&limiter, 2, account, "d").forgive(&refused),
        _ => panic!("not refused"),
    };
    forgive(2);
    assert!(refused(2, 1) && !refused(2, 2));
    use_up(2, 3);
    forgive(1);
    assert!(!refused(2, 1) && !refused(2, 2));
}

#[test]
fn requests_for_mail_are_ten_at_once_and_one_a_minute() {
    let limiter = limiter();
    let [one, other] = [1, 2].map(|last| ClientNetwork::of([192, 0, 2, last].into()));
    for _ in 0..10 {
        assert_eq!(limiter.count_request(one, NOW), None);
    }
    assert_eq!(limiter.count_request(one, NOW), Some(NOW.after(60 * SECOND)));
    assert_eq!(limiter.count_request(other, NOW), None);
    let later = NOW.after(60 * SECOND);
    assert_eq!(limiter.count_request(one, later), None);
    assert_eq!(limiter.count_request(one, later), Some(later.after(60 * SECOND)));
}
