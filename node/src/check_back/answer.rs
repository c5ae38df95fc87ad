//! What is said in a call, and what may be said to it. Whatever else comes back is no answer.

use serde::{Deserialize, Serialize};
use twinset_ledger::amount::{self, to_decimal_string, to_minor};
use twinset_ledger::date::timestamp;
use twinset_ledger::hold::Hold;

/// The body of a call. Amounts are decimal text in major units.
#[derive(Clone, Debug, Serialize)]
pub struct Question {
    /// The hold's name.
    pub hold: String,
    /// The held account.
    pub account: String,
    /// The account that is paid if the hold is confirmed.
    pub to: String,
    /// As placed.
    pub amount: String,
    /// What can be confirmed at most.
    pub left: String,
    /// Of both.
    pub currency: String,
    /// When its time was over.
    pub expires_at: String,
    /// The number of the try.
    #[serde(rename = "try")]
    pub no: u32,
    /// The set of the held account.
    pub set: u32,
}

impl Question {
    /// About a hold that is checked back, on an account of that currency and scale.
    pub fn about(hold: &Hold, account: &str, (currency, scale): (&str, u8)) -> Self {
        let asking = hold.check_back.as_ref().expect("it is checked back");
        let money = |minor| to_decimal_string(minor, scale);
        Question {
            hold: hold.id.to_string(),
            account: account.to_owned(),
            to: asking.terms.to.clone(),
            amount: money(hold.amount),
            left: money(hold.left()),
            currency: currency.to_owned(),
            expires_at: hold.expires_ns.map(timestamp).unwrap_or_default(),
            no: asking.tries + 1,
            set: hold.id.set,
        }
    }
}

/// What an initiator can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// So many minor units are to be paid.
    Confirm(i128),
    /// Nothing is to be paid.
    Cancel,
    /// Nobody knows yet.
    Pending,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    hold: String,
    answer: Word,
    amount: Option<String>,
    currency: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Confirm,
    Cancel,
    Pending,
}

/// The answer that a body gives about a hold, whose account has that currency and scale. The error is for people.
pub fn parse(body: &[u8], hold: &Hold, (currency, scale): (&str, u8)) -> Result<Answer, String> {
    let said: Said = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if said.hold != hold.id.to_string() {
        return Err(format!("it is about the hold {:?}", said.hold));
    }
    if said.currency.is_some_and(|said| said != currency) {
        return Err(format!("the currency is not {currency}"));
    }
    match (said.answer, said.amount) {
        (Word::Confirm, None) => Err("it confirms no amount".to_owned()),
        (Word::Confirm, Some(text)) => {
            let amount = amount::parse(&text).map_err(|error| error.to_string())?;
            let minor = to_minor(amount, scale).map_err(|error| error.to_string())?;
            match (1..=hold.left()).contains(&minor) {
                true => Ok(Answer::Confirm(minor)),
                false => Err(format!("{text} is not above zero and at most what is left")),
            }
        }
        (_, Some(_)) => Err("only a confirmation has an amount".to_owned()),
        (Word::Cancel, None) => Ok(Answer::Cancel),
        (Word::Pending, None) => Ok(Answer::Pending),
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::check_back::{Asking, CheckBack};
    use twinset_ledger::{Position, TransactionId};

    use super::*;

    const EUROS: (&str, u8) = ("EUR", 2);

    fn hold() -> Hold {
        let terms = CheckBack { initiator: "shop".to_owned(), to: "shop:cash".to_owned() };
        Hold {
            id: TransactionId { set: 1, incarnation: 1, position: Position::new(8, 0) },
            account: 0,
            amount: 2_500,
            captured: 500,
            capturing: 0,
            released: 0,
            expires_ns: Some(1_000_000_000),
            check_back: Some(Asking {
                terms,
                tries: 2,
                tries_before: 0,
                next_ns: 0,
                confirming: false,
                kept: false,
            }),
            ended: None,
            journal: Vec::new(),
        }
    }

    #[test]
    fn a_question_says_all_that_is_known() {
        let expected = serde_json::json!({
            "hold": "1-1-8-0", "account": "alice", "to": "shop:cash", "amount": "25.00", "left": "20.00",
            "currency": "EUR", "expires_at": "1970-01-01T00:00:01Z", "try": 3, "set": 1,
        });
        let question = Question::about(&hold(), "alice", EUROS);
        assert_eq!(serde_json::to_value(question).expect("plain JSON"), expected);
    }

    #[test]
    fn answers_are_read() {
        let read = |text: &str| parse(text.as_bytes(), &hold(), EUROS);
        for (text, answer) in [
            (r#"{"hold": "1-1-8-0", "answer": "pending"}"#, Answer::Pending),
            (r#"{"hold": "1-1-8-0", "answer": "cancel", "currency": "EUR"}"#, Answer::Cancel),
            (r#"{"hold": "1-1-8-0", "answer": "confirm", "amount": "0.01"}"#, Answer::Confirm(1)),
            (r#"{"hold": "1-1-8-0", "answer": "confirm", "amount": "20"}"#, Answer::Confirm(2_000)),
            (r#"{"answer": "confirm", "amount": "12.500", "hold": "1-1-8-0"}"#, Answer::Confirm(1_250)),
        ] {
            assert_eq!(read(text), Ok(answer), "{text}");
        }
    }

    #[test]
    fn lies_are_no_answers() {
        let confirm =
            |amount: &str| format!(r#"{{"hold": "1-1-8-0", "answer": "confirm", "amount": {amount}}}"#);
        let amounts =
            ["\"20.01\"", "\"0\"", "\"-1\"", "\"0.001\"", "\"1e1\"", "\"\"", "5", "null", "\"٣\"", "[\"5\"]"];
        let others = [
            r#"{"hold": "1-1-9-0", "answer": "cancel"}"#,
            r#"{"hold": "1-1-08-0", "answer": "cancel"}"#,
            r#"{"answer": "cancel"}"#,
            r#"{"hold": "1-1-8-0"}"#,
            r#"{"hold": "1-1-8-0", "answer": "confirm"}"#,
            r#"{"hold": "1-1-8-0", "answer": "Cancel"}"#,
            r#"{"hold": "1-1-8-0", "answer": "cancel", "amount": "5"}"#,
            r#"{"hold": "1-1-8-0", "answer": "pending", "amount": "5"}"#,
            r#"{"hold": "1-1-8-0", "answer": "cancel", "note": "x"}"#,
            r#"{"hold": "1-1-8-0", "answer": "cancel", "answer": "cancel"}"#,
            r#"{"hold": "1-1-8-0", "answer": "confirm", "amount": "5", "currency": "USD"}"#,
            r#"{"hold": "1-1-8-0", "answer": "cancel"} x"#,
            "[]",
            "cancel",
            "",
        ];
        for text in amounts.map(confirm).into_iter().chain(others.map(str::to_owned)) {
            assert!(parse(text.as_bytes(), &hold(), EUROS).is_err(), "{text}");
        }
        assert!(parse(b"\xff\xfe", &hold(), EUROS).is_err());
    }
}
