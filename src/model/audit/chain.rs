//! The hash chain of the audit trail: stored records, the end of the chain, and the key of both.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;

use crate::model::{AuditRecord, Timestamp, UserId};

/// A stored record of the audit trail. Its fields are those of [`AuditRecord`] and its links in the chain.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// The sequence number.
    pub seq: i64,
    /// The time of the event.
    pub at: Timestamp,
    /// The word of an [`Event`](super::Event).
    pub event: String,
    /// `done` or `refused`.
    pub outcome: String,
    /// The user who acted, if known.
    pub actor: Option<UserId>,
    /// The user who was acted on.
    pub subject: Option<UserId>,
    /// What else the event concerns, such as the id of a session.
    pub target: Option<String>,
    /// What was changed, or how often it happened.
    pub detail: Option<String>,
    /// The word of an [`AuditMethod`](super::AuditMethod).
    pub method: Option<String>,
    /// The IP address of the client.
    pub address: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
    /// The hash of this record and the hash of the previous one: by [`ChainKey::hash`], or by [`AuditRow::unkeyed_hash`] where
    /// the record is older than the key.
    pub hash: Vec<u8>,
}

impl AuditRow {
    /// Chains a record, with the number `seq`, to the record whose hash is `before`.
    pub fn new(record: AuditRecord, seq: i64, before: &[u8], key: &ChainKey) -> Result<Self, serde_json::Error> {
        let mut row = Self {
            seq,
            at: record.at,
            event: record.event.as_str().to_owned(),
            outcome: record.outcome.as_str().to_owned(),
            actor: record.actor,
            subject: record.subject,
            target: record.target,
            detail: record.detail,
            method: Some(record.method.as_str().to_owned()),
            address: record.address,
            request_id: record.request_id,
            hash: Vec::new(),
        };
        row.hash = key.hash(&row, before)?;
        Ok(row)
    }

    /// The hash that records had before there was a key: SHA-256.
    pub fn unkeyed_hash(&self, before: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        Ok(digest(&SHA256, &self.hashed(before)?).as_ref().to_vec())
    }

    /// What is hashed: this record together with `before`, the hash of the previous record, and so with all before it. A JSON
    /// array is unambiguous: no field can run into the next.
    fn hashed(&self, before: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        let whom = (self.actor, self.subject, &self.target);
        let how = (&self.method, &self.address, &self.request_id);
        match &self.detail {
            Some(detail) => {
                serde_json::to_vec(&(before, self.seq, self.at.0, &self.event, &self.outcome, whom, how, detail))
            }
            // As records were hashed before they had details.
            None => serde_json::to_vec(&(before, self.seq, self.at.0, &self.event, &self.outcome, whom, how)),
        }
    }
}

/// The end of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// The number of the last record, or 0.
    pub seq: i64,
    /// Its hash, or zeros.
    pub hash: Vec<u8>,
    /// The [`ChainKey::seal`] of both. None before a server or a command has first opened the database.
    pub seal: Option<Vec<u8>>,
}

/// The key of the chain, derived from the secret key: HMAC-SHA-256 (RFC 2104). Who has the database and not the key can neither
/// write a record nor choose another one as the last.
#[derive(Clone, Debug)]
pub struct ChainKey(hmac::Key);

impl ChainKey {
    /// The chain under this key.
    pub fn new(key: hmac::Key) -> Self {
        Self(key)
    }

    /// The hash of a record that follows the one whose hash is `before`.
    pub fn hash(&self, row: &AuditRow, before: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        Ok(hmac::sign(&self.0, &row.hashed(before)?).as_ref().to_vec())
    }

    /// The seal of an end.
    pub fn seal(&self, seq: i64, hash: &[u8]) -> Vec<u8> {
        hmac::sign(&self.0, &end(seq, hash)).as_ref().to_vec()
    }

    /// Whether an end was sealed under this key and has not been changed since.
    pub fn fits(&self, head: &AuditHead) -> bool {
        head.seal.as_ref().is_some_and(|seal| hmac::verify(&self.0, &end(head.seq, &head.hash), seal).is_ok())
    }
}

/// What is sealed. It begins like no record, whose first byte is a bracket.
fn end(seq: i64, hash: &[u8]) -> Vec<u8> {
    [b"end".as_slice(), &seq.to_be_bytes(), hash].concat()
}
