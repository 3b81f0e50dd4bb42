use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::model::ClientNetwork;

const CHEAP: Work = Work { kib: 8, memory_kib: 8, own_memory_kib: 0, is_dear: false };

fn pool(queue: usize) -> HashPool {
    HashPool::start(1, 8, queue, &mut Registry::default()).unwrap()
}

fn flow(address: u8) -> Flow {
    Flow { network: Some(ClientNetwork::of([192, 0, 2, address].into())), account: [0; 16] }
}

/// Blocks the only thread of the pool until the sender is dropped.
async fn occupy(pool: &Arc<HashPool>) -> std::sync::mpsc::Sender<()> {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (started, begun) = oneshot::channel();
    let pool = Arc::clone(pool);
    tokio::spawn(async move {
        let wait = move |_: &mut Memory| {
            started.send(()).unwrap();
            let _released = held.recv();
        };
        pool.run(Flow::OWN, CHEAP, wait).await
    });
    begun.await.unwrap();
    hold
}

fn spawn(pool: &Arc<HashPool>, flow: Flow, answer: u8) -> tokio::task::JoinHandle<Result<u8, Error>> {
    let pool = Arc::clone(pool);
    tokio::spawn(async move { pool.run(flow, CHEAP, move |_| answer).await })
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_the_refused_get_in_when_told_to() {
    let pool = Arc::new(pool(1));
    let hold = occupy(&pool).await;
    let waiting = spawn(&pool, flow(1), 7);
    tokio::task::yield_now().await;
    let refused = pool.run(flow(2), CHEAP, |_| ()).await;
    assert!(matches!(refused, Err(Error::Busy { retry_after }) if retry_after == Duration::from_secs(1)));
    drop(hold);
    assert_eq!(waiting.await.unwrap().unwrap(), 7);
}

#[tokio::test]
async fn who_loses_a_place_to_another_network_is_told_at_once() {
    let pool = Arc::new(pool(2));
    let hold = occupy(&pool).await;
    let flood = [spawn(&pool, flow(1), 1), spawn(&pool, flow(1), 2)];
    tokio::task::yield_now().await;
    let other = spawn(&pool, flow(2), 3);
    let [first, second] = flood;
    assert!(matches!(second.await.unwrap(), Err(Error::Busy { .. })));
    drop(hold);
    assert_eq!((first.await.unwrap().unwrap(), other.await.unwrap().unwrap()), (1, 3));
}

#[tokio::test]
async fn who_waits_for_too_long_is_refused() {
    let pool = Arc::new(pool(2));
    let hold = occupy(&pool).await;
    // From here on, time passes as soon as everybody waits for it.
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    assert!(matches!(pool.run(flow(1), CHEAP, |_| ()).await, Err(Error::Busy { .. })));
    assert_eq!(begun.elapsed().as_secs(), MAX_WAIT.as_secs());
    drop(hold);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn only_hash_threads_give_way() {
    let priority = || rustix::process::getpriority_process(None).unwrap();
    let own = priority();
    assert_eq!(pool(1).run(Flow::OWN, CHEAP, move |_| priority()).await.unwrap(), NICENESS);
    assert_eq!(priority(), own);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_hash_that_had_to_wait_for_the_processor_teaches_the_queue_nothing() {
    let pool = pool(1);
    let work = Work { kib: 1, memory_kib: 8, own_memory_kib: 0, is_dear: false };
    pool.run(Flow::OWN, work, |_| thread::sleep(Duration::from_millis(200))).await.unwrap();
    // By the time of the second answer, the first has been counted.
    pool.run(Flow::OWN, work, |_| ()).await.unwrap();
    assert!(pool.shared.lock().rate < Duration::from_millis(5));
}

#[tokio::test]
async fn work_of_a_cancelled_caller_is_skipped() {
    let pool = Arc::new(pool(2));
    let hold = occupy(&pool).await;
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    let count = move |_: &mut Memory| counted.fetch_add(1, Ordering::Relaxed);
    assert!(tokio::time::timeout(Duration::ZERO, pool.run(flow(1), CHEAP, count)).await.is_err());
    assert_eq!(pool.shared.lock().queue.len(), 0, "and leaves no gap in the queue");
    drop(hold);
    pool.run(flow(1), CHEAP, |_| ()).await.unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_panic_fails_only_its_own_caller() {
    let pool = pool(1);
    assert!(matches!(pool.run(flow(1), CHEAP, |_| panic!("on purpose")).await, Err::<(), _>(Error::Internal(_))));
    assert_eq!(pool.run(flow(1), CHEAP, |_| 7).await.unwrap(), 7);
}

#[tokio::test]
async fn a_hash_without_memory_is_refused_and_teaches_the_queue_nothing() {
    const TOO_MUCH: u64 = 1 << 50;
    let pool = pool(1);
    let rate = pool.shared.lock().rate;
    for work in [Work { memory_kib: TOO_MUCH, ..CHEAP }, Work { own_memory_kib: TOO_MUCH, ..CHEAP }] {
        let refused = pool.run(Flow::OWN, work, |_| ()).await;
        assert!(matches!(refused, Err(Error::Busy { retry_after }) if retry_after == WITHOUT_MEMORY));
    }
    assert_eq!(pool.shared.lock().rate, rate);
    assert_eq!(pool.run(Flow::OWN, CHEAP, |_| 7).await.unwrap(), 7);
}

#[tokio::test]
async fn what_a_worker_would_not_keep_is_given_for_one_hash() {
    let pool = pool(1);
    let large = Work { memory_kib: MAX_KEPT_KIB + 1, ..CHEAP };
    let given = async |work| pool.run(Flow::OWN, work, |memory| memory.capacity() as u64).await.unwrap();
    assert!(given(large).await > MAX_KEPT_KIB);
    assert!(given(CHEAP).await < MAX_KEPT_KIB);
}

#[tokio::test]
async fn the_figures_say_how_many_wait_and_what_was_hashed_and_refused() {
    let pool = Arc::new(pool(1));
    assert_eq!(pool.waiting(), 0);
    let hold = occupy(&pool).await;
    assert_eq!(pool.waiting(), 0, "one that runs does not wait");
    let waiting = spawn(&pool, flow(1), 7);
    tokio::task::yield_now().await;
    assert_eq!(pool.waiting(), 1);
    assert!(pool.run(flow(2), CHEAP, |_| ()).await.is_err());
    assert_eq!((pool.waiting(), pool.shared.load.refused.get()), (1, 1));
    drop(hold);
    waiting.await.unwrap().unwrap();
    assert_eq!(pool.waiting(), 0);
}

/// Uses the processor for so long.
#[cfg(target_os = "linux")]
fn work_for(time: Duration) {
    let begun = processor_time();
    while processor_time() < begun + time {
        std::hint::spin_loop();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn each_hash_teaches_the_queue_what_a_kib_takes() {
    let pool = pool(1);
    let work = Work { kib: 2, ..CHEAP };
    pool.run(Flow::OWN, work, |_| work_for(Duration::from_millis(160))).await.unwrap();
    // By the time of the second answer, the first has been counted.
    pool.run(Flow::OWN, Work { kib: 1 << 40, ..CHEAP }, |_| ()).await.unwrap();
    let first = pool.shared.lock().rate;
    assert!((10..15).contains(&first.as_millis()), "an eighth of 80 ms: {first:?}");
    pool.run(Flow::OWN, work, |_| ()).await.unwrap();
    pool.run(Flow::OWN, Work { kib: 1 << 40, ..CHEAP }, |_| ()).await.unwrap();
    let second = pool.shared.lock().rate;
    assert!(second >= first * 7 / 8 && second < first * 15 / 16, "{first:?} {second:?}");
}

#[tokio::test]
async fn a_worker_keeps_up_to_128_mib_for_the_next_hash() {
    const KEPT: u64 = 131_072;
    for (kib, is_kept) in [(KEPT - 1, true), (KEPT, true), (KEPT + 1, false)] {
        let pool = HashPool::start(1, 8, 2, &mut Registry::default()).unwrap();
        let given = async |kib| {
            let work = Work { memory_kib: kib, ..CHEAP };
            pool.run(Flow::OWN, work, |memory| memory.capacity() as u64).await.unwrap()
        };
        assert!(given(kib).await >= kib);
        assert_eq!(given(0).await >= kib, is_kept, "{kib}");
        // What a worker has from the start.
        let pool = HashPool::start(1, kib, 2, &mut Registry::default()).unwrap();
        let work = Work { memory_kib: 0, ..CHEAP };
        let given = pool.run(Flow::OWN, work, |memory| memory.capacity() as u64).await.unwrap();
        assert_eq!(given >= kib, is_kept, "{kib} from the start");
    }
}

#[tokio::test]
async fn the_threads_end_with_their_pool() {
    let pool = HashPool::start(3, 8, 2, &mut Registry::default()).unwrap();
    pool.run(Flow::OWN, CHEAP, |_| ()).await.unwrap();
    let shared = Arc::downgrade(&pool.shared);
    drop(pool);
    let begun = Instant::now();
    while shared.strong_count() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "a thread still waits for work");
        sleep(Duration::from_millis(1)).await;
    }
}
