//! One event as the router tells it: the text itself, which is passed on as it is, and the little that the relay must know of
//! it. Kinds and fields that are not known here go through. Pure.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Every kind of event that there is; the page docs/reference/events.md describes them.
pub const KINDS: [&str; 21] = [
    "booked",
    "hold_placed",
    "hold_released",
    "hold_extended",
    "hold_expired",
    "hold_checked_back",
    "restriction_released",
    "restriction_expired",
    "account_opened",
    "limit_changed",
    "account_frozen",
    "account_unfrozen",
    "account_closed",
    "posting_mode_changed",
    "sweep_set",
    "sweep_removed",
    "sweep_refused",
    "currency_defined",
    "subject_defined",
    "group_defined",
    "durability_marked",
];

/// What names an event, for ever. In the order of a set's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its set.
    pub set: u32,
    /// Of the set.
    pub incarnation: u32,
    /// Of the log entry.
    pub index: u64,
    /// Of the command in it.
    pub offset: u32,
}

/// A text that is no key.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no event: they look like 1-1-1842-17")]
pub struct BadKey {
    text: String,
}

impl FromStr for Key {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Key, BadKey> {
        let key = || {
            let mut parts = text.split('-');
            let set = parts.next()?.parse().ok()?;
            let incarnation = parts.next()?.parse().ok()?;
            let (index, offset) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let key = Key { set, incarnation, index, offset };
            // As it is spelled here, and not otherwise: it is a file's name, too.
            (parts.next().is_none() && key.to_string() == text).then_some(key)
        };
        key().ok_or_else(|| BadKey { text: text.to_owned() })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { set, incarnation, index, offset } = self;
        write!(f, "{set}-{incarnation}-{index}-{offset}")
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub key: Key,
    /// The event of its set before it; none: it is the first.
    pub previous: Option<Key>,
    /// What resumes the set's stream behind it.
    pub resume: String,
    /// What happened.
    pub kind: String,
    /// The accounts it names.
    pub accounts: Vec<String>,
    /// All of it, in JSON on one line, as the router told it.
    pub text: Bytes,
}

/// A text that is no event.
#[derive(Debug, thiserror::Error)]
pub enum BadEvent {
    /// It is not the JSON that is expected.
    #[error("an event cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// One of its keys is none.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// A kind that is no word.
    #[error("{key} is of kind {kind:?}, which is no word")]
    Kind {
        /// The event.
        key: Key,
        /// What stands there.
        kind: String,
    },
}

#[derive(Deserialize)]
struct Told {
    event: String,
    previous: String,
    resume: String,
    kind: String,
    transaction: Option<Legs>,
    hold: Option<Account>,
    restriction: Option<Account>,
    change: Option<Account>,
    sweep_refused: Option<Account>,
}

#[derive(Deserialize)]
struct Legs {
    legs: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    account: String,
}

impl Event {
    /// Reads what a router tells.
    pub fn read(text: Bytes) -> Result<Event, BadEvent> {
        let told: Told = serde_json::from_slice(&text)?;
        let key: Key = told.event.parse()?;
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if told.kind.is_empty() || !told.kind.bytes().all(word) {
            return Err(BadEvent::Kind { key, kind: told.kind });
        }
        let legs = told.transaction.map(|transaction| transaction.legs).unwrap_or_default();
        let named = legs
            .into_iter()
            .chain(told.hold)
            .chain(told.restriction)
            .chain(told.change)
            .chain(told.sweep_refused);
        let accounts = named.map(|named| named.account);
        Ok(Event {
            key,
            previous: Some(told.previous).filter(|key| !key.is_empty()).map(|key| key.parse()).transpose()?,
            resume: told.resume,
            kind: told.kind,
            accounts: accounts.filter(|account| !account.is_empty()).collect(),
            text,
        })
    }
}

/// Which events a sink wants. What a list does not say is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Of these sets; empty: of all.
    pub sets: Vec<u32>,
    /// Of these kinds; empty: of all.
    pub kinds: Vec<String>,
    /// That name an account which begins with one of these; empty: all.
    pub accounts: Vec<String>,
}

impl Filter {
    /// Whether the sink wants anything of that set.
    pub fn wants_set(&self, set: u32) -> bool {
        self.sets.is_empty() || self.sets.contains(&set)
    }

    /// Whether the sink wants that event.
    pub fn wants(&self, event: &Event) -> bool {
        let begins = |account: &String| self.accounts.iter().any(|start| account.starts_with(start.as_str()));
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.accounts.is_empty() || event.accounts.iter().any(begins))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/reference/events.md");

    fn event(text: &str) -> Event {
        Event::read(Bytes::copy_from_slice(text.as_bytes())).expect(text)
    }

    const BOOKED: &str = r#"{"event":"1-1-5-2","previous":"1-1-5-1","resume":"1-1-5-2","kind":"booked","later":1e99,"transaction":{"legs":[{"account":"{m}:a"},{"account":"{m}:b"}]}}"#;

    #[test]
    fn an_event_keeps_its_text_and_tells_its_place_kind_and_accounts() {
        let booked = event(BOOKED);
        assert_eq!((booked.key.to_string().as_str(), &booked.text[..]), ("1-1-5-2", BOOKED.as_bytes()));
        assert_eq!(booked.previous, Some(Key { set: 1, incarnation: 1, index: 5, offset: 1 }));
        assert_eq!(booked.accounts, ["{m}:a", "{m}:b"]);
        let defined = event(
            r#"{"event":"2-1-1-0","previous":"","resume":"2-1-1-0","kind":"new_kind","change":{"code":"EUR"}}"#,
        );
        assert_eq!((defined.previous, defined.accounts.len()), (None, 0));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for text in [
            "{}",
            r#"{"event":"1-1-5","previous":"","resume":"","kind":"booked"}"#,
            r#"{"event":"1-1-5-0","previous":"x","resume":"","kind":"booked"}"#,
            r#"{"event":"1-1-5-0","previous":"","resume":"","kind":"a.b"}"#,
            r#"{"event":"1-1-5-0","previous":"","resume":"","kind":""}"#,
        ] {
            assert!(Event::read(Bytes::from_static(text.as_bytes())).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_has_one_spelling_and_the_order_of_the_log() {
        for bad in ["", "1-1-5", "1-1-5-0-0", "01-1-5-0", "+1-1-5-0", "1-1-5-x", "../x"] {
            assert!(bad.parse::<Key>().is_err(), "{bad}");
        }
        let keys = ["1-1-5-9", "1-1-5-10", "1-1-10-0", "1-2-3-0"].map(|key| key.parse::<Key>().expect(key));
        assert!(keys.is_sorted());
    }

    #[test]
    fn a_filter_lets_through_what_it_names() {
        let booked = event(BOOKED);
        let filter = |kinds: &[&str], accounts: &[&str]| Filter {
            kinds: kinds.iter().map(ToString::to_string).collect(),
            accounts: accounts.iter().map(ToString::to_string).collect(),
            ..Filter::default()
        };
        for (filter, wants) in [
            (filter(&[], &[]), true),
            (filter(&["booked", "hold_placed"], &[]), true),
            (filter(&["hold_placed"], &[]), false),
            (filter(&[], &["{m}:b"]), true),
            (filter(&["booked"], &["{n}", "{m}:"]), true),
            (filter(&[], &["m"]), false),
        ] {
            assert_eq!(filter.wants(&booked), wants, "{filter:?}");
        }
        assert!(Filter { sets: vec![2], ..Filter::default() }.wants_set(2));
        assert!(!Filter { sets: vec![2], ..Filter::default() }.wants_set(1));
    }

    #[test]
    fn the_kinds_are_those_of_the_page() {
        let table = PAGE.split("| kind | there are |").nth(1).expect("the table is there");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let kinds: Vec<&str> = rows
            .flat_map(|row| row.split('|').nth(1).expect("a cell").split('`').skip(1).step_by(2))
            .collect();
        assert_eq!(kinds, KINDS);
    }
}
