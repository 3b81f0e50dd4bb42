//! Which way imports run, and who may touch what.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            // Comments may speak of anything.
            let text = fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            found.push((path.strip_prefix("src").unwrap().to_owned(), code));
        }
    }
    found
}

/// The module a file belongs to: its folder, or its own name.
fn module(path: &Path) -> String {
    path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The modules of the crate that a text imports, by `crate::x` or inside `crate::{x::…, y::…}`.
fn imports(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let name =
            |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = 0;
            for (i, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => {
                        modules.push(name(&group[start..i]));
                        break;
                    }
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        modules.push(name(&group[start..i]));
                        start = i + 1;
                    }
                    _ => {}
                }
            }
        } else {
            modules.push(name(rest));
        }
    }
    modules.retain(|module| !module.is_empty());
    modules
}

#[test]
fn imports_run_one_way() {
    let allowed: &[(&str, &[&str])] = &[
        ("main", &[]),
        ("lib", &[]),
        ("cli", &["auth", "config", "error", "http", "model", "telemetry"]),
        ("http", &["auth", "error", "model"]),
        ("auth", &["error", "model", "store"]),
        ("store", &["error", "model"]),
        ("model", &[]),
        ("error", &["model"]),
        // It turns flags into the settings of the service.
        ("config", &["auth", "error", "model"]),
        ("telemetry", &["config", "error", "model"]),
    ];
    for (path, code) in sources(Path::new("src")) {
        let own = module(&path);
        let (_, allowed) = allowed.iter().find(|(name, _)| *name == own).unwrap_or_else(|| panic!("{own} has no rule"));
        for import in imports(&code) {
            assert!(import == own || allowed.contains(&import.as_str()), "{} imports {import}", path.display());
        }
    }
}

#[test]
fn each_thing_is_touched_in_one_place() {
    for (path, code) in sources(Path::new("src")) {
        let own = module(&path);
        let only = |words: &[&str], homes: &[&str]| {
            for word in words {
                assert!(homes.contains(&own.as_str()) || !code.contains(word), "{} touches {word}", path.display());
            }
        };
        only(&["axum::", "hyper::", "utoipa"], &["http"]);
        only(&["std::env::", "env::var"], &["config"]);
        only(&["SystemTime::"], &["model"]);
        // How long something took, not what time it is.
        only(&["Instant::now"], &["auth", "http", "store"]);
        only(&["clock.now()"], &["auth"]);
        only(&["Clock::System"], &["cli", "model"]);
        only(&["SELECT ", "INSERT ", "UPDATE ", "DELETE "], &["store"]);
        if own != "store" {
            let derives = code.replace("sqlx::Type", "").replace("#[sqlx(", "");
            assert!(own == "model" || code == derives, "{} touches sqlx", path.display());
            assert!(!derives.contains("sqlx"), "{} touches sqlx", path.display());
        }
    }
}

#[test]
fn migrations_of_both_stores_have_the_same_names() {
    let names = |folder: &str| {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("migrations"), names("migrations/postgres"));
}

/// What the API document does not show, the tables of the tests do not see.
#[test]
fn a_route_outside_the_api_document_needs_no_credential_or_is_another_spelling() {
    let routes = fs::read_to_string("src/http/mod.rs").unwrap();
    let paths: Vec<_> = routes.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(paths, ["/verify", "/users/", "/docs", "/docs/", "/docs/{*file}", "/health"]);
}

#[test]
fn main_is_short_and_the_map_names_every_module() {
    assert!(fs::read_to_string("src/main.rs").unwrap().lines().count() < 50);
    let map = fs::read_to_string("src/lib.rs").unwrap();
    for entry in fs::read_dir("src").unwrap() {
        let module = module(Path::new(&entry.unwrap().file_name()));
        assert!(["main", "lib"].contains(&module.as_str()) || map.contains(&format!("[`{module}`]")), "{module}");
    }
}

/// What is kept of checked credentials goes by what transactions say they touch (`store/changes.rs`).
#[test]
fn whatever_takes_from_users_sessions_and_tokens_says_whose_they_were() {
    // Nothing that is kept is another after these: only locks, times of use, and rows that had run out by themselves, which
    // is looked at with each request.
    let harmless = [
        "lock_user",
        "lock_admins",
        "note_sessions_seen",
        "note_tokens_used",
        "delete_sessions_expired_before",
        "delete_personal_tokens_expired_before",
        // Macros, whose callers say it.
        "end_sessions",
    ];
    let tables = ["users", "sessions", "personal_tokens"];
    let mut found = Vec::new();
    for (path, code) in sources(Path::new("src/store")) {
        let code = code.split("#[cfg(test)]").next().unwrap();
        for part in code.split("fn ").flat_map(|part| part.split("macro_rules! ")).skip(1) {
            let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let takes = tables.iter().any(|table| {
                part.contains(&format!("UPDATE {table} SET")) || part.contains(&format!("DELETE FROM {table}"))
            });
            let through_macro = part.contains("end_sessions!(");
            if (takes || through_macro) && !harmless.contains(&name.as_str()) {
                assert!(part.contains("self.touch"), "{} in {} does not say what it touches", name, path.display());
                found.push(name);
            }
        }
    }
    assert!(found.len() >= 14, "{found:?}");
}
