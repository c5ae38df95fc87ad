//! Signatures of requests: HMAC-SHA256 over the time, a dot and the body, in hexadecimal digits. While secrets change there are
//! two, so that the receiver may know either. Pure.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Shorter ones can be guessed.
pub const SECRET_BYTES_MIN: usize = 32;

/// The keys, with their ids.
pub struct Signer {
    keys: Vec<(String, Hmac<Sha256>)>,
}

impl Signer {
    /// A signer with these secrets, by their ids.
    pub fn new(secrets: &[(String, Vec<u8>)]) -> Signer {
        let key = |(id, secret): &(String, Vec<u8>)| {
            (id.clone(), Hmac::new_from_slice(secret).expect("HMAC takes keys of any length"))
        };
        Signer { keys: secrets.iter().map(key).collect() }
    }

    /// The header `Twinset-Signature`: `ID=SIGNATURE`, with a comma between two.
    pub fn sign(&self, unix_s: u64, body: &[u8]) -> String {
        let signatures: Vec<String> = self.keys.iter().map(|(id, key)| one(id, key, unix_s, body)).collect();
        signatures.join(",")
    }
}

fn one(id: &str, key: &Hmac<Sha256>, unix_s: u64, body: &[u8]) -> String {
    let mut mac = key.clone();
    mac.update(unix_s.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    let mut text = format!("{id}=");
    for byte in mac.finalize().into_bytes() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with Python's hmac module.
    #[test]
    fn signatures_are_those_of_another_implementation() {
        let secrets = [("a", "0123456789abcdef0123456789abcdef"), ("b", "second secret of thirty-two bytes")];
        let secrets = secrets.map(|(id, secret)| (id.to_owned(), secret.as_bytes().to_vec()));
        let signed = Signer::new(&secrets).sign(1_764_430_000, br#"{"set":1}"#);
        assert_eq!(
            signed,
            "a=f8ee0f0c5baaa0ac81494ba8d916791a27c9a6a3a0764c2162b9abbe457a18ef,\
             b=b7031fb06079631c8b85d864dcc0ad5794588796a08a092ff19d9d8b487d406b"
        );
    }
}
