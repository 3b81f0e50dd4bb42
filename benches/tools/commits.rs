//! What shared commits are measured against: the statements of `POST /refresh?rotate=true`, in a loop on one connection,
//! each exchange with a commit of its own. There is no HTTP and no signature, and nothing is waited for but the disk.
//! It prints how many exchanges it did a second.
#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a tool of `scripts/bench`, not the service"
)]

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use clap::Parser;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use uuid::Uuid;

#[derive(Parser)]
struct Args {
    /// A database that Countersign has made, with live sessions in it; no server may have it open
    database: PathBuf,
    /// For how long
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Of how many sessions the tokens are exchanged, in turn
    #[arg(long, default_value_t = 64)]
    sessions: i64,
}

#[derive(sqlx::FromRow)]
struct Session {
    id: Uuid,
    user_id: Uuid,
    token_hash: Vec<u8>,
    rotations: i64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    // The same as the server's own connection, which `store/sqlite/mod.rs` opens.
    let mut db = SqliteConnectOptions::new()
        .filename(&args.database)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864")
        .pragma("temp_store", "MEMORY")
        .connect()
        .await?;
    let live = "SELECT id, user_id, token_hash, rotations FROM sessions
        WHERE ended_at IS NULL AND expires_at > $1 LIMIT $2";
    let mut sessions: Vec<Session> = sqlx::query_as(live).bind(now()?).bind(args.sessions).fetch_all(&mut db).await?;
    if sessions.is_empty() {
        return Err("there is no live session in this database".into());
    }
    let (begun, limit, mut done) = (Instant::now(), Duration::from_secs(args.seconds), 0);
    while begun.elapsed() < limit {
        let turn = done % sessions.len();
        exchange(&mut db, &mut sessions[turn]).await?;
        done += 1;
    }
    println!("{:.1}", done as f64 / begun.elapsed().as_secs_f64());
    Ok(db.close().await?)
}

/// Gives a session another token, and notes it in the audit trail. When this returns, it is on the disk.
async fn exchange(db: &mut SqliteConnection, session: &mut Session) -> Result<(), Box<dyn Error>> {
    let (now, mut token_hash) = (now()?, vec![0; 32]);
    rand::fill(&mut token_hash)?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *db).await?;
    let exchanged = sqlx::query(
        "UPDATE sessions SET token_hash = $1, rotations = rotations + 1
        WHERE id = $2 AND token_hash = $3 AND ended_at IS NULL AND expires_at > $4 AND rotations < 100000",
    )
    .bind(&token_hash)
    .bind(session.id)
    .bind(&session.token_hash)
    .bind(now)
    .execute(&mut *db)
    .await?;
    if exchanged.rows_affected() != 1 {
        return Err("a token was not exchanged".into());
    }
    sqlx::query("INSERT INTO rotated_tokens (token_hash, session_id, rotation) VALUES ($1, $2, $3)")
        .bind(&session.token_hash)
        .bind(session.id)
        .bind(session.rotations + 1)
        .execute(&mut *db)
        .await?;
    note(db, session, now).await?;
    sqlx::query("COMMIT").execute(&mut *db).await?;
    session.token_hash = token_hash;
    session.rotations += 1;
    Ok(())
}

/// Appends a record to the audit trail, with a hash over itself and the record before.
async fn note(db: &mut SqliteConnection, session: &Session, now: i64) -> Result<(), Box<dyn Error>> {
    let (event, outcome, method, address) = ("session.refreshed", "done", "opaque", "127.0.0.1");
    let (user, target, request) = (session.user_id, session.id.to_string(), Uuid::from_u64_pair(0, 0).to_string());
    let (seq, before): (i64, Vec<u8>) =
        sqlx::query_as("UPDATE audit_head SET seq = seq + 1 WHERE id = 1 RETURNING seq, hash")
            .fetch_one(&mut *db)
            .await?;
    let record = (&before, seq, now, event, outcome, (user, user, &target), (method, address, &request));
    let hash = digest(&SHA256, &serde_json::to_vec(&record)?).as_ref().to_vec();
    sqlx::query(
        "INSERT INTO audit (seq, at, event, outcome, actor_id, subject_id, target, method, address, request_id, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(seq)
    .bind(now)
    .bind(event)
    .bind(outcome)
    .bind(user)
    .bind(user)
    .bind(target)
    .bind(method)
    .bind(address)
    .bind(request)
    .bind(&hash)
    .execute(&mut *db)
    .await?;
    sqlx::query("UPDATE audit_head SET hash = $1 WHERE id = 1").bind(hash).execute(&mut *db).await?;
    Ok(())
}

fn now() -> Result<i64, Box<dyn Error>> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}
