//! Bytes of the control set's log and answers: JSON, because they are few and people read them in a crisis. An entry
//! names the version of the rules it is to be applied by; one that this build does not know stops the replica.

use serde::{Deserialize, Serialize};

use crate::RULES_VERSION;
use crate::apply::Reply;
use crate::command::Command;
use crate::proof::Proof;
use crate::rejection::Rejection;

/// One entry of the control set's log: a command, what speaks for its sender, and the leader's time when it proposed
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The rules that it is to be applied by.
    pub rules: u16,
    /// Nanoseconds since 1970, by the leader's clock.
    pub time_unix_ns: u64,
    /// What speaks for the command's `who`.
    pub proof: Proof,
    /// What is asked.
    pub command: Command,
}

/// The bytes are no entry or answer of this build.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not the JSON that is meant here.
    #[error("not readable: {reason}")]
    Unreadable {
        /// What the parser says.
        reason: String,
    },
    /// Rules that this build does not have.
    #[error("rules version {found} is not known: this build knows 1 to {RULES_VERSION}")]
    UnknownRules {
        /// The version found.
        found: u64,
    },
}

/// Read first, so that an entry of newer rules is named as such whatever else it holds.
#[derive(Deserialize)]
struct Header {
    rules: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<C> {
    rules: u16,
    time_unix_ns: u64,
    #[serde(default, skip_serializing_if = "Proof::is_declared")]
    proof: Proof,
    command: C,
}

impl Envelope {
    /// An entry under the rules of this build.
    pub fn new(time_unix_ns: u64, proof: Proof, command: Command) -> Envelope {
        Envelope { rules: RULES_VERSION, time_unix_ns, proof, command }
    }

    /// The log bytes.
    pub fn encode(&self) -> Vec<u8> {
        let Envelope { rules, time_unix_ns, proof, command } = self;
        let (rules, time_unix_ns, proof) = (*rules, *time_unix_ns, proof.clone());
        let wire = Wire { rules, time_unix_ns, proof, command };
        serde_json::to_vec(&wire).expect("plain data with string keys has a JSON form")
    }

    /// Reads the log bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let header: Header = serde_json::from_slice(bytes).map_err(unreadable)?;
        if !(1..=u64::from(RULES_VERSION)).contains(&header.rules) {
            return Err(Error::UnknownRules { found: header.rules });
        }
        let wire: Wire<Command> = serde_json::from_slice(bytes).map_err(unreadable)?;
        let Wire { rules, time_unix_ns, proof, command } = wire;
        Ok(Envelope { rules, time_unix_ns, proof, command })
    }
}

/// The JSON form of a command's result, as one node hands it to another or to a tool.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(Reply),
    Rejected(Rejection),
}

/// The bytes of an answer: `{"done": ..}` or `{"rejected": ..}`.
pub fn encode_answer(answer: &Result<Reply, Rejection>) -> Vec<u8> {
    let answer = match answer.clone() {
        Ok(reply) => Answer::Done(reply),
        Err(rejection) => Answer::Rejected(rejection),
    };
    serde_json::to_vec(&answer).expect("plain data with string keys has a JSON form")
}

/// Reads the bytes of an answer.
pub fn decode_answer(bytes: &[u8]) -> Result<Result<Reply, Rejection>, Error> {
    match serde_json::from_slice(bytes).map_err(unreadable)? {
        Answer::Done(reply) => Ok(Ok(reply)),
        Answer::Rejected(rejection) => Ok(Err(rejection)),
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::Unreadable { reason: error.to_string() }
}
