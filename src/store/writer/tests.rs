//! Groups, from who waits for a turn to what others see in the file.

use tempfile::TempDir;
use tokio::task::{JoinHandle, yield_now};

use super::*;

struct File {
    writer: Writer,
    options: SqliteConnectOptions,
    _folder: TempDir,
}

impl File {
    /// One whose groups take in this many members, however long that takes.
    async fn new(most_members: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("db"))
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            .foreign_keys(true);
        let mut connection = options.connect().await.unwrap();
        connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, of INTEGER REFERENCES rows)").await.unwrap();
        let (requests, asked) = mpsc::unbounded_channel();
        let closing = CancellationToken::new();
        let groups = Groups {
            asked,
            options: options.clone(),
            most_members,
            open_for: Duration::from_secs(60),
            commits: Commits::new(&mut Registry::default()),
            changes: Changes::of_file(),
            version: None,
        };
        tokio::spawn(groups.run(connection, closing.clone()));
        Self { writer: Writer { requests, closing }, options, _folder: folder }
    }

    /// Someone who asks for a turn now, writes a row when they have it, and does this with it then.
    async fn ask<T, F>(&self, id: u32, then: impl FnOnce(Turn) -> F + Send + 'static) -> JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        let writer = self.writer.clone();
        begin(async move {
            let mut turn = writer.turn().await.unwrap();
            write(&mut turn, id).await;
            then(turn).await
        })
        .await
    }

    /// Someone who asks for a turn for one statement now, and does this with it when they have it.
    async fn ask_for_one<T, F>(&self, then: impl FnOnce(Turn) -> F + Send + 'static) -> JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        let writer = self.writer.clone();
        begin(async move { then(writer.turn_for_one().await.unwrap()).await }).await
    }

    /// What others see in the file.
    async fn rows(&self) -> Vec<u32> {
        let mut connection = self.options.connect().await.unwrap();
        let rows = connection.fetch_all("SELECT id FROM rows ORDER BY id").await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

/// Begins this, which then waits for its turn.
async fn begin<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let begun = tokio::spawn(work);
    yield_now().await;
    begun
}

async fn write_and_keep(mut turn: Turn, id: u32) -> Result<(), Error> {
    write(&mut turn, id).await;
    keep(turn).await
}

#[tokio::test]
async fn one_statement_goes_without_a_savepoint_and_is_not_undone_by_a_neighbour() {
    let file = File::new(9).await;
    let mut first = file.writer.turn().await.unwrap();
    write(&mut first, 1).await;
    let second = file.ask_for_one(async |turn| write_and_keep(turn, 2).await).await;
    let third = file.ask_for_one(async |turn| write_and_keep(turn, 3).await).await;
    let gives_up = file.ask(4, async |turn| drop(turn)).await;
    let fifth = file.ask_for_one(async |turn| write_and_keep(turn, 5).await).await;
    let gives_up_unused = file.ask_for_one(async |turn| drop(turn)).await;
    let gives_up_last = file.ask(6, async |turn| drop(turn)).await;
    keep(first).await.unwrap();
    for kept in [second, third, fifth] {
        kept.await.unwrap().unwrap();
    }
    for gone in [gives_up, gives_up_unused, gives_up_last] {
        gone.await.unwrap();
    }
    assert_eq!(file.rows().await, [1, 2, 3, 5]);
}

#[tokio::test]
async fn a_turn_for_one_statement_that_was_used_and_given_up_leaves_nothing_on_the_disk() {
    for is_last in [true, false] {
        let file = File::new(9).await;
        let mut first = file.writer.turn().await.unwrap();
        write(&mut first, 1).await;
        let gives_up = file.ask_for_one(async |mut turn| write(&mut turn, 2).await).await;
        if !is_last {
            file.ask(3, keep).await;
        }
        assert!(matches!(keep(first).await, Err(Error::Unavailable(_))));
        gives_up.await.unwrap();
        assert!(file.rows().await.is_empty());
        file.ask(4, keep).await.await.unwrap().unwrap();
        assert_eq!(file.rows().await, [4]);
    }
    let alone = File::new(9).await;
    alone.ask_for_one(async |mut turn| write(&mut turn, 1).await).await.await.unwrap();
    alone.ask(2, keep).await.await.unwrap().unwrap();
    assert_eq!(alone.rows().await, [2]);
}

async fn keep(turn: Turn) -> Result<(), Error> {
    turn.commit(Touched::default(), Vec::new()).await
}

async fn write(turn: &mut Turn, id: u32) {
    turn.execute(sqlx::AssertSqlSafe(format!("INSERT INTO rows (id) VALUES ({id})"))).await.unwrap();
}

#[tokio::test]
async fn nobody_hears_of_a_commit_before_the_group_is_on_the_disk() {
    let file = File::new(9).await;
    let mut first = file.writer.turn().await.unwrap();
    write(&mut first, 1).await;
    let ((begun, has_begun), (go, may_go)) = (oneshot::channel(), oneshot::channel::<()>());
    let last = file.ask(2, async |turn| {
        begun.send(()).unwrap();
        may_go.await.unwrap();
        keep(turn).await
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
    let mut first = file.writer.turn().await.unwrap();
    write(&mut first, 1).await;
    let gives_up = file.ask(2, async |turn| drop(turn)).await;
    let panics = file.ask(3, async |_turn| panic!("on purpose")).await;
    let last = file.ask(4, keep).await;
    first.commit(Touched::default(), Vec::new()).await.unwrap();
    last.await.unwrap().unwrap();
    gives_up.await.unwrap();
    assert!(panics.await.is_err());
    assert_eq!(file.rows().await, [1, 4]);
}

#[tokio::test]
async fn who_goes_away_while_waiting_or_writing_holds_nobody_up() {
    let file = File::new(9).await;
    let first = file.writer.turn().await.unwrap();
    let waits = file.ask(1, keep).await;
    let stays = file.ask(2, async |_turn| std::future::pending::<()>().await).await;
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
    let mut first = file.writer.turn().await.unwrap();
    write(&mut first, 1).await;
    let faulty = file.ask(2, async |mut turn| {
        turn.execute("PRAGMA defer_foreign_keys = ON").await.unwrap();
        turn.execute("UPDATE rows SET of = 99 WHERE id = 2").await.unwrap();
        turn.commit(Touched::default(), Vec::new()).await
    });
    let faulty = faulty.await;
    let last = file.ask(3, keep).await;
    assert!(matches!(first.commit(Touched::default(), Vec::new()).await, Err(Error::Unavailable(_))));
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
        let mut first = file.writer.turn().await.unwrap();
        write(&mut first, 1).await;
        // What a full disk does within a statement.
        let struck = file.ask(2, async move |mut turn| {
            turn.execute("ROLLBACK").await.unwrap();
            if gives_up { Err(unavailable("")) } else { turn.commit(Touched::default(), Vec::new()).await }
        });
        let struck = struck.await;
        let _lost_too = file.ask(3, keep).await;
        assert!(matches!(first.commit(Touched::default(), Vec::new()).await, Err(Error::Unavailable(_))));
        assert!(matches!(struck.await.unwrap(), Err(Error::Unavailable(_))));
        file.ask(4, keep).await.await.unwrap().unwrap();
        assert_eq!(file.rows().await, [4]);
    }
}

#[tokio::test]
async fn a_group_that_is_full_is_committed_while_others_wait() {
    let file = File::new(2).await;
    let mut first = file.writer.turn().await.unwrap();
    write(&mut first, 1).await;
    let second = file.ask(2, keep).await;
    let third = file.ask(3, async |_turn| std::future::pending::<()>().await).await;
    first.commit(Touched::default(), Vec::new()).await.unwrap();
    second.await.unwrap().unwrap();
    assert_eq!(file.rows().await, [1, 2]);
    third.abort();
}

#[tokio::test]
async fn who_wants_no_company_is_a_group_of_their_own_and_costs_the_neighbours_nothing() {
    for keeps in [true, false] {
        let file = File::new(9).await;
        let mut first = file.writer.turn().await.unwrap();
        write(&mut first, 1).await;
        let writer = file.writer.clone();
        let (has, waited) = (file.ask(2, keep).await, oneshot::channel::<()>());
        let alone = tokio::spawn(async move {
            let mut turn = writer.turn_alone().await.unwrap();
            write(&mut turn, 3).await;
            waited.1.await.unwrap();
            if keeps { keep(turn).await } else { Ok(()) }
        });
        yield_now().await;
        let after = file.ask(4, keep).await;
        first.commit(Touched::default(), Vec::new()).await.unwrap();
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
    let mut turn = file.writer.turn().await.unwrap();
    write(&mut turn, 1).await;
    let ((), committed) = tokio::join!(file.writer.close(), async {
        yield_now().await;
        turn.commit(Touched::default(), Vec::new()).await
    });
    committed.unwrap();
    assert!(matches!(file.writer.turn().await, Err(Error::Unavailable(_))));
    assert_eq!(file.rows().await, [1]);
}
