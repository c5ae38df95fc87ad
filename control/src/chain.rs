//! The hash chain over the audit log: each record's hash covers its bytes and the hash of the record before it, so that
//! the newest hash stands for every record there ever was. Whoever has written that one down notices any change, drop
//! or swap of a record, whoever made it. Bytes and hashes only: what a record says is `audit.rs`'s.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What the first hash of a cluster is made of, before its id: no chain can be taken for another cluster's.
const GENESIS: &[u8] = b"twinset audit 1\0";

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

/// The text is no hash, or no number and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAHead {
    /// A hash is written otherwise.
    #[error("a hash is 64 hexadecimal digits")]
    Hash,
    /// The number before it is none.
    #[error("it is written NUMBER:HASH")]
    Number,
}

impl Hash {
    /// What the first record of a cluster follows.
    pub fn genesis(cluster_id: &str) -> Hash {
        Hash(Sha256::new().chain_update(GENESIS).chain_update(cluster_id).finalize().into())
    }

    /// The hash of a record, which follows one with this hash.
    pub fn next(&self, record: &[u8]) -> Hash {
        Hash(Sha256::new().chain_update(self.0).chain_update(record).finalize().into())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From its bytes; none if there are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Hash> {
        bytes.try_into().ok().map(Hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = NotAHead;

    fn from_str(text: &str) -> Result<Hash, NotAHead> {
        let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NotAHead::Hash);
        let digits: &[u8; 64] = text.as_bytes().try_into().map_err(|_| NotAHead::Hash)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).expect("two digits are a byte");
        }
        Ok(Hash(bytes))
    }
}

impl TryFrom<String> for Hash {
    type Error = NotAHead;

    fn try_from(text: String) -> Result<Hash, NotAHead> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> String {
        hash.to_string()
    }
}

/// How far a chain goes: its newest record's number, and that one's hash. Written `NUMBER:HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The record's number; below the first one's where there is none.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

impl FromStr for Head {
    type Err = NotAHead;

    fn from_str(text: &str) -> Result<Head, NotAHead> {
        let (number, hash) = text.trim().split_once(':').ok_or(NotAHead::Number)?;
        Ok(Head { number: number.parse().map_err(|_| NotAHead::Number)?, hash: hash.parse()? })
    }
}

/// A record as the history keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub number: u64,
    /// Its bytes, as they were hashed: later builds may write the same record otherwise.
    pub record: Vec<u8>,
    /// Its hash.
    pub hash: Hash,
}

impl Link {
    /// As it is stored, under its number.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.hash.0[..], &self.record].concat()
    }

    /// From what is stored under `number`; none if that is too short to be a record.
    pub fn from_bytes(number: u64, bytes: &[u8]) -> Option<Link> {
        let (hash, record) = bytes.split_first_chunk()?;
        Some(Link { number, record: record.to_vec(), hash: Hash(*hash) })
    }
}

/// Where a chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Another record stands where it should.
    #[error("record {number} is missing: record {found} stands in its place")]
    Missing {
        /// Its number.
        number: u64,
        /// The number of the other one.
        found: u64,
    },
    /// It, its hash, or what is before it is not what was written.
    #[error(
        "record {number} does not fit: it has hash {stored}, and its bytes behind record {} have {computed}",
        number - 1
    )]
    Altered {
        /// Its number.
        number: u64,
        /// The hash that stands with it.
        stored: Hash,
        /// The one that it should have.
        computed: Hash,
    },
    /// Its bytes do not say the number that it is kept under.
    #[error(
        "record {number} says of itself that it is {}",
        says.map_or("no record".to_owned(), |no| format!("record {no}"))
    )]
    Misnumbered {
        /// Where it is kept.
        number: u64,
        /// The number in its bytes, if they are readable.
        says: Option<u64>,
    },
}

/// Goes over a chain from its first record on and checks each.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    head: Head,
}

/// What of a record is read here, so that a record of a later build can be checked as well.
#[derive(Deserialize)]
struct Numbered {
    no: u64,
}

impl Walk {
    /// Before record `first` of a cluster, the first one of its chain.
    pub fn new(cluster_id: &str, first: u64) -> Walk {
        Walk { head: Head { number: first.saturating_sub(1), hash: Hash::genesis(cluster_id) } }
    }

    /// How far it has come.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Checks the next record.
    pub fn step(&mut self, link: &Link) -> Result<(), Broken> {
        let number = self.head.number + 1;
        if link.number != number {
            return Err(Broken::Missing { number, found: link.number });
        }
        let computed = self.head.hash.next(&link.record);
        if computed != link.hash {
            return Err(Broken::Altered { number, stored: link.hash, computed });
        }
        let says = serde_json::from_slice(&link.record).ok().map(|Numbered { no }| no);
        if says != Some(number) {
            return Err(Broken::Misnumbered { number, says });
        }
        self.head = Head { number, hash: computed };
        Ok(())
    }
}
