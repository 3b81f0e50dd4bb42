//! Group commit, from the request that waits for a lease to what other connections see in the file.

use super::*;
use crate::store::invalidation::Invalidated;
use tempfile::TempDir;
use tokio::task::{JoinHandle, yield_now};

struct File {
    writer: WriterHandle,
    options: SqliteConnectOptions,
    _folder: TempDir,
}

impl File {
    /// One whose groups take in this many members, however long that takes.
    async fn new(max_members: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("db"))
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            .foreign_keys(true);
        let mut connection = options.connect().await.unwrap();
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, of INTEGER REFERENCES rows)").await.unwrap();
        let (requests, received) = mpsc::unbounded_channel();
        let closing = CancellationToken::new();
        let writer = Writer {
            requests: received,
            options: options.clone(),
            file: OpenFile::at(&folder.path().join("db")).unwrap(),
            max_members,
            open_for: Duration::from_secs(60),
            metrics: CommitMetrics::new(&mut Registry::default()),
            invalidation: Invalidation::of_file(),
            chain_key: KnownLater::default(),
            file_version: None,
        };
        tokio::spawn(writer.run(connection, closing.clone()));
        Self { writer: WriterHandle { requests, closing }, options, _folder: folder }
    }

    /// Someone who asks for a lease now, writes a row when they have it, and does this with it then.
    async fn ask<T, F>(&self, id: u32, then: impl FnOnce(Lease) -> F + Send + 'static) -> JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        let writer = self.writer.clone();
        begin(async move {
            let mut lease = writer.lease().await.unwrap();
            write(&mut lease, id).await;
            then(lease).await
        })
        .await
    }

    /// What others see in the file.
    async fn rows(&self) -> Vec<u32> {
        let mut connection = self.options.connect().await.unwrap();
        let rows = connection.fetch_all("SELECT id FROM rows ORDER BY id").await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// Begins this, which then waits for its lease.
async fn begin<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let begun = tokio::spawn(work);
    yield_now().await;
    begun
}

async fn keep(lease: Lease) -> Result<(), Error> {
    lease.commit(Invalidated::default(), Vec::new()).await
}

async fn write(lease: &mut Lease, id: u32) {
    lease.execute(sqlx::AssertSqlSafe(format!("INSERT INTO rows (id) VALUES ({id})"))).await.unwrap();
}

#[tokio::test]
async fn nobody_hears_of_a_commit_before_the_group_is_on_the_disk() {
    let file = File::new(9).await;
    let mut first = file.writer.lease().await.unwrap();
    write(&mut first, 1).await;
    let ((begun, has_begun), (go, may_go)) = (oneshot::channel(), oneshot::channel::<()>());
    let last = file.ask(2, async |lease| {
        begun.send(()).unwrap();
        may_go.await.unwrap();
        keep(lease).await
    });
    let last = last.await;
    let first = tokio::spawn(keep(first));
    has_begun.await.unwrap();
    assert!(!first.is_finished() && file.rows().await.is_empty());
    go.send(()).unwrap();
    last.await.unwrap().unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(file.rows().await, [1, 2]);
}

#[tokio::test]
async fn who_gives_up_or_panics_is_undone_and_costs_the_neighbours_nothing() {
    let file = File::new(9).await;
    let mut first = file.writer.lease().await.unwrap();
    write(&mut first, 1).await;
    let gives_up = file.ask(2, async |lease| drop(lease)).await;
    let panics = file.ask(3, async |_lease| panic!("on purpose")).await;
    let last = file.ask(4, keep).await;
    first.commit(Invalidated::default(), Vec::new()).await.unwrap();
    last.await.unwrap().unwrap();
    gives_up.await.unwrap();
    assert!(panics.await.is_err());
    assert_eq!(file.rows().await, [1, 4]);
}

#[tokio::test]
async fn who_goes_away_while_waiting_or_writing_holds_nobody_up() {
    let file = File::new(9).await;
    let first = file.writer.lease().await.unwrap();
    let waits = file.ask(1, keep).await;
    let stays = file.ask(2, async |_lease| std::future::pending::<()>().await).await;
    waits.abort();
    let last = file.ask(3, keep).await;
    drop(first);
    while !last.is_finished() {
        stays.abort();
        yield_now().await;
    }
    last.await.unwrap().unwrap();
    assert_eq!(file.rows().await, [3]);
}

#[tokio::test]
async fn a_commit_that_fails_fails_every_member_and_the_next_group_works() {
    let file = File::new(9).await;
    let mut first = file.writer.lease().await.unwrap();
    write(&mut first, 1).await;
    let faulty = file.ask(2, async |mut lease| {
        lease.execute("PRAGMA defer_foreign_keys = ON").await.unwrap();
        lease.execute("UPDATE rows SET of = 99 WHERE id = 2").await.unwrap();
        lease.commit(Invalidated::default(), Vec::new()).await
    });
    let faulty = faulty.await;
    let last = file.ask(3, keep).await;
    assert!(matches!(first.commit(Invalidated::default(), Vec::new()).await, Err(Error::Unavailable(_))));
    assert!(matches!(faulty.await.unwrap(), Err(Error::Unavailable(_))));
    assert!(matches!(last.await.unwrap(), Err(Error::Unavailable(_))));
    assert!(file.rows().await.is_empty());
    file.ask(4, keep).await.await.unwrap().unwrap();
    assert_eq!(file.rows().await, [4]);
}

#[tokio::test]
async fn what_sqlite_rolled_back_by_itself_nobody_takes_for_committed() {
    for gives_up in [true, false] {
        let file = File::new(9).await;
        let mut first = file.writer.lease().await.unwrap();
        write(&mut first, 1).await;
        // What a full disk does within a statement.
        let struck = file.ask(2, async move |mut lease| {
            lease.execute("ROLLBACK").await.unwrap();
            if gives_up { Err(unavailable("")) } else { lease.commit(Invalidated::default(), Vec::new()).await }
        });
        let struck = struck.await;
        let _lost_too = file.ask(3, keep).await;
        assert!(matches!(first.commit(Invalidated::default(), Vec::new()).await, Err(Error::Unavailable(_))));
        assert!(matches!(struck.await.unwrap(), Err(Error::Unavailable(_))));
        file.ask(4, keep).await.await.unwrap().unwrap();
        assert_eq!(file.rows().await, [4]);
    }
}

#[tokio::test]
async fn a_group_that_is_full_is_committed_while_others_wait() {
    let file = File::new(2).await;
    let mut first = file.writer.lease().await.unwrap();
    write(&mut first, 1).await;
    let second = file.ask(2, keep).await;
    let third = file.ask(3, async |_lease| std::future::pending::<()>().await).await;
    first.commit(Invalidated::default(), Vec::new()).await.unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(file.rows().await, [1, 2]);
    third.abort();
}

#[tokio::test]
async fn who_wants_no_company_is_a_group_of_their_own_and_costs_the_neighbours_nothing() {
    for keeps in [true, false] {
        let file = File::new(9).await;
        let mut first = file.writer.lease().await.unwrap();
        write(&mut first, 1).await;
        let writer = file.writer.clone();
        let (has, waited) = (file.ask(2, keep).await, oneshot::channel::<()>());
        let alone = tokio::spawn(async move {
            let mut lease = writer.lease_alone().await.unwrap();
            write(&mut lease, 3).await;
            waited.1.await.unwrap();
            if keeps { keep(lease).await } else { Ok(()) }
        });
        yield_now().await;
        let after = file.ask(4, keep).await;
        first.commit(Invalidated::default(), Vec::new()).await.unwrap();
        has.await.unwrap().unwrap();
        assert_eq!(file.rows().await, [1, 2], "on the disk before the other has done");
        waited.0.send(()).unwrap();
        alone.await.unwrap().unwrap();
        after.await.unwrap().unwrap();
        assert_eq!(file.rows().await, if keeps { vec![1, 2, 3, 4] } else { vec![1, 2, 4] });
    }
}

#[tokio::test]
async fn closing_waits_for_the_group_under_way_and_lets_nobody_in_after() {
    let file = File::new(9).await;
    let mut lease = file.writer.lease().await.unwrap();
    write(&mut lease, 1).await;
    let ((), committed) = tokio::join!(file.writer.close(), async {
        yield_now().await;
        lease.commit(Invalidated::default(), Vec::new()).await
    });
    committed.unwrap();
    assert!(matches!(file.writer.lease().await, Err(Error::Unavailable(_))));
    assert_eq!(file.rows().await, [1]);
}
