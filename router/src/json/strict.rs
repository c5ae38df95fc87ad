//! JSON read without guessing: an object is an object, a key stands once, a choice is a string. serde's own rules are
//! wider (a list may stand for an object, the last of two equal keys wins), and a request that two programs read
//! differently must not book money. [`Strict`] wraps whatever serde hands around while it reads, at every depth, so
//! that no request type needs rules of its own. Pure; used by [`super::request`].

use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};

/// Strict, whatever it wraps: a deserializer, a visitor, the inside of a list or object, the wish for one value.
pub struct Strict<T>(pub T);

/// What wants a map of free keys: each key once. (A struct refuses its repeated fields itself.)
struct UniqueKeys<T>(T);

/// The inside of such a map, and the keys that were seen in it.
struct Pairs<A> {
    access: A,
    seen: BTreeSet<String>,
}

/// What wants one of a few words.
struct Word<V>(V);

macro_rules! scalars {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method(visitor)
        })*
    };
}

/// What no request has: a shape that the text decides.
fn shapeless<T, E: Error>() -> Result<T, E> {
    Err(E::custom("a request has no value of an open shape"))
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    scalars! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        // Asked for as a map, so that a list of its values in order is refused.
        self.0.deserialize_map(Strict(visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(UniqueKeys(visitor))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_seq(Strict(visitor))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Strict(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Strict(visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_str(Word(visitor))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, D::Error> {
        shapeless()
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, D::Error> {
        shapeless()
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        _: V,
    ) -> Result<V::Value, D::Error> {
        shapeless()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, _: V) -> Result<V::Value, D::Error> {
        shapeless()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Strict(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Strict(fields))
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for UniqueKeys<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Pairs { access, seen: BTreeSet::new() })
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Word<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<V::Value, E> {
        let word: StrDeserializer<'_, E> = word.into_deserializer();
        self.0.visit_enum(word)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(value))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Strict(seed))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Pairs<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let Some(key) = self.access.next_key::<String>()? else { return Ok(None) };
        if !self.seen.insert(key.clone()) {
            return Err(A::Error::custom(format_args!("duplicate key `{key}`")));
        }
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.access.next_value_seed(Strict(seed))
    }
}

#[cfg(test)]
mod tests {
    use crate::json::request::{
        CloseAccount, DefineCurrency, DefineSubject, Freeze, OpenAccount, PostBatch, PostTransaction,
        Reverse, SetLimit, parse,
    };

    const LEG: &str = r#"{"account":"a","side":"debit","amount":"1"}"#;

    fn said<T: serde::de::DeserializeOwned>(body: &str) -> Result<(), String> {
        parse::<T>(body.as_bytes()).map(|_| ()).map_err(|error| error.to_string())
    }

    /// A good body of each request type, and the same as a list of its values.
    #[test]
    fn a_list_is_no_object_whatever_the_type() {
        type Parse = fn(&str) -> Result<(), String>;
        let table: [(Parse, &str, &str); 9] = [
            (said::<DefineCurrency>, r#"{"scale":2}"#, "[2]"),
            (said::<DefineSubject>, r#"{"name":"n","normal_side":"debit"}"#, r#"["n","debit"]"#),
            (
                said::<OpenAccount>,
                r#"{"request_id":"r","account":"a","subject":"s","currency":"EUR"}"#,
                r#"["r","a","s","EUR",null,"0",{}]"#,
            ),
            (said::<SetLimit>, r#"{"request_id":"r","limit":"none"}"#, r#"["r","none"]"#),
            (said::<Freeze>, r#"{"request_id":"r","mode":"both"}"#, r#"["r","both"]"#),
            (said::<CloseAccount>, r#"{"request_id":"r"}"#, r#"["r"]"#),
            (
                said::<PostTransaction>,
                r#"{"request_id":"r","legs":[]}"#,
                r#"["r",null,[["a","debit","1.00",null]],0,0,null,{}]"#,
            ),
            (said::<PostBatch>, r#"{"transactions":[]}"#, "[[],false]"),
            (said::<Reverse>, r#"{"request_id":"r"}"#, r#"["r",null,0,{}]"#),
        ];
        for (parse, object, list) in table {
            assert_eq!(parse(object), Ok(()), "{object}");
            let error = parse(list).expect_err(list);
            assert!(error.contains("invalid type: sequence"), "{list}: {error}");
        }
    }

    #[test]
    fn the_same_holds_inside() {
        let transaction = |more: &str| format!(r#"{{"request_id":"r","legs":[{LEG}]{more}}}"#);
        let leg = |text: &str| format!(r#"{{"request_id":"r","legs":[{text}]}}"#);
        let table = [
            (transaction(""), None),
            (transaction(r#","scope_account":null,"metadata":{"a":"1","b":"1"}"#), None),
            (transaction(r#","metadata":{"a":"1","a":"2"}"#), Some("duplicate key `a`")),
            (transaction(r#","metadata":{"a":"1","\u0061":"1"}"#), Some("duplicate key `a`")),
            (transaction(r#","metadata":[]"#), Some("invalid type: sequence")),
            (transaction(r#","metadata":[["a","1"]]"#), Some("invalid type: sequence")),
            (transaction(r#","request_id":"r""#), Some("duplicate field `request_id`")),
            (leg(r#"["a","debit","1",null]"#), Some("invalid type: sequence")),
            (leg(r#"{"account":"a","account":"a"}"#), Some("duplicate field `account`")),
            (leg(r#"{"account":"a","side":{"debit":null},"amount":"1"}"#), Some("invalid type: map")),
            (leg(r#"{"account":"a","side":0,"amount":"1"}"#), Some("invalid type: integer")),
            (leg(r#"{"account":"a","side":"left","amount":"1"}"#), Some("expected `debit` or `credit`")),
        ];
        for (body, expected) in table {
            for (body, parse) in [
                (body.clone(), said::<PostTransaction> as fn(&str) -> Result<(), String>),
                (format!(r#"{{"transactions":[{body}]}}"#), said::<PostBatch>),
            ] {
                match (parse(&body), expected) {
                    (Ok(()), None) => {}
                    (Err(error), Some(expected)) if error.contains(expected) => {}
                    (found, _) => panic!("{body}: {found:?} instead of {expected:?}"),
                }
            }
        }
    }
}
