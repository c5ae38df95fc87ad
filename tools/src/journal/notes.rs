//! What the ledger has no field for, as metadata of its accounts and transactions: written by [`super::plan`], read by
//! [`super::export`]. Readable keys, so that the ledger's own users see payee and narration too.
//!
//! | key | of | value |
//! |---|---|---|
//! | `flag` `payee` `narration` `tags` `links` | transaction | as in the journal; tags and links with blanks between |
//! | `p.N` | transaction | posting N: its flag (or `-`), cost and price as written, then a line for each metadata pair |
//! | `z.N` | transaction | posting N moves nothing: account, number, commodity |
//! | `legs` | transaction | the first so many legs are postings, the others balance each commodity by itself |
//! | `decimals` | transaction | decimal places as written, by leg |
//! | `account` `commodity` `opened` `closed` `commodities` `booking` `written` | account | as in the journal |
//! | `trading` | account | an account that the import added |
//! | `m.KEY` | both | metadata of the journal, as written |
//!
//! A value longer than the ledger's limit goes on under `KEY.2`, `KEY.3` and so on.

use std::collections::BTreeMap;

use twinset_ledger::command::Metadata;
use twinset_ledger::malformed::METADATA_VALUE_BYTES_MAX;

/// Metadata being written.
#[derive(Clone, Debug, Default)]
pub struct Notes(BTreeMap<String, String>);

impl Notes {
    /// Adds a value, in as many parts as it needs.
    pub fn put(&mut self, key: &str, value: &str) {
        let (mut rest, mut part) = (value, 1);
        loop {
            let mut end = rest.len().min(METADATA_VALUE_BYTES_MAX);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let name = if part == 1 { key.to_owned() } else { format!("{key}.{part}") };
            self.0.insert(name, rest[..end].to_owned());
            rest = &rest[end..];
            part += 1;
            if rest.is_empty() {
                return;
            }
        }
    }

    /// Adds a value unless it is empty.
    pub fn put_some(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.put(key, value);
        }
    }

    /// Adds the journal's own metadata.
    pub fn put_pairs(&mut self, pairs: &[(String, String)]) {
        for (key, value) in pairs {
            self.put(&format!("m.{key}"), value);
        }
    }

    /// The metadata. Whether the ledger takes so much of it is found when the plan is rehearsed.
    pub fn finish(self) -> Metadata {
        self.0
    }
}

/// The whole value of a key, its parts joined.
pub fn get(metadata: &BTreeMap<String, String>, key: &str) -> Option<String> {
    let mut value = metadata.get(key)?.clone();
    for part in 2.. {
        match metadata.get(&format!("{key}.{part}")) {
            Some(more) => value.push_str(more),
            None => break,
        }
    }
    Some(value)
}

/// The journal's own metadata.
pub fn pairs(metadata: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let own = metadata.keys().filter_map(|key| key.strip_prefix("m.")).filter(|key| !key.contains('.'));
    own.map(|key| (key.to_owned(), get(metadata, &format!("m.{key}")).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_parted_and_joined() {
        let long = "ä€x".repeat(400);
        let mut notes = Notes::default();
        notes.put("narration", &long);
        notes.put_some("payee", "");
        notes.put_pairs(&[("key".into(), "\"v\"".into()), ("empty".into(), String::new())]);
        let metadata = notes.finish();
        assert!(metadata.values().all(|value| value.len() <= METADATA_VALUE_BYTES_MAX));
        assert_eq!(get(&metadata, "narration").unwrap(), long);
        assert_eq!(get(&metadata, "payee"), None);
        assert_eq!(pairs(&metadata), [("empty".into(), String::new()), ("key".into(), "\"v\"".into())]);
    }
}
