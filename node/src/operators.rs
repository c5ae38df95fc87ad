//! Who stands behind an administrative call. An operator shows a token, of which this node knows the hash and the
//! name; a node that asks, for itself or on behalf of an operator, says so on the port that is for nodes alone. What
//! comes of it goes on record with the act: the name, and what speaks for it. Above: `api/admin.rs`, before anything
//! is proposed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Request, Status};
use tracing::info;
use twinset_control::Proof;
use twinset_control::chain::Hash;
use twinset_proto::OPERATOR_TOKEN;

use crate::listen;

/// What a node says of whom it asks for.
const PROOF: &str = "twinset-proof";
/// Bytes of an operator's name at most.
const NAME_BYTES_MAX: usize = 64;

/// `[operators]`: whose acts are proven, and whether others may act as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperatorsConfig {
    /// Whether an act without a token is refused.
    pub required: bool,
    /// The file with their names and the hashes of their tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_file: Option<PathBuf>,
}

impl OperatorsConfig {
    /// The key that makes no sense, and why; touches nothing.
    pub fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let named = self.tokens_file.as_ref().is_some_and(|file| !file.as_os_str().is_empty());
        let missing = ("operators.tokens_file", "must name a file when operators.required is true");
        let empty = ("operators.tokens_file", "must name a file, or be left out");
        match (&self.tokens_file, self.required) {
            (None, true) => Some(missing),
            (Some(_), _) if !named => Some(empty),
            _ => None,
        }
    }
}

/// Why the operators are not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("operators.tokens_file: cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no list of names and texts.
    #[error("operators.tokens_file: {}: {source}", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// Where and what.
        source: Box<toml::de::Error>,
    },
    /// What stands behind a name is no hash; maybe the token itself, which is not repeated here.
    #[error(
        "operators.tokens_file: {name:?} has no SHA-256 of 64 hexadecimal digits: \
         tr -d '\\n' < TOKEN_FILE | sha256sum"
    )]
    NoHash {
        /// Whose.
        name: String,
    },
    /// A name that cannot go on record.
    #[error("operators.tokens_file: {name:?} is no name: 1 to {NAME_BYTES_MAX} bytes, no control characters")]
    Name {
        /// The name.
        name: String,
    },
    /// Nobody could tell them apart.
    #[error("operators.tokens_file: {one:?} and {other:?} have the same token")]
    Same {
        /// One of them.
        one: String,
        /// The other one.
        other: String,
    },
}

/// Why an act is refused before anything is proposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No token was shown.
    #[error(
        "this cluster takes administrative acts from operators with a token alone (operators.required): name yours \
         with --operator-token-file FILE or TWINSET_OPERATOR_TOKEN_FILE"
    )]
    Required,
    /// The token is nobody's here.
    #[error(
        "the operator's token is not among those of this node (operators.tokens_file); the file is read when the node \
         starts, and is to be the same on every node"
    )]
    Unknown,
    /// Nobody but nodes may say so.
    #[error("only the nodes themselves carry on, and tell the end of, what was begun before")]
    OfNodes,
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        let text = refused.to_string();
        match refused {
            Refused::Required => Status::unauthenticated(text),
            Refused::Unknown | Refused::OfNodes => Status::permission_denied(text),
        }
    }
}

/// The operators that this node knows. A token is long and random, so that its hash need not be slow, and looking it
/// up tells nothing of it.
#[derive(Debug, Default)]
pub struct Operators {
    required: bool,
    names: BTreeMap<[u8; 32], String>,
}

impl Operators {
    /// Reads the file of a section that was found free of mistakes.
    pub fn load(config: &OperatorsConfig) -> Result<Operators, Error> {
        let Some(file) = &config.tokens_file else { return Ok(Operators::default()) };
        let text =
            std::fs::read_to_string(file).map_err(|source| Error::Read { file: file.clone(), source })?;
        let listed: BTreeMap<String, String> = toml::from_str(&text)
            .map_err(|source| Error::Parse { file: file.clone(), source: Box::new(source) })?;
        let mut names = BTreeMap::new();
        for (name, hash) in listed {
            let fits = (1..=NAME_BYTES_MAX).contains(&name.len()) && name.trim() == name;
            if !fits || name.chars().any(char::is_control) {
                return Err(Error::Name { name });
            }
            let Ok(hash) = hash.parse::<Hash>() else { return Err(Error::NoHash { name }) };
            if let Some(one) = names.insert(*hash.as_bytes(), name.clone()) {
                return Err(Error::Same { one, other: name });
            }
        }
        info!(operators = names.len(), required = config.required, "operators are known by their tokens");
        Ok(Operators { required: config.required, names })
    }

    /// Who an act goes on record under, and what speaks for it: whom the token names, or else `declared`, if that is
    /// enough here. What a node asks for was looked at where it came in.
    pub fn sign<T>(&self, call: &Request<T>, declared: &str) -> Result<(String, Proof), Refused> {
        if let Some(proof) = from_node(call) {
            return Ok((declared.to_owned(), proof));
        }
        match call.metadata().get(OPERATOR_TOKEN) {
            Some(token) => {
                let hash: [u8; 32] = Sha256::digest(token.as_bytes().trim_ascii()).into();
                let name = self.names.get(&hash).ok_or(Refused::Unknown)?;
                Ok((name.clone(), Proof::Token))
            }
            None if self.required => Err(Refused::Required),
            None => Ok((declared.to_owned(), Proof::Declared)),
        }
    }
}

/// Marks a call that came in where only nodes call.
#[derive(Clone)]
struct OnPeerPort;

/// Before each call of the service that nodes ask, on their own port.
pub(crate) fn heard_from_node(call: Request<()>) -> Result<Request<()>, Status> {
    let mut call = listen::heard(call)?;
    call.extensions_mut().insert(OnPeerPort);
    Ok(call)
}

/// What a node says of whom it asks for; None if this is no node.
pub(crate) fn from_node<T>(call: &Request<T>) -> Option<Proof> {
    call.extensions().get::<OnPeerPort>().map(|_| told(call.metadata()))
}

/// What cannot be read proves nothing.
fn told(metadata: &MetadataMap) -> Proof {
    let proof = metadata.get(PROOF).and_then(|proof| serde_json::from_slice(proof.as_bytes()).ok());
    proof.unwrap_or_default()
}

/// A call of this node to another one, with what it knows of whom it asks for.
pub(crate) fn on_behalf<T>(proof: &Proof, message: T) -> Request<T> {
    let mut call = Request::new(message);
    let json = serde_json::to_string(proof).expect("plain data has a JSON form");
    // The names of nodes are ASCII, by the check of the configuration; what is not said proves nothing.
    if let Ok(value) = AsciiMetadataValue::try_from(json) {
        call.metadata_mut().insert(PROOF, value);
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn hash(token: &str) -> String {
        Hash::from_bytes(&Sha256::digest(token)).unwrap().to_string()
    }

    fn loaded(content: &str, required: bool) -> Result<Operators, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("operators.toml");
        std::fs::write(&file, content).unwrap();
        Operators::load(&OperatorsConfig { required, tokens_file: Some(file) })
    }

    fn call(token: Option<&str>) -> Request<()> {
        let mut call = Request::new(());
        if let Some(token) = token {
            call.metadata_mut().insert(OPERATOR_TOKEN, token.parse().unwrap());
        }
        call
    }

    #[test]
    fn a_token_names_its_operator_whoever_it_says_it_is() {
        for required in [false, true] {
            let operators = loaded(&format!("alice = {:?}\n", hash(TOKEN)), required).unwrap();
            let signed = operators.sign(&call(Some(TOKEN)), "bob");
            assert_eq!(signed, Ok(("alice".to_owned(), Proof::Token)));
            assert_eq!(operators.sign(&call(Some("another")), "alice"), Err(Refused::Unknown));
            assert_eq!(operators.sign(&call(Some(&hash(TOKEN))), "alice"), Err(Refused::Unknown));
        }
    }

    #[test]
    fn without_a_token_a_name_is_only_declared_or_refused() {
        let nobody = Operators::load(&OperatorsConfig::default()).unwrap();
        assert_eq!(nobody.sign(&call(None), "bob"), Ok(("bob".to_owned(), Proof::Declared)));
        assert_eq!(nobody.sign(&call(Some(TOKEN)), "bob"), Err(Refused::Unknown));
        let required = loaded(&format!("alice = {:?}\n", hash(TOKEN)), true).unwrap();
        assert_eq!(required.sign(&call(None), "alice"), Err(Refused::Required));
    }

    #[test]
    fn a_nodes_word_counts_on_its_own_port_alone() {
        let required = loaded(&format!("alice = {:?}\n", hash(TOKEN)), true).unwrap();
        for proof in [Proof::Token, Proof::Node("a1".to_owned()), Proof::Declared] {
            let mut asked = on_behalf(&proof, ());
            assert_eq!(required.sign(&asked, "alice"), Err(Refused::Required), "on the other port");
            asked.extensions_mut().insert(OnPeerPort);
            assert_eq!(required.sign(&asked, "alice"), Ok(("alice".to_owned(), proof)));
        }
        let mut silent = Request::new(());
        silent.extensions_mut().insert(OnPeerPort);
        assert_eq!(required.sign(&silent, "x"), Ok(("x".to_owned(), Proof::Declared)));
    }

    #[test]
    fn a_file_that_is_no_list_of_names_and_hashes_is_refused() {
        let (one, other) = (hash(TOKEN), hash("other"));
        assert!(loaded("", true).is_ok(), "nobody, but it is a list");
        assert!(loaded(&format!("a = {one:?}\n\"b c\" = {other:?}\n"), false).is_ok());
        for content in
            ["a = \"0123\"".to_owned(), format!("a = {TOKEN:?}"), format!("a = \"{}g\"", &one[1..])]
        {
            let error = loaded(&content, false).unwrap_err();
            assert!(matches!(error, Error::NoHash { .. }), "{content}: {error}");
            assert!(!error.to_string().contains(TOKEN), "{error}");
        }
        let same = format!("a = {one:?}\nb = {one:?}\n");
        assert!(matches!(loaded(&same, false), Err(Error::Same { .. })));
        for name in ["", " a", "a\\n"] {
            let content = format!("\"{name}\" = {one:?}");
            assert!(matches!(loaded(&content, false), Err(Error::Name { .. })), "{name}");
        }
        assert!(matches!(loaded("a = 1", false), Err(Error::Parse { .. })));
        let nowhere = OperatorsConfig { required: false, tokens_file: Some("no/such/file".into()) };
        assert!(nowhere.mistake().is_none() && matches!(Operators::load(&nowhere), Err(Error::Read { .. })));
        assert!(OperatorsConfig::default().mistake().is_none());
        assert!(OperatorsConfig { required: true, tokens_file: None }.mistake().is_some());
        assert!(OperatorsConfig { required: false, tokens_file: Some("".into()) }.mistake().is_some());
    }
}
