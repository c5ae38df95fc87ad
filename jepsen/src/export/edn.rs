//! Data of a history as EDN, the notation that Jepsen, Elle and Knossos read: maps with keywords for keys, vectors,
//! strings, numbers, `true`, `false` and `nil`. Pure.
//!
//! EDN differs from JSON in its keys, in `nil`, and in that commas are white space; strings and numbers are the same.
//! So the JSON that serde writes is gone through once, and put the other way where it differs.

use serde::Serialize;

/// A value as one line of EDN.
pub fn of<T: Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(of_json(&serde_json::to_string(value)?))
}

/// A variant with fields without its name: of `{:transfer {...}}` what is under the key.
pub fn inner(edn: &str) -> &str {
    let inside = edn.strip_prefix("{:").and_then(|rest| rest.strip_suffix('}'));
    match inside.and_then(|inside| inside.split_once(' ')) {
        Some((_, value)) => value,
        None => edn,
    }
}

/// JSON without white space between its tokens.
fn of_json(json: &str) -> String {
    let mut edn = String::with_capacity(json.len() + json.len() / 8);
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let (token, behind) = rest.split_at(match first {
            '"' => string_end(rest),
            'n' => "null".len(),
            _ => first.len_utf8(),
        });
        rest = behind;
        match (first, rest.strip_prefix(':')) {
            ('"', Some(behind)) => {
                edn.push_str(&keyword(token));
                edn.push(' ');
                rest = behind;
            }
            ('n', _) => edn.push_str("nil"),
            (',', _) => edn.push_str(", "),
            _ => edn.push_str(token),
        }
    }
    edn
}

/// Where the string ends that `text` begins with.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A key as Clojure spells it; what cannot be a keyword stays a string.
fn keyword(quoted: &str) -> String {
    let name = quoted.trim_matches('"');
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.bytes().all(is_word) {
        format!(":{}", name.replace('_', "-"))
    } else {
        quoted.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_keywords_null_is_nil_and_the_rest_is_as_in_json() {
        for (json, edn) in [
            (r#"{"a_b":[1,-2,null],"c":{"d":true}}"#, r#"{:a-b [1, -2, nil], :c {:d true}}"#),
            (r#"["null","a: \"b\", {c}","\\","é\n"]"#, r#"["null", "a: \"b\", {c}", "\\", "é\n"]"#),
            (r#"{"1":2,"":3,"a b":4}"#, r#"{"1" 2, "" 3, "a b" 4}"#),
            (r#""nothing""#, r#""nothing""#),
            ("{}", "{}"),
        ] {
            assert_eq!(of_json(json), edn);
        }
    }

    #[test]
    fn the_key_of_a_map_of_one_is_left_out() {
        assert_eq!(inner("{:close {:id \"x y\", :account 3}}"), "{:id \"x y\", :account 3}");
        assert_eq!(inner("{:batch [1, 2]}"), "[1, 2]");
        assert_eq!(inner("\"rolling-restart\""), "\"rolling-restart\"");
    }
}
