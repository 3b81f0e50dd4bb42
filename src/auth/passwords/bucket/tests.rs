use super::*;

const NOW: Timestamp = Timestamp(1_767_225_600_000);
const REFILL: Duration = Duration::from_secs(6);

/// What a bucket of three slots says to a newcomer.
fn look(bucket: &Bucket, now: Timestamp) -> String {
    match bucket.lock().look(3, REFILL, now) {
        Slot::Free => "free".to_owned(),
        Slot::InUse => "in use".to_owned(),
        Slot::UsedUp(until) => format!("used up for {} ms", until.0 - now.0),
    }
}

fn use_up(bucket: &Bucket, slots: u32) {
    for _ in 0..slots {
        bucket.settle(Some((REFILL, NOW)));
    }
}

#[test]
fn a_slot_is_free_while_fewer_than_all_are_used_up_or_in_use() {
    for (used, in_flight, said) in [
        (0, 0, "free"),
        (0, 2, "free"),
        (0, 3, "in use"),
        (1, 1, "free"),
        (1, 2, "in use"),
        (2, 0, "free"),
        (2, 1, "in use"),
        (3, 0, "used up for 6000 ms"),
        (3, 2, "used up for 6000 ms"),
        // More than all on one server there cannot be.
        (4, 0, "used up for 6000 ms"),
    ] {
        let bucket = Bucket::default();
        use_up(&bucket, used);
        bucket.lock().in_flight = in_flight;
        assert_eq!(look(&bucket, NOW), said, "{used} used up, {in_flight} in use");
    }
}

#[test]
fn slots_come_back_one_by_one_and_a_debt_comes_back_first() {
    let bucket = Bucket::default();
    use_up(&bucket, 3);
    assert_eq!(look(&bucket, NOW.after(Duration::from_millis(5999))), "used up for 1 ms");
    assert_eq!(look(&bucket, NOW.after(REFILL)), "free");
    bucket.lock().in_flight = 1;
    assert_eq!(look(&bucket, NOW.after(REFILL)), "in use");
    // What servers have used up together may be more, but not without end.
    let bucket = Bucket::default();
    bucket.learn(NOW.after(5 * REFILL), bucket.tellings());
    assert_eq!(look(&bucket, NOW), "used up for 18000 ms");
    use_up(&bucket, 1);
    assert_eq!(look(&bucket, NOW), "used up for 24000 ms");
    bucket.learn(NOW.after(1000 * REFILL), bucket.tellings());
    assert_eq!(look(&bucket, NOW), "used up for 174000 ms", "ten times over, and one more here");
}

#[test]
fn a_bucket_that_is_cleared_keeps_what_is_in_use_and_what_was_told() {
    let bucket = Bucket::default();
    use_up(&bucket, 3);
    bucket.learn(NOW.after(10 * REFILL), bucket.tellings());
    bucket.lock().in_flight = 3;
    bucket.lock().block_seen_at = Some(NOW);
    bucket.begin_telling();
    bucket.end_telling(None, false);
    bucket.clear();
    assert_eq!((look(&bucket, NOW).as_str(), bucket.tellings()), ("in use", 2));
    assert_eq!(bucket.lock().block_seen_at, None);
    for left in [2, 1, 0, 0] {
        bucket.settle(None);
        assert_eq!(bucket.lock().in_flight, left);
    }
    bucket.expect_clear();
    bucket.clear();
    bucket.learn(NOW.after(10 * REFILL), bucket.tellings());
    assert_eq!(look(&bucket, NOW), "free", "what others say is of before");
}

#[test]
fn what_is_read_while_others_are_told_is_not_believed() {
    let bucket = Bucket::default();
    let before = bucket.tellings();
    bucket.begin_telling();
    bucket.begin_telling();
    assert_eq!(bucket.tellings(), 1);
    bucket.learn(NOW.after(10 * REFILL), bucket.tellings());
    assert_eq!(look(&bucket, NOW), "free");
    use_up(&bucket, 2);
    bucket.end_telling(Some((REFILL, NOW.after(2 * REFILL))), false);
    assert_eq!(bucket.tellings(), 2);
    assert_eq!(look(&bucket, NOW), "used up for 6000 ms", "one here, and two of which all know");
    bucket.learn(NOW, before);
    assert_eq!(look(&bucket, NOW), "used up for 6000 ms", "that was read before");
    bucket.learn(NOW, bucket.tellings());
    assert_eq!(look(&bucket, NOW), "free");
    bucket.end_telling(None, false);
    assert_eq!(bucket.tellings(), 4, "also without a beginning");
}

#[test]
fn a_right_password_while_others_are_told_of_wrong_ones_stays_news() {
    let bucket = Bucket::default();
    bucket.begin_telling();
    bucket.expect_clear();
    bucket.clear();
    bucket.end_telling(Some((REFILL, NOW)), false);
    bucket.learn(NOW.after(3 * REFILL), bucket.tellings());
    assert_eq!(look(&bucket, NOW), "free", "the others do not know yet");
    bucket.begin_telling();
    bucket.end_telling(Some((Duration::ZERO, NOW)), true);
    bucket.learn(NOW.after(3 * REFILL), bucket.tellings());
    assert_eq!(look(&bucket, NOW), "used up for 6000 ms", "now they do");
}
