//! The query parameters of a call over HTTP: each is known to its route and given at most once, and what a parameter says is read
//! the same way wherever it is known.

use std::str::FromStr;

use twinset_proto::ledger::v1::Consistency;

use crate::error::Error;
use crate::routes::decode;
use crate::text;

/// The parameters of one call.
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string; what is not `known`, or is given twice, is refused.
    pub fn parse(text: &str, known: &[&str]) -> Result<Query, Error> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (Some(key), Some(value)) = (decode(key), decode(value)) else {
                return Err(Error::malformed(format!("{pair:?} is not percent-encoded UTF-8")));
            };
            if !known.contains(&key.as_str()) {
                let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
                let detail = format!("unknown query parameter {key:?}; known here: {known}");
                return Err(Error::malformed(detail));
            }
            if pairs.iter().any(|(other, _)| *other == key) {
                return Err(Error::malformed(format!("the query parameter {key:?} is given twice")));
            }
            pairs.push((key, value));
        }
        Ok(Query(pairs))
    }

    /// What is given under a name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The same where nothing can only be meant by leaving it out.
    pub fn given(&self, name: &str) -> Result<Option<&str>, Error> {
        match self.value(name) {
            Some("") => Err(Error::malformed(format!("{name} is empty; leave it out"))),
            value => Ok(value),
        }
    }

    /// A number.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let parse = |text: &str| {
            let detail = || format!("{name} {text:?} is no number, or too large a one");
            text.parse().map_err(|_| Error::malformed(detail()))
        };
        self.given(name)?.map(parse).transpose()
    }

    /// Yes or no, and no if it is not said.
    pub fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.value(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Error::malformed(format!("{name} is \"true\" or \"false\", not {other:?}"))),
        }
    }

    /// A time, in nanoseconds since the Unix epoch.
    pub fn time(&self, name: &str) -> Result<Option<u64>, Error> {
        let parse = |text: &str| {
            let example = "such as \"2026-01-31T12:00:00Z\"";
            let detail = || format!("{name} {text:?} is no RFC 3339 time since 1970, {example}");
            text::parse_time(text).ok_or_else(|| Error::malformed(detail()))
        };
        self.given(name)?.map(parse).transpose()
    }

    /// How fresh a read is to be.
    pub fn consistency(&self) -> Result<Consistency, Error> {
        match self.value("consistency") {
            None | Some("linearizable") => Ok(Consistency::Linearizable),
            Some("stale") => Ok(Consistency::Stale),
            Some(other) => {
                let detail = format!("consistency is \"linearizable\" or \"stale\", not {other:?}");
                Err(Error::malformed(detail))
            }
        }
    }

    /// What a page begins behind; empty: the first page.
    pub fn after(&self) -> String {
        self.value("after").unwrap_or_default().to_owned()
    }

    /// The size of a page, if it is said.
    pub fn page_size(&self) -> Result<Option<u32>, Error> {
        self.number("page_size")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        let query = Query::parse("a=1&b=x%20y", &["a", "b", "c"]).expect("known");
        assert_eq!((query.value("a"), query.value("b"), query.value("c")), (Some("1"), Some("x y"), None));
        for bad in ["c=1", "a=1&a=1", "a=1&b=2&%61=3", "a&a"] {
            assert!(Query::parse(bad, &["a", "b"]).is_err(), "{bad}");
        }
        assert!(Query::parse("a=1", &[]).is_err());
        assert!(Query::parse("", &[]).is_ok());
    }

    #[test]
    fn a_flag_is_said_in_full_or_not_at_all() {
        let flag = |text| Query::parse(text, &["f"]).and_then(|query| query.flag("f"));
        assert_eq!(["", "f=true", "f=false"].map(flag), [Ok(false), Ok(true), Ok(false)]);
        for bad in ["f", "f=", "f=1", "f=True", "f=yes"] {
            assert!(flag(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_number_or_time_or_consistency_is_refused() {
        let known = ["page_size", "from", "consistency"];
        let query = Query::parse("page_size=7&from=1970-01-01T00:00:01Z&consistency=stale", &known);
        let query = query.expect("known");
        assert_eq!(query.page_size(), Ok(Some(7)));
        assert_eq!(query.time("from"), Ok(Some(1_000_000_000)));
        assert_eq!(query.consistency(), Ok(Consistency::Stale));
        let bad = Query::parse("page_size=-1&from=now&consistency=fresh", &known).expect("known");
        assert!(bad.page_size().is_err() && bad.time("from").is_err() && bad.consistency().is_err());
        let empty = Query::parse("page_size=&from", &known).expect("known");
        assert!(empty.page_size().is_err() && empty.time("from").is_err());
        let none = Query::parse("", &known).expect("known");
        assert_eq!((none.page_size(), none.time("from")), (Ok(None), Ok(None)));
        assert_eq!((none.consistency(), none.after()), (Ok(Consistency::Linearizable), String::new()));
    }
}
