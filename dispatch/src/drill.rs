//! What drills need of every process that they may harm: the section of its configuration, the token that whoever
//! begins a fault shows, and how a process that may be harmed says who it is when it calls another one. The faults
//! themselves are the process's own.

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tonic::Status;
use twinset_proto::cluster::v1::BeginFaultRequest;

/// Bytes of a token at least.
pub const TOKEN_BYTES_MIN: usize = 32;
/// The longest that a fault acts.
const DEADLINE_MS_MAX: u32 = 600_000;
/// Before a process dies or stands still: the reply leaves first. Who does not get it sees the connection break.
pub const REPLY_LEAVES: Duration = Duration::from_millis(50);

/// `[drill_faults]`: whether whoever has the token may harm this process. Off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrillFaultsConfig {
    /// Whether there are any.
    pub enabled: bool,
    /// The file with the token; white space at its end does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

impl DrillFaultsConfig {
    /// The key that makes no sense, and why; touches nothing.
    pub fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let named = self.token_file.as_ref().is_some_and(|file| !file.as_os_str().is_empty());
        let missing = ("drill_faults.token_file", "must name a file when drill_faults.enabled is true");
        (self.enabled && !named).then_some(missing)
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("drill_faults.token_file: cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its content can be guessed.
    #[error(
        "drill_faults.token_file: the token in {} has less than {TOKEN_BYTES_MIN} bytes; make one with \
         `openssl rand -hex 32`",
        file.display()
    )]
    Short {
        /// The file.
        file: PathBuf,
    },
}

/// Why whoever asks for a fault does not get it, whatever it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody may ask.
    #[error(
        "drill faults are not enabled here: set drill_faults.enabled and drill_faults.token_file in the configuration \
         of this process and start it anew"
    )]
    NotEnabled,
    /// Whoever asks may not.
    #[error("the token is not the one in the file that drill_faults.token_file of this process names")]
    WrongToken,
    /// It would not end, or much too late.
    #[error(
        "deadline_ms is {deadline_ms}: a fault has a deadline, 1 to {DEADLINE_MS_MAX} milliseconds from now"
    )]
    Deadline {
        /// As asked.
        deadline_ms: u32,
    },
    /// The log must say who did it and why.
    #[error("{field} is empty: the log must tell people who began a fault, and why")]
    Unsigned {
        /// What is missing.
        field: &'static str,
    },
    /// There is no such fault, or not here.
    #[error("{0}")]
    Senseless(String),
    /// One of each kind at a time.
    #[error("{kind} acts here already: end fault {id} first, or wait for its deadline")]
    Twice {
        /// Of both.
        kind: &'static str,
        /// Of the one that acts.
        id: u64,
    },
    /// It is over.
    #[error("no fault {id} acts here: it has ended, or the process was started anew since")]
    Over {
        /// As asked.
        id: u64,
    },
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        let text = refused.to_string();
        match refused {
            Refused::NotEnabled => Status::failed_precondition(text),
            Refused::WrongToken => Status::permission_denied(text),
            Refused::Deadline { .. } | Refused::Unsigned { .. } | Refused::Senseless(_) => {
                Status::invalid_argument(text)
            }
            Refused::Twice { .. } => Status::already_exists(text),
            Refused::Over { .. } => Status::not_found(text),
        }
    }
}

/// What has to be shown. Never in a log.
pub struct Token(Vec<u8>);

impl Token {
    /// Reads the token of a section that was found free of mistakes; None if it is off.
    pub fn load(config: &DrillFaultsConfig) -> Result<Option<Token>, Error> {
        let Some(file) = config.token_file.as_ref().filter(|_| config.enabled) else { return Ok(None) };
        let token = std::fs::read(file).map_err(|source| Error::Read { file: file.clone(), source })?;
        let token = token.trim_ascii_end().to_vec();
        if token.len() < TOKEN_BYTES_MIN {
            return Err(Error::Short { file: file.clone() });
        }
        Ok(Some(Token(token)))
    }

    /// Whether a fault may begin, whatever it is; for how long.
    pub fn admit(&self, asked: &BeginFaultRequest) -> Result<Duration, Refused> {
        self.check(&asked.token)?;
        if !(1..=DEADLINE_MS_MAX).contains(&asked.deadline_ms) {
            return Err(Refused::Deadline { deadline_ms: asked.deadline_ms });
        }
        match [("who", &asked.who), ("why", &asked.why)].into_iter().find(|(_, text)| text.is_empty()) {
            Some((field, _)) => Err(Refused::Unsigned { field }),
            None => Ok(Duration::from_millis(asked.deadline_ms.into())),
        }
    }

    /// Refuses whoever has not shown this.
    pub fn check(&self, shown: &[u8]) -> Result<(), Refused> {
        if self.is(shown) { Ok(()) } else { Err(Refused::WrongToken) }
    }

    /// Whether this was shown. How long that takes tells only whether the length is right.
    fn is(&self, shown: &[u8]) -> bool {
        let shown = shown.trim_ascii_end();
        let differ = |differ: u8, (own, other): (&u8, &u8)| black_box(differ | (own ^ other));
        shown.len() == self.0.len() && self.0.iter().zip(shown).fold(0, differ) == 0
    }
}

/// Who calls: a process that may be harmed, as the user agent of its calls has it. Others do not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Of a node, its name in the topology; of a router, the one in its configuration.
    pub name: String,
    /// Its site.
    pub site: String,
    /// Whether it is a router.
    pub router: bool,
}

const NODE: &str = "twinset-node";
const ROUTER: &str = "twinset-router";

impl Caller {
    /// As the user agent of a call.
    pub fn user_agent(&self) -> String {
        let process = if self.router { ROUTER } else { NODE };
        format!("{process}/{}/{}", self.name, self.site)
    }

    /// From the user agent of a call, which ends with what the library below adds.
    pub fn parse(user_agent: &str) -> Option<Caller> {
        let mut parts = user_agent.split(' ').next()?.splitn(3, '/');
        let router = match parts.next()? {
            NODE => false,
            ROUTER => true,
            _ => return None,
        };
        Some(Caller { name: parts.next()?.to_owned(), site: parts.next()?.to_owned(), router })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(content: &str) -> Result<Option<Token>, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, content).unwrap();
        Token::load(&DrillFaultsConfig { enabled: true, token_file: Some(file) })
    }

    #[test]
    fn a_token_is_shown_whole_or_not_at_all() {
        let text = "0123456789abcdef0123456789abcdef";
        let token = loaded(&format!("{text}\n")).unwrap().unwrap();
        assert!(token.is(text.as_bytes()) && token.is(format!("{text}\n").as_bytes()));
        for wrong in ["", "0", &text[1..], &text.replace('7', "8"), &format!("{text}0")] {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
    }

    #[test]
    fn a_fault_without_the_token_a_deadline_or_a_name_is_refused() {
        let text = "0123456789abcdef0123456789abcdef";
        let token = loaded(text).unwrap().unwrap();
        let good = BeginFaultRequest {
            token: text.into(),
            fault: None,
            deadline_ms: 600_000,
            who: "me".into(),
            why: "drill".into(),
        };
        assert_eq!(token.admit(&good), Ok(Duration::from_secs(600)));
        let refused = |asked| token.admit(&asked).unwrap_err();
        let asked = || good.clone();
        assert_eq!(refused(BeginFaultRequest { token: "x".into(), ..asked() }), Refused::WrongToken);
        for deadline_ms in [0, 600_001] {
            let late = BeginFaultRequest { deadline_ms, ..asked() };
            assert_eq!(refused(late), Refused::Deadline { deadline_ms });
        }
        let nobody = BeginFaultRequest { who: String::new(), ..asked() };
        assert_eq!(refused(nobody), Refused::Unsigned { field: "who" });
        let no_reason = BeginFaultRequest { why: String::new(), ..asked() };
        assert_eq!(refused(no_reason), Refused::Unsigned { field: "why" });
    }

    #[test]
    fn a_token_that_can_be_guessed_or_is_not_there_is_refused() {
        assert!(matches!(loaded("0123456789abcdef0123456789abcde \n"), Err(Error::Short { .. })));
        let nowhere = DrillFaultsConfig { enabled: true, token_file: Some("no/such/file".into()) };
        assert!(matches!(Token::load(&nowhere), Err(Error::Read { .. })));
    }

    #[test]
    fn it_is_off_unless_asked_for_and_asking_takes_a_file() {
        let off = DrillFaultsConfig::default();
        assert!(off.mistake().is_none() && Token::load(&off).unwrap().is_none());
        let named = DrillFaultsConfig { token_file: Some("no/such/file".into()), ..off };
        assert!(named.mistake().is_none() && Token::load(&named).unwrap().is_none(), "it is not read");
        assert!(DrillFaultsConfig { enabled: true, token_file: None }.mistake().is_some());
        assert!(DrillFaultsConfig { enabled: true, token_file: Some("".into()) }.mistake().is_some());
    }

    #[test]
    fn a_caller_is_known_by_its_user_agent() {
        for router in [false, true] {
            let caller = Caller { name: "a1".into(), site: "A".into(), router };
            assert_eq!(Caller::parse(&format!("{} tonic/0.14.9", caller.user_agent())), Some(caller));
        }
        for other in ["", "tonic/0.14.9", "twinset-node/a1", "curl/8.0/x"] {
            assert_eq!(Caller::parse(other), None, "{other}");
        }
    }
}
