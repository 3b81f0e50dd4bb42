//! Rules of the source: the direction of imports, and which modules may use what.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            // Comments may mention anything.
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
        ("cli", &["auth", "config", "error", "http", "model", "private_file", "telemetry"]),
        ("http", &["auth", "error", "model"]),
        ("auth", &["config", "error", "mail", "model", "private_file", "store"]),
        ("mail", &["config", "error"]),
        ("store", &["error", "model", "private_file"]),
        ("model", &[]),
        ("private_file", &[]),
        ("error", &["model"]),
        ("config", &["error", "model"]),
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
fn each_dependency_is_used_by_its_own_modules_only() {
    for (path, code) in sources(Path::new("src")) {
        // A cfg that `scripts/sqlx-prepare` sets while it compiles one store.
        let (own, code) = (module(&path), code.replace("sqlx_prepare", "").replace("sqlx-prepare", ""));
        let only = |words: &[&str], homes: &[&str]| {
            for word in words {
                assert!(homes.contains(&own.as_str()) || !code.contains(word), "{} touches {word}", path.display());
            }
        };
        only(&["axum::", "utoipa"], &["http"]);
        only(&["hyper::"], &["http", "telemetry"]);
        only(&["std::env::", "env::var"], &["config"]);
        only(&["SystemTime::"], &["model"]);
        // Durations only; the time of day comes from the clock.
        only(&["Instant::now"], &["auth", "http", "store"]);
        only(&["clock.now()"], &["auth"]);
        only(&["Clock::System"], &["cli", "model"]);
        only(&["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "impl Tx", "Conn<C>"], &["store"]);
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

/// The tables of the tests come from the API document, so they miss such routes.
#[test]
fn routes_missing_from_the_api_document_are_public_or_aliases() {
    let routes = ["src/http/mod.rs", "src/http/routes/mod.rs", "src/http/pages/mod.rs"]
        .map(|file| fs::read_to_string(file).unwrap())
        .concat();
    let paths: Vec<_> = routes.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "/health",
            "/verify",
            "/users/",
            "/docs",
            "/docs/",
            "/docs/{*file}",
            "/",
            "/signin",
            "/signout",
            "/signup",
            "/forgot",
            "/setup",
            "/link/{token}",
            "/account",
            "/account/{action}",
            "/assets/{file}",
        ]
    );
}

#[test]
fn main_is_short_and_lib_documents_every_module() {
    assert!(fs::read_to_string("src/main.rs").unwrap().lines().count() < 50);
    let map = fs::read_to_string("src/lib.rs").unwrap();
    for entry in fs::read_dir("src").unwrap() {
        let module = module(Path::new(&entry.unwrap().file_name()));
        assert!(["main", "lib"].contains(&module.as_str()) || map.contains(&format!("[`{module}`]")), "{module}");
    }
}

/// The paths that a text imports from this crate: `a::B` and `a::c::D` for `use crate::{a::{B, c::D}};`.
fn imported_paths(code: &str) -> Vec<Vec<String>> {
    fn expand(prefix: &[String], tree: &str, paths: &mut Vec<Vec<String>>) {
        let tree = tree.trim();
        let Some((head, rest)) = tree.split_once('{') else {
            let name = tree.split(" as ").next().unwrap();
            let path = name.split("::").map(|part| part.trim().to_owned()).filter(|part| part != "self");
            return paths.push(prefix.iter().cloned().chain(path).collect());
        };
        let head = head.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
        let prefix: Vec<_> = prefix.iter().cloned().chain(head).collect();
        let (mut depth, mut start, inner) = (0, 0, rest.strip_suffix('}').unwrap());
        for (i, c) in inner.char_indices().chain([(inner.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    if !inner[start..i].trim().is_empty() {
                        expand(&prefix, &inner[start..i], paths);
                    }
                    start = i + 1;
                }
                _ => {}
            }
        }
    }
    let mut paths = Vec::new();
    for tree in code.split("use crate::").skip(1) {
        expand(&[], tree.split(';').next().unwrap(), &mut paths);
    }
    paths
}

/// The origin of each public name of a `mod.rs`, from `pub use self::{…}`.
fn re_exports(code: &str) -> HashMap<String, Vec<String>> {
    let as_imports = code.replace("pub use self::", "use crate::").replace("\nuse self::", "\nuse other::");
    let own = as_imports.split("use crate::").skip(1).map(|tree| tree.split(';').next().unwrap().to_owned());
    let is_own = |tree: &String| code.contains(&format!("pub use self::{tree};"));
    let text: String = own.filter(is_own).map(|tree| format!("use crate::{tree};")).collect();
    imported_paths(&text).into_iter().map(|path| (path.last().unwrap().clone(), path)).collect()
}

/// The file of an imported path, as the parts of its path in `src`. A folder's `mod.rs` is the folder and `mod`.
fn file_of(path: &[String], files: &HashMap<Vec<String>, String>) -> Option<Vec<String>> {
    let with_mod = |at: &[String]| at.iter().cloned().chain(["mod".to_owned()]).collect::<Vec<_>>();
    for length in (1..=path.len()).rev() {
        let at = &path[..length];
        if files.contains_key(at) {
            return Some(at.to_vec());
        }
        if let Some(code) = files.get(&with_mod(at)) {
            let name = path.get(length)?;
            return match re_exports(code).get(name) {
                Some(from) => file_of(&at.iter().chain(from).cloned().collect::<Vec<_>>(), files),
                None => Some(with_mod(at)),
            };
        }
    }
    None
}

/// Imports have no cycles within each folder of `src`, either. The types of a top-level module (`Auth`, `Store`, `App`)
/// are in its `mod.rs`, which all its files may import. Further down, a `mod.rs` is a file like any other.
#[test]
fn imports_within_a_module_run_one_way() {
    let parts = |path: &Path| -> Vec<String> {
        path.with_extension("").components().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect()
    };
    let files: HashMap<_, _> = sources(Path::new("src")).into_iter().map(|(path, code)| (parts(&path), code)).collect();
    let [me, admin] = ["me", "admin"].map(|folder| ["http", "routes", folder].map(ToOwned::to_owned));
    let mut edges: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (from, code) in &files {
        if from.len() < 2 || (from.len() == 2 && from[1] == "mod") || from.last().unwrap() == "tests" {
            continue;
        }
        for to in imported_paths(code).iter().filter_map(|path| file_of(path, &files)) {
            // What users do knows nothing of what administrators do.
            let crosses = from.starts_with(&me) && to.starts_with(&admin);
            assert!(!crosses, "{} imports {}", from.join("/"), to.join("/"));
            let is_root = to.len() == 2 && to[1] == "mod";
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if common > 0 && !is_root && *from != to {
                let edges = edges.entry(from[..common].to_vec()).or_default();
                edges.entry(from[common].clone()).or_default().insert(to[common].clone());
            }
        }
    }
    assert!(edges.len() >= 8, "{edges:?}");
    for (folder, mut edges) in edges {
        // Repeatedly remove files that import no remaining file. What remains is a cycle.
        loop {
            let left: BTreeSet<_> = edges.keys().cloned().collect();
            let before = edges.len();
            edges.retain(|_, to| to.iter().any(|to| left.contains(to)));
            if edges.len() == before {
                break;
            }
        }
        assert!(edges.is_empty(), "in src/{}, these import each other: {edges:?}", folder.join("/"));
    }
}

#[test]
fn every_test_that_the_security_policy_names_exists() {
    let policy = fs::read_to_string("SECURITY.md").unwrap();
    let tests: String = ["tests/it", "src"].iter().flat_map(|folder| texts(Path::new(folder))).collect();
    let table = policy.split("## What holds").nth(1).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    let cells = rows.map(|row| row.trim_end_matches(" |").rsplit("| ").next().unwrap());
    let named: Vec<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 40, "the table was not read");
    for name in named {
        assert!(tests.contains(&format!("fn {name}(")), "SECURITY.md names {name}, which is no test");
    }
}

fn texts(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(
            |path| if path.is_dir() { texts(&path) } else { fs::read_to_string(&path).ok().into_iter().collect() },
        )
        .collect()
}
