//! The rows of an import, read and checked in a thread of their own while others are being written.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
    thread,
};

use csv::StringRecord;
use serde::Deserialize;
use tokio::sync::mpsc;
use unicode_normalization::UnicodeNormalization;
use validator::Validate;

use crate::{
    auth::passwords::formats::ParsedHash,
    error::{Error, FieldError},
    model::{PasswordHash, UserRecord, fold_username, is_valid_username},
};

/// Rows that are written with one statement.
const BATCH: usize = 5000;
/// The largest row, in bytes: a quote that is never closed must not take the rest of the file for one row.
const MAX_ROW: usize = 64 * 1024;

/// How users are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// With a header line (RFC 4180).
    Csv,
    /// A JSON object a line.
    Ndjson,
}

/// A row as it was read.
pub struct Row {
    /// The line it begins on, from 1.
    pub line: u64,
    /// Whom it is about, folded, if that could be a username.
    pub username: Option<String>,
    /// The user, with every field in the form we keep, or what is wrong with it.
    pub record: Result<UserRecord, Vec<FieldError>>,
}

/// Why there are no more rows although the source has not ended.
pub struct Broken {
    /// The line it happened on.
    pub line: u64,
    /// What happened.
    pub fault: FieldError,
}

/// Rows, in batches.
pub struct Rows {
    batches: mpsc::Receiver<Result<Vec<Row>, Broken>>,
    broken: Option<Broken>,
}

impl Rows {
    /// Begins to read.
    pub fn read(format: Format, source: impl Read + Send + 'static) -> Result<Self, Error> {
        let (sender, batches) = mpsc::channel(1);
        let read = move || {
            let since_row = Rc::new(Cell::new(0));
            let source = Bounded { source, since_row: Rc::clone(&since_row) };
            let mut out = Out { batches: sender, rows: Vec::with_capacity(BATCH), since_row };
            let read = match format {
                Format::Csv => read_csv(source, &mut out),
                Format::Ndjson => read_ndjson(source, &mut out),
            };
            out.finish(read);
        };
        let started = thread::Builder::new().name("import".to_owned()).spawn(read);
        started.map(|_| Self { batches, broken: None }).map_err(|error| Error::Internal(error.into()))
    }

    /// The next batch; none at the end.
    pub async fn next(&mut self) -> Option<Result<Vec<Row>, Broken>> {
        match self.broken.take() {
            Some(broken) => Some(Err(broken)),
            None => self.batches.recv().await,
        }
    }

    /// The next batch, if it has been read already.
    pub fn next_if_ready(&mut self) -> Option<Vec<Row>> {
        match self.batches.try_recv() {
            Ok(Ok(batch)) => Some(batch),
            Ok(Err(broken)) => {
                self.broken = Some(broken);
                None
            }
            Err(_) => None,
        }
    }
}

/// Where the thread leaves what it has read.
struct Out {
    batches: mpsc::Sender<Result<Vec<Row>, Broken>>,
    rows: Vec<Row>,
    since_row: Rc<Cell<usize>>,
}

/// Nobody wants the rows any more.
struct Unwanted;

/// Why reading ended early.
enum End {
    Unwanted,
    Broken(Broken),
}

impl From<Unwanted> for End {
    fn from(_: Unwanted) -> Self {
        Self::Unwanted
    }
}

impl Out {
    fn push(&mut self, line: u64, record: Result<UserRecord, Vec<FieldError>>) -> Result<(), Unwanted> {
        self.since_row.set(0);
        self.rows.push(checked(line, record));
        if self.rows.len() < BATCH { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), Unwanted> {
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(BATCH));
        self.batches.blocking_send(Ok(rows)).map_err(|_| Unwanted)
    }

    fn finish(mut self, read: Result<(), End>) {
        let sent = if self.rows.is_empty() { Ok(()) } else { self.send() };
        if let (Ok(()), Err(End::Broken(broken))) = (sent, read) {
            let _unwanted = self.batches.blocking_send(Err(broken));
        }
    }
}

/// A source that ends in an error when a row is too large.
struct Bounded<R> {
    source: R,
    since_row: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.since_row.get() > MAX_ROW {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = self.source.read(buffer)?;
        self.since_row.set(self.since_row.get() + read);
        Ok(read)
    }
}

fn broken(line: u64, error: &io::Error) -> End {
    let fault = match error.kind() {
        io::ErrorKind::FileTooLarge => FieldError::new("", "too-long", "is over 64 KiB; is a quote not closed?"),
        _ => FieldError::new("", "unreadable", "could not be read any further"),
    };
    End::Broken(Broken { line, fault })
}

fn read_ndjson(source: impl Read, out: &mut Out) -> Result<(), End> {
    let mut source = BufReader::new(source);
    let (mut text, mut line) = (Vec::new(), 0);
    loop {
        text.clear();
        line += 1;
        if source.read_until(b'\n', &mut text).map_err(|error| broken(line, &error))? == 0 {
            return Ok(());
        }
        let row = text.trim_ascii();
        if !row.is_empty() {
            out.push(line, from_json(row))?;
        }
    }
}

fn from_json(row: &[u8]) -> Result<UserRecord, Vec<FieldError>> {
    // serde would take an array for an object too, by the order of its fields.
    if row.first() != Some(&b'{') {
        return Err(vec![FieldError::new("", "malformed", "must be a JSON object")]);
    }
    serde_json::from_slice(row).map_err(|_| {
        // Again, more slowly, to learn where.
        let mut json = serde_json::Deserializer::from_slice(row);
        vec![match serde_path_to_error::deserialize::<_, UserRecord>(&mut json) {
            Err(error) if error.inner().is_data() => FieldError::wrong_shape(&error.path().to_string(), error.inner()),
            _ => FieldError::new("", "malformed", "must be a JSON object"),
        }]
    })
}

fn read_csv(source: impl Read, out: &mut Out) -> Result<(), End> {
    let mut csv = csv::Reader::from_reader(source);
    let fault = |line, fault| End::Broken(Broken { line, fault });
    let header = match csv.headers() {
        Ok(header) => header.clone(),
        Err(error) => return Err(unreadable(error, 1)),
    };
    check_header(&header).map_err(|fault_of| fault(1, fault_of))?;
    // After a line that ends with CR LF the reader stands before the LF and counts the next one as the same.
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
                    let fault = FieldError::new("", "malformed", "has another number of fields than the header");
                    out.push(line, Err(vec![fault]))?;
                }
                csv::ErrorKind::Utf8 { .. } => {
                    out.push(line, Err(vec![FieldError::new("", "malformed", "is not UTF-8")]))?;
                }
                _ => return Err(unreadable(error, line)),
            },
        }
    }
}

fn unreadable(error: csv::Error, line: u64) -> End {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => broken(line, &error),
        _ => broken(line, &io::ErrorKind::InvalidData.into()),
    }
}

/// Every column must be one of ours, once, and the username must be among them.
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
    row.deserialize(Some(header)).map_err(|error| {
        let column = match error.kind() {
            csv::ErrorKind::Deserialize { err, .. } => err.field().and_then(|i| header.get(usize::try_from(i).ok()?)),
            _ => None,
        };
        let mend = "is not of the type or form this field has";
        vec![FieldError::new(column.unwrap_or_default(), "malformed", mend)]
    })
}

/// Brings a row into the form we keep and says what is wrong with it.
fn checked(line: u64, record: Result<UserRecord, Vec<FieldError>>) -> Row {
    let mut record = match record {
        Ok(record) => record,
        Err(errors) => return Row { line, username: None, record: Err(errors) },
    };
    record.username = fold_username(&record.username);
    record.name = record.name.map(|name| name.nfc().collect());
    record.password_hash = record.password_hash.map(unwrapped);
    let mut errors = FieldError::all(record.validate());
    if record.id.is_some_and(|id| id.0.get_version_num() != 7) {
        errors.push(FieldError::new("id", "malformed", "must be a UUIDv7"));
    }
    if record.password_hash.as_ref().is_some_and(|hash| ParsedHash::parse(hash).is_none()) {
        let mend = "is of no known form, was cut, or costs more than is paid";
        errors.push(FieldError::new("password_hash", "malformed", mend));
    }
    let username = is_valid_username(&record.username).then(|| record.username.clone());
    Row { line, username, record: if errors.is_empty() { Ok(record) } else { Err(errors) } }
}

/// Django puts a name before PHC strings that say theirs already.
fn unwrapped(hash: PasswordHash) -> PasswordHash {
    match hash.0.strip_prefix("argon2$") {
        Some(phc) => PasswordHash(format!("${phc}")),
        None => hash,
    }
}
