//! The rows of an import. A thread of its own reads and validates them while earlier ones are written.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;
use std::thread;

use csv::StringRecord;
use tokio::sync::mpsc;
use unicode_normalization::UnicodeNormalization;
use validator::Validate;

use crate::auth::passwords::formats::ParsedHash;
use crate::error::{Error, FieldError};
use crate::model::{Format, PasswordHash, UserRecord, fold_username, from_csv_cell, is_valid_username};

/// The rows of a batch, written with one statement.
const BATCH: usize = 2500;
/// The maximum size of a row, in bytes. Without it, an unclosed quote would buffer the rest of the file as one row.
const MAX_ROW: usize = 64 * 1024;

/// A row of the source.
pub struct Row {
    /// The line on which the row begins, from 1.
    pub line: u64,
    /// The folded username, if valid.
    pub username: Option<String>,
    /// The normalized record, or its errors.
    pub record: Result<UserRecord, Vec<FieldError>>,
}

/// An error that ended reading before the end of the source.
pub struct ReadError {
    /// The line of the error.
    pub line: u64,
    /// The error.
    pub error: FieldError,
}

/// A stream of batches of rows.
pub struct Rows {
    batches: mpsc::Receiver<Result<Vec<Row>, ReadError>>,
    error: Option<ReadError>,
}

impl Rows {
    /// Starts the thread that reads `source`.
    pub fn read(format: Format, source: impl Read + Send + 'static) -> Result<Self, Error> {
        let (sender, batches) = mpsc::channel(1);
        let read = move || {
            let since_row = Rc::new(Cell::new(0));
            let source = RowLimit { source, since_row: Rc::clone(&since_row) };
            let mut out = Output { batches: sender, rows: Vec::with_capacity(BATCH), since_row };
            let read = match format {
                Format::Csv => read_csv(source, &mut out),
                Format::Ndjson => read_ndjson(source, &mut out),
            };
            out.finish(read);
        };
        let started = thread::Builder::new().name("import".to_owned()).spawn(read);
        started.map(|_| Self { batches, error: None }).map_err(|error| Error::Internal(error.into()))
    }

    /// Returns the next batch, or `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Vec<Row>, ReadError>> {
        match self.error.take() {
            Some(error) => Some(Err(error)),
            None => self.batches.recv().await,
        }
    }

    /// Returns the next batch if it has been read already. An error is kept for [`Rows::next`].
    pub fn next_if_ready(&mut self) -> Option<Vec<Row>> {
        match self.batches.try_recv() {
            Ok(Ok(batch)) => Some(batch),
            Ok(Err(error)) => {
                self.error = Some(error);
                None
            }
            Err(_) => None,
        }
    }
}

/// The sending side of [`Rows`].
struct Output {
    batches: mpsc::Sender<Result<Vec<Row>, ReadError>>,
    rows: Vec<Row>,
    since_row: Rc<Cell<usize>>,
}

/// Why reading ended early.
enum End {
    /// The receiver was dropped.
    Closed,
    Error(ReadError),
}

impl Output {
    fn push(&mut self, line: u64, record: Result<UserRecord, Vec<FieldError>>) -> Result<(), End> {
        self.since_row.set(0);
        self.rows.push(checked(line, record));
        if self.rows.len() < BATCH { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), End> {
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(BATCH));
        self.batches.blocking_send(Ok(rows)).map_err(|_| End::Closed)
    }

    fn finish(mut self, read: Result<(), End>) {
        let sent = if self.rows.is_empty() { Ok(()) } else { self.send() };
        if let (Ok(()), Err(End::Error(error))) = (sent, read) {
            let _closed = self.batches.blocking_send(Err(error));
        }
    }
}

/// A reader that fails when a row exceeds [`MAX_ROW`].
struct RowLimit<R> {
    source: R,
    since_row: Rc<Cell<usize>>,
}

impl<R: Read> Read for RowLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row.get() > MAX_ROW {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = self.source.read(buffer)?;
        self.since_row.set(self.since_row.get() + read);
        Ok(read)
    }
}

fn io_error(line: u64, error: &io::Error) -> End {
    let error = match error.kind() {
        io::ErrorKind::FileTooLarge => FieldError::new("", "too-long", "is over 64 KiB; is a quote not closed?"),
        _ => FieldError::new("", "unreadable", "could not be read any further"),
    };
    End::Error(ReadError { line, error })
}

fn read_ndjson(source: impl Read, out: &mut Output) -> Result<(), End> {
    let mut source = BufReader::new(source);
    let (mut text, mut line) = (Vec::new(), 0);
    loop {
        text.clear();
        line += 1;
        if source.read_until(b'\n', &mut text).map_err(|error| io_error(line, &error))? == 0 {
            return Ok(());
        }
        let row = text.trim_ascii();
        if !row.is_empty() {
            out.push(line, from_json(row))?;
        }
    }
}

fn from_json(row: &[u8]) -> Result<UserRecord, Vec<FieldError>> {
    // serde would also accept an array, with the fields in order.
    if row.first() != Some(&b'{') {
        return Err(vec![FieldError::new("", "malformed", "must be a JSON object")]);
    }
    serde_json::from_slice(row).map_err(|_| {
        // Parses again, with the slower deserializer that tracks the path of an error.
        let mut json = serde_json::Deserializer::from_slice(row);
        vec![match serde_path_to_error::deserialize::<_, UserRecord>(&mut json) {
            Err(error) if error.inner().is_data() => FieldError::wrong_shape(&error.path().to_string(), error.inner()),
            _ => FieldError::new("", "malformed", "must be a JSON object"),
        }]
    })
}

fn read_csv(source: impl Read, out: &mut Output) -> Result<(), End> {
    let mut csv = csv::Reader::from_reader(source);
    let header = csv.headers().map_err(|error| csv_error(error, 1))?.clone();
    check_header(&header).map_err(|error| End::Error(ReadError { line: 1, error }))?;
    // After CR LF the reader is positioned before the LF, so its line number lags by one.
    let behind = 2_u64.saturating_sub(csv.position().line());
    let mut row = StringRecord::new();
    loop {
        let line = csv.position().line() + behind;
        match csv.read_record(&mut row) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let line = row.position().map_or(line, |position| position.line() + behind);
                out.push(line, from_csv(&row, &header))?;
            }
            Err(error) => match error.kind() {
                csv::ErrorKind::UnequalLengths { .. } => {
                    let error = FieldError::new("", "malformed", "does not have as many fields as the header");
                    out.push(line, Err(vec![error]))?;
                }
                csv::ErrorKind::Utf8 { .. } => {
                    out.push(line, Err(vec![FieldError::new("", "malformed", "is not UTF-8")]))?;
                }
                _ => return Err(csv_error(error, line)),
            },
        }
    }
}

fn csv_error(error: csv::Error, line: u64) -> End {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => io_error(line, &error),
        _ => io_error(line, &io::ErrorKind::InvalidData.into()),
    }
}

/// Checks that all columns are known and unique, and include the username.
fn check_header(header: &StringRecord) -> Result<(), FieldError> {
    for (i, name) in header.iter().enumerate() {
        if !UserRecord::FIELDS.contains(&name) {
            let known = UserRecord::FIELDS.join(", ");
            return Err(FieldError::new("header", "unknown", format!("column {} is none of {known}", i + 1)));
        }
        if header.iter().take(i).any(|before| before == name) {
            return Err(FieldError::new(name, "duplicate", "comes more than once"));
        }
    }
    if header.iter().any(|name| name == "username") {
        Ok(())
    } else {
        Err(FieldError::new("username", "required", "is missing in the header"))
    }
}

fn from_csv(row: &StringRecord, header: &StringRecord) -> Result<UserRecord, Vec<FieldError>> {
    let row: StringRecord = row.iter().map(from_csv_cell).collect();
    row.deserialize(Some(header)).map_err(|error| {
        let column = match error.kind() {
            csv::ErrorKind::Deserialize { err, .. } => err.field().and_then(|i| header.get(usize::try_from(i).ok()?)),
            _ => None,
        };
        let message = "is not of the type or form this field has";
        vec![FieldError::new(column.unwrap_or_default(), "malformed", message)]
    })
}

/// Normalizes and validates a row.
fn checked(line: u64, record: Result<UserRecord, Vec<FieldError>>) -> Row {
    let mut record = match record {
        Ok(record) => record,
        Err(errors) => return Row { line, username: None, record: Err(errors) },
    };
    record.username = fold_username(&record.username);
    record.name = record.name.map(|name| name.nfc().collect());
    record.password_hash = record.password_hash.map(normalized);
    let mut errors = FieldError::all(record.validate());
    if record.id.is_some_and(|id| id.0.get_version_num() != 7) {
        errors.push(FieldError::new("id", "malformed", "must be a UUIDv7"));
    }
    if record.password_hash.as_ref().is_some_and(|hash| !hash.is_none() && ParsedHash::parse(hash).is_none()) {
        let message = "is of no known form, was cut, or costs more than is paid";
        errors.push(FieldError::new("password_hash", "malformed", message));
    }
    let username = is_valid_username(&record.username).then(|| record.username.clone());
    Row { line, username, record: if errors.is_empty() { Ok(record) } else { Err(errors) } }
}

/// Removes the prefix `argon2` that Django writes before PHC strings, which name their function themselves, and what it writes
/// after the exclamation mark of a user without a password.
fn normalized(hash: PasswordHash) -> PasswordHash {
    if hash.0.starts_with(PasswordHash::NONE) {
        return PasswordHash::none();
    }
    match hash.0.strip_prefix("argon2$") {
        Some(phc) => PasswordHash(format!("${phc}")),
        None => hash,
    }
}
