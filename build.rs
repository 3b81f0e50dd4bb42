//! Unpacks `sqlx-data.json` for the query macros.
//!
//! The file maps the SHA-256 of a query's text to what the database said of it when `scripts/sqlx-prepare` asked. The macros
//! want one file a query in a folder, so they are written to `OUT_DIR` and the macros are pointed there. A build then
//! needs no database, and a `DATABASE_URL` in `.env` does not change it. With `SQLX_OFFLINE=false` the macros ask a database
//! instead. `scripts/sqlx-prepare` sets that, and `SQLX_PREPARE` to the one store whose queries are compiled then, because the
//! macros can ask only one database at a time.

#![expect(clippy::disallowed_methods, reason = "a build script is told everything by its environment")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=sqlx-data.json");
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-env-changed=SQLX_OFFLINE");
    println!("cargo:rerun-if-env-changed=SQLX_PREPARE");
    println!(r#"cargo:rustc-check-cfg=cfg(sqlx_prepare, values("sqlite", "postgres"))"#);
    if env::var("SQLX_OFFLINE").is_ok_and(|offline| offline == "false") {
        if let Ok(store) = env::var("SQLX_PREPARE") {
            println!("cargo:rustc-cfg=sqlx_prepare=\"{store}\"");
        }
        return Ok(());
    }
    let folder = PathBuf::from(env::var("OUT_DIR")?).join("queries");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let queries: BTreeMap<String, serde_json::Value> = serde_json::from_str(&fs::read_to_string("sqlx-data.json")?)?;
    for (hash, query) in queries {
        fs::write(folder.join(format!("query-{hash}.json")), query.to_string())?;
    }
    println!("cargo:rustc-env=SQLX_OFFLINE=true");
    println!("cargo:rustc-env=SQLX_OFFLINE_DIR={}", folder.display());
    Ok(())
}
