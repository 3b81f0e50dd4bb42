# Short names for everyday commands. `just` lists them.

_list:
    @just --list --unsorted

# Clippy and the format, as CI checks them
check:
    cargo clippy --locked --all-targets -- -D warnings
    cargo fmt --check

# All tests, on SQLite and PostgreSQL, or those with these words in their names
test *NAMES:
    scripts/test {{ NAMES }}

# The integration tests with this in their names, on SQLite
one TEST:
    cargo test --test it -- {{ TEST }}

# Format the code
fmt:
    cargo fmt

# Check the shell scripts
lint:
    scripts/lint

# Regenerate sqlx-data.json, after a change of a query or a migration
prepare:
    scripts/sqlx-prepare

# Regenerate the API document, the example and the page of the settings, and the lists of errors, events and metrics
generated:
    cargo run -q -- openapi > openapi.json
    cargo run -q -- settings --format env > .env.example
    cargo run -q -- settings --format markdown > docs/settings.md
    UPDATE=1 cargo test -q --test it -- documentation::reference

# Build the site of the documentation in target/site, and check its links
docs:
    scripts/docs

# Measure, and write docs/benchmarks.md; --quick only prints
bench *ARGS:
    scripts/bench {{ ARGS }}

# Break what the server stands on, and write the table of docs/reliability.md; --quick only prints
torture *ARGS:
    scripts/torture {{ ARGS }}

# Look for input that breaks a property: 10,000,000 runs of each target, or of those named
fuzz *TARGETS:
    scripts/fuzz {{ TARGETS }}

# Check the dependencies, also for known vulnerabilities, which needs access to GitHub
deny:
    scripts/deny

# Everything that belongs to a release, in the folder dist
release:
    scripts/release

# All that CI checks
ci:
    .ci/run
