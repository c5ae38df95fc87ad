//! Who may be called about overdue holds: the allow-list. Nothing else is ever called.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::Uri;
use serde::{Deserialize, Serialize};
use twinset_ledger::check_back::TRIES_MAX;
use twinset_ledger::id::is_valid;

/// Bytes of a secret at least: half of what HMAC-SHA256 makes of it.
const SECRET_BYTES_MIN: usize = 16;

/// One entry of `[[initiators]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitiatorConfig {
    /// What holds name it by.
    pub name: String,
    /// Where it is called: `http://HOST[:PORT]/PATH`. TLS is a proxy's job.
    pub url: String,
    /// The file with the secret that calls are signed with; a line end behind it does not count.
    pub secret_file: PathBuf,
    /// For a whole call, from the connection to the last byte of the answer.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Calls about one hold, counted anew when its expiry is moved.
    #[serde(default = "tries")]
    pub tries: u32,
    /// From the first call to the second; then twice as long each time.
    #[serde(default = "back_off_first_ms")]
    pub back_off_first_ms: u64,
    /// The longest time between two calls.
    #[serde(default = "back_off_max_ms")]
    pub back_off_max_ms: u64,
    /// What becomes of the hold after the last call.
    #[serde(default)]
    pub last_resort: LastResort,
    /// Calls at the same time, for each set that this node leads.
    #[serde(default = "concurrency")]
    pub concurrency: usize,
}

/// What becomes of a hold that nobody has said anything final about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastResort {
    /// It gives back what is left.
    Release,
    /// All that is left is captured.
    Confirm,
    /// It stays overdue until a person ends it.
    #[default]
    Keep,
}

fn timeout_ms() -> u64 {
    5_000
}

fn tries() -> u32 {
    12
}

fn back_off_first_ms() -> u64 {
    5_000
}

fn back_off_max_ms() -> u64 {
    600_000
}

fn concurrency() -> usize {
    8
}

/// A key and what is wrong with it.
pub type Mistake = (&'static str, String);

/// The first thing that is wrong with the list, if any is; touches nothing.
pub fn mistake(all: &[InitiatorConfig]) -> Option<Mistake> {
    let mut names = BTreeSet::new();
    for one in all {
        if !names.insert(&one.name) {
            return Some(("initiators.name", format!("{} is there twice", one.name)));
        }
    }
    all.iter().find_map(InitiatorConfig::mistake)
}

impl InitiatorConfig {
    fn mistake(&self) -> Option<Mistake> {
        let name = &self.name;
        let wrong = |holds: bool, key, reason: &str| (!holds).then(|| (key, format!("{name}: {reason}")));
        wrong(is_valid(name), "initiators.name", "must be 1-64 of A-Za-z0-9._:-{}")
            .or_else(|| self.target().err().map(|why| ("initiators.url", format!("{name}: {why}"))))
            .or_else(|| {
                let named = !self.secret_file.as_os_str().is_empty();
                wrong(named, "initiators.secret_file", "must name a file")
            })
            .or_else(|| {
                let sensible = (1..=60_000).contains(&self.timeout_ms);
                wrong(sensible, "initiators.timeout_ms", "must be in 1..=60000")
            })
            .or_else(|| {
                // The ledger takes more, for last resorts that it refuses.
                let sensible = (1..=TRIES_MAX / 2).contains(&self.tries);
                wrong(sensible, "initiators.tries", &format!("must be in 1..={}", TRIES_MAX / 2))
            })
            .or_else(|| wrong(self.back_off_first_ms > 0, "initiators.back_off_first_ms", "must be above 0"))
            .or_else(|| {
                let sensible = (self.back_off_first_ms..=86_400_000).contains(&self.back_off_max_ms);
                let reason = "must be between back_off_first_ms and 86400000";
                wrong(sensible, "initiators.back_off_max_ms", reason)
            })
            .or_else(|| {
                let sensible = (1..=1_000).contains(&self.concurrency);
                wrong(sensible, "initiators.concurrency", "must be in 1..=1000")
            })
    }

    fn target(&self) -> Result<Target, String> {
        let uri: Uri = self.url.parse().map_err(|error| format!("{:?} is no URL: {error}", self.url))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("TLS is not built in: name a proxy that speaks it".to_owned()),
            _ => return Err("must begin with http://".to_owned()),
        }
        let authority = uri.authority().ok_or("names no host")?;
        if authority.as_str().contains('@') {
            return Err("must not have a user or a password: calls are signed".to_owned());
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(80);
        Ok(Target { host, port, authority: authority.to_string(), path })
    }

    /// How long after the try of that number, counted from 1, the next one is due.
    pub fn back_off(&self, no: u32) -> Duration {
        let factor = 2u64.saturating_pow(no.saturating_sub(1));
        let ms = self.back_off_first_ms.saturating_mul(factor).min(self.back_off_max_ms);
        Duration::from_millis(ms)
    }
}

/// Where a URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Both, as the URL has them.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// Somebody who may be called.
pub struct Initiator {
    /// As configured.
    pub config: InitiatorConfig,
    /// Where.
    pub target: Target,
    /// What calls are signed with.
    pub secret: Vec<u8>,
}

/// All of them, by name.
#[derive(Clone, Default)]
pub struct Initiators(Arc<BTreeMap<String, Initiator>>);

impl Initiators {
    /// Reads the secrets of a list that was found free of mistakes.
    pub fn load(all: &[InitiatorConfig]) -> anyhow::Result<Self> {
        let one = |config: &InitiatorConfig| {
            let file = config.secret_file.display();
            let secret = std::fs::read(&config.secret_file)
                .with_context(|| format!("initiators.secret_file of {}: cannot read {file}", config.name))?;
            let secret = secret.trim_ascii_end().to_vec();
            anyhow::ensure!(
                secret.len() >= SECRET_BYTES_MIN,
                "initiators.secret_file of {}: the secret in {file} has less than {SECRET_BYTES_MIN} bytes",
                config.name
            );
            let target = config.target().map_err(anyhow::Error::msg)?;
            Ok((config.name.clone(), Initiator { config: config.clone(), target, secret }))
        };
        Ok(Initiators(Arc::new(all.iter().map(one).collect::<anyhow::Result<_>>()?)))
    }

    /// The one of that name.
    pub fn get(&self, name: &str) -> Option<&Initiator> {
        self.0.get(name)
    }

    /// All, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Initiator> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"shop\"\nurl = \"http://127.0.0.1:8080/holds?x=1\"\nsecret_file = \"s\"\n";

    fn read(text: &str) -> InitiatorConfig {
        toml::from_str(text).expect("all keys are there")
    }

    #[test]
    fn where_a_url_leads() {
        let target = |url: &str| InitiatorConfig { url: url.to_owned(), ..read(GOOD) }.target();
        let of = |host: &str, port, authority: &str, path: &str| {
            Ok(Target { host: host.into(), port, authority: authority.into(), path: path.into() })
        };
        assert_eq!(target("http://shop.example"), of("shop.example", 80, "shop.example", "/"));
        assert_eq!(target("http://[::1]:81/a/b?c=d"), of("::1", 81, "[::1]:81", "/a/b?c=d"));
        for (url, part) in [
            ("https://shop.example/", "TLS"),
            ("ftp://shop.example/", "http://"),
            ("shop.example", "http://"),
            ("/holds", "http://"),
            ("http://me:secret@shop.example/", "password"),
            ("http://a b/", "no URL"),
        ] {
            let error = target(url).expect_err(url);
            assert!(error.contains(part), "{url}: {error}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(mistake(&[read(GOOD)]), None);
        for (line, key) in [
            ("timeout_ms = 0", "initiators.timeout_ms"),
            ("tries = 0", "initiators.tries"),
            ("tries = 51", "initiators.tries"),
            ("back_off_first_ms = 0", "initiators.back_off_first_ms"),
            ("back_off_first_ms = 10\nback_off_max_ms = 9", "initiators.back_off_max_ms"),
            ("concurrency = 0", "initiators.concurrency"),
        ] {
            let found = mistake(&[read(&format!("{GOOD}{line}\n"))]).expect(line);
            assert_eq!(found.0, key, "{found:?}");
        }
        assert_eq!(mistake(&[read(GOOD), read(GOOD)]).expect("twice").0, "initiators.name");
        assert!(toml::from_str::<InitiatorConfig>(&format!("{GOOD}retries = 3\n")).is_err());
        assert!(toml::from_str::<InitiatorConfig>(&format!("{GOOD}last_resort = \"shrug\"\n")).is_err());
    }

    #[test]
    fn the_back_off_doubles_up_to_its_bound() {
        let config = read(&format!("{GOOD}back_off_first_ms = 100\nback_off_max_ms = 1000\n"));
        let ms = [1, 2, 3, 4, 5, 60, u32::MAX].map(|no| config.back_off(no).as_millis());
        assert_eq!(ms, [100, 200, 400, 800, 1000, 1000, 1000]);
    }

    #[test]
    fn a_secret_is_read_without_its_line_end_and_is_not_short() {
        let dir = tempfile::tempdir().expect("a directory");
        let secret_file = dir.path().join("secret");
        let config = InitiatorConfig { secret_file: secret_file.clone(), ..read(GOOD) };
        let load = || Initiators::load(std::slice::from_ref(&config));
        assert!(load().is_err(), "there is no file");
        std::fs::write(&secret_file, "0123456789abcdef\n").expect("it is written");
        assert_eq!(
            load().expect("it is long enough").get("shop").expect("it is there").secret,
            b"0123456789abcdef"
        );
        std::fs::write(&secret_file, "0123456789abcde\n").expect("it is written");
        assert!(load().is_err(), "it is too short");
    }
}
