use super::*;

const COST: Duration = Duration::from_millis(10);

fn flow(address: u8, account: u8) -> Flow {
    let address = std::net::IpAddr::from([192, 0, 2, address]);
    Flow { network: Some(ClientNetwork::of(address)), account: [account; 16] }
}

fn push(queue: &mut FairQueue<u8>, flow: Flow, run: u8, now: Instant) -> Result<Option<u8>, Duration> {
    queue.push(flow, COST, false, run, now).map(|queued| queued.evicted.map(|(run, _)| run))
}

fn order(queue: &mut FairQueue<u8>) -> Vec<u8> {
    std::iter::from_fn(|| queue.take_next().map(|job| job.run)).collect()
}

#[test]
fn networks_are_served_in_turn_and_so_are_the_accounts_of_one() {
    let (mut queue, now) = (FairQueue::new(64, 1), Instant::now());
    for (run, flow) in [(1, flow(1, 1)), (2, flow(1, 1)), (3, flow(1, 1)), (4, flow(1, 2)), (5, flow(2, 3))] {
        assert_eq!(push(&mut queue, flow, run, now), Ok(None));
    }
    assert_eq!(order(&mut queue), [1, 5, 4, 2, 3]);
}

#[test]
fn a_network_that_was_away_has_saved_up_nothing() {
    let (mut queue, now) = (FairQueue::new(64, 1), Instant::now());
    push(&mut queue, flow(2, 2), 0, now).unwrap();
    for _ in 0..50 {
        push(&mut queue, flow(1, 1), 1, now).unwrap();
        queue.take_next().unwrap();
    }
    order(&mut queue);
    for run in [1, 2, 3, 4] {
        push(&mut queue, flow(1, 1), run, now).unwrap();
        push(&mut queue, flow(2, 2), 10 * run, now).unwrap();
    }
    let turns = order(&mut queue);
    let alternate = turns.windows(2).all(|pair| (pair[0] < 10) != (pair[1] < 10));
    assert!(alternate, "{turns:?}");
}

#[test]
fn a_dear_hash_counts_by_its_cost_and_one_runs_at_a_time() {
    let (mut queue, now) = (FairQueue::new(64, 2), Instant::now());
    for run in [1, 2] {
        queue.push(flow(1, 1), 50 * COST, true, run, now).unwrap_or_else(|_| panic!("no room"));
    }
    for run in [11, 12, 13] {
        push(&mut queue, flow(2, 2), run, now).unwrap();
    }
    let (run, first_dear) = queue.take_next().unwrap().start();
    assert_eq!(run, 1);
    assert_eq!([(); 3].map(|()| queue.take_next().unwrap().run), [11, 12, 13], "cheap ones pass by");
    assert!(queue.take_next().is_none(), "the second waits for the first");
    assert!(queue.done(&first_dear));
    assert_eq!(queue.take_next().unwrap().run, 2);
}

#[test]
fn whoever_holds_most_of_a_full_queue_makes_room_for_others() {
    let (mut queue, now) = (FairQueue::new(4, 1), Instant::now());
    for run in 1..=4 {
        push(&mut queue, flow(1, 1), run, now).unwrap();
    }
    assert!(push(&mut queue, flow(1, 1), 5, now).is_err(), "not for itself");
    assert_eq!(push(&mut queue, flow(2, 2), 6, now), Ok(Some(4)));
    assert_eq!(push(&mut queue, flow(1, 3), 7, now), Ok(Some(3)), "nor one account for all of its address");
    assert_eq!(push(&mut queue, flow(2, 2), 8, now), Ok(Some(2)));
    assert!(push(&mut queue, flow(2, 2), 9, now).is_err(), "two each");
    let mut queue = FairQueue::new(2, 1);
    for account in [1, 2] {
        push(&mut queue, flow(1, account), account, now).unwrap();
    }
    assert!(push(&mut queue, flow(1, 3), 3, now).is_err(), "a neighbour with one has no more than the newcomer would");
    assert!(push(&mut queue, flow(2, 4), 4, now) == Ok(Some(2)), "but their address has");
}

#[test]
fn who_returns_when_told_to_is_let_in_though_the_queue_is_full_again() {
    let (mut queue, now) = (FairQueue::new(2, 1), Instant::now());
    for address in [1, 2] {
        push(&mut queue, flow(address, 1), address, now).unwrap();
    }
    let wait = push(&mut queue, flow(3, 1), 3, now).unwrap_err();
    assert_eq!(wait, MIN_RETRY_AFTER);
    let later = push(&mut queue, flow(4, 1), 4, now).unwrap_err();
    assert_eq!(later, MIN_RETRY_AFTER + COST, "at the pace of the threads");
    assert_eq!(push(&mut queue, flow(3, 2), 3, now), Err(wait), "one promise a network");
    assert!(push(&mut queue, flow(5, 1), 5, now + wait).is_err(), "a stranger is not let in");
    assert_eq!(push(&mut queue, flow(3, 1), 3, now + wait), Ok(None));
    assert!(push(&mut queue, flow(3, 1), 3, now + wait).is_err(), "once");
    assert!(push(&mut queue, flow(4, 1), 4, now + later + PROMISE_HOLDS + COST).is_err(), "and not for ever");
}

#[test]
fn a_queue_that_would_take_too_long_is_full() {
    let (mut queue, now) = (FairQueue::new(64, 2), Instant::now());
    let dear = |queue: &mut FairQueue<u8>, address| {
        queue.push(flow(address, 1), Duration::from_secs(3), false, 0, now).map(|queued| queued.id)
    };
    assert!(dear(&mut queue, 1).is_ok() && dear(&mut queue, 2).is_ok());
    assert_eq!(dear(&mut queue, 3), Err(Duration::from_secs(3)));
    let returned = now + Duration::from_secs(3);
    assert!(queue.push(flow(3, 1), COST, false, 0, returned).is_ok(), "for those who were told to return it is longer");
}

#[test]
fn a_job_is_removed_only_while_it_waits() {
    let (mut queue, now) = (FairQueue::new(4, 1), Instant::now());
    let id = queue.push(flow(1, 1), COST, false, 1, now).unwrap_or_else(|_| panic!("no room")).id;
    assert_eq!(queue.len(), 1);
    assert!(queue.remove(id) && !queue.remove(id));
    assert!(queue.take_next().is_none());
}

#[test]
fn only_a_dear_hash_that_has_run_makes_way_for_another() {
    let (mut queue, now) = (FairQueue::new(64, 2), Instant::now());
    for run in [1, 2] {
        queue.push(flow(1, 1), COST, true, run, now).unwrap_or_else(|_| panic!("no room"));
    }
    push(&mut queue, flow(2, 2), 3, now).unwrap();
    let (_, dear) = queue.take_next().unwrap().start();
    let (run, cheap) = queue.take_next().unwrap().start();
    assert_eq!(run, 3);
    assert!(!queue.done(&cheap) && queue.take_next().is_none());
    assert!(queue.done(&dear) && queue.take_next().is_some());
}

#[test]
fn the_work_of_the_service_makes_room_for_nobody_and_is_promised_nothing() {
    let (mut queue, now) = (FairQueue::new(3, 1), Instant::now());
    for run in [1, 2, 3] {
        push(&mut queue, Flow::OWN, run, now).unwrap();
    }
    assert_eq!(push(&mut queue, flow(1, 1), 4, now), Err(MIN_RETRY_AFTER));
    assert_eq!(push(&mut queue, Flow::OWN, 5, now + MIN_RETRY_AFTER), Err(MIN_RETRY_AFTER));
    assert_eq!(push(&mut queue, Flow::OWN, 5, now + MIN_RETRY_AFTER), Err(MIN_RETRY_AFTER), "however often");
    assert_eq!(push(&mut queue, flow(1, 1), 4, now + MIN_RETRY_AFTER), Ok(None));
}

#[test]
fn an_account_gives_way_to_a_neighbour_who_would_hold_less() {
    let now = Instant::now();
    for (held, others, evicted) in
        [(3, 0, Ok(Some(3))), (3, 1, Ok(Some(3))), (3, 2, Err(())), (2, 0, Ok(Some(2))), (2, 1, Err(()))]
    {
        let mut queue = FairQueue::new(usize::from(held + others), 1);
        for run in 1..=held {
            push(&mut queue, flow(1, 1), run, now).unwrap();
        }
        for run in 0..others {
            push(&mut queue, flow(1, 2), 10 + run, now).unwrap();
        }
        assert_eq!(push(&mut queue, flow(1, 2), 20, now).map_err(drop), evicted, "{held} and {others}");
        // For an address it is the same.
        let mut queue = FairQueue::new(usize::from(held + others), 1);
        for run in 1..=held {
            push(&mut queue, flow(1, run), run, now).unwrap();
        }
        for run in 0..others {
            push(&mut queue, flow(2, 1), 10 + run, now).unwrap();
        }
        assert_eq!(push(&mut queue, flow(2, 1), 20, now).map_err(drop), evicted, "{held} and {others}");
    }
}

#[test]
fn promises_are_given_at_the_pace_of_the_threads_for_half_a_minute_and_forgotten_later() {
    let (mut queue, now) = (FairQueue::new(1, 4), Instant::now());
    let second = |seconds| now + Duration::from_secs(seconds);
    queue.push(flow(0, 1), Duration::from_secs(8), false, 0, now).unwrap_or_else(|_| panic!("no room"));
    // Four threads take two seconds for one of these, so one is done every two seconds.
    for address in 1..=15 {
        assert_eq!(push(&mut queue, flow(address, 1), 0, now), Err(Duration::from_secs(2 * u64::from(address))));
    }
    for address in 16..=40 {
        assert_eq!(push(&mut queue, flow(address, 1), 0, now), Err(MAX_RETRY_AFTER));
    }
    assert_eq!(push(&mut queue, flow(2, 1), 0, second(1)), Err(Duration::from_secs(3)), "the rest of the time");
    assert_eq!(queue.promises.len(), 15, "of the others nobody is promised anything");
    // Each is kept from its time on, for thirty seconds more.
    assert!(push(&mut queue, flow(1, 1), 0, second(33)).is_err(), "that was a second ago");
    assert_eq!(push(&mut queue, flow(15, 1), 0, second(60)), Ok(None));
    assert_eq!(queue.take_next().map(|job| job.flow), Some(flow(0, 1)));
    assert!(push(&mut queue, flow(14, 1), 0, second(59)).is_err());
    assert_eq!(queue.promises.len(), 2, "the new ones");
    queue.promise(flow(99, 1).network, second(66));
    assert_eq!(queue.promises.len(), 2, "only what still holds is remembered");
}

#[test]
fn who_was_served_least_is_next_and_what_says_nothing_is_forgotten() {
    let mut served = Served::default();
    for flow in 0..1500 {
        served.charge(flow, COST);
    }
    assert_eq!(served.served.len(), 1500, "each has been served once more than a new one");
    assert_eq!((served.of(7), served.of(9999)), (COST, Duration::ZERO));
    served.charge(7, COST);
    assert_eq!(served.served.len(), 1, "the others count as if they were not there");
    assert_eq!((served.of(7), served.of(8), served.of(9999)), (2 * COST, COST, COST));
    served.charge(8, Duration::ZERO);
    assert!(served.of(8) > COST, "what costs nothing takes its turn");
    let mut few = Served::default();
    for flow in 0..Served::<i32>::FEW as i32 {
        few.charge(flow, COST);
    }
    few.charge(0, COST);
    assert_eq!(few.served.len(), Served::<i32>::FEW, "a few are kept");
}
