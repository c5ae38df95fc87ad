//! Each code has its line, and says what is so.

use super::*;
use crate::error::{At, Outcome, Rejected};

#[test]
fn every_code_has_its_line() {
    for (code, entry) in Code::ALL.into_iter().zip(&ROUTER) {
        assert_eq!(code.as_str(), entry.code);
        assert_eq!(of(&Error::new(code, "x")).code, code.as_str());
        assert_eq!(Error::new(code, "x").outcome().as_str(), entry.outcome);
        assert_eq!(entry.outcome == Outcome::Unknown.as_str(), entry.http == 504);
    }
    let codes: Vec<_> = REJECTIONS.iter().map(|entry| entry.code).collect();
    assert_eq!(codes, twinset_ledger::rejection::CODES);
    let rejected = |rejection| {
        let at = At { set: 1, index: 4, time_unix_ns: 9 };
        Error::Rejected(Box::new(Rejected { rejection, at, replayed: false }))
    };
    for rejection in [
        Rejection::SetUnavailable { set: 2 },
        Rejection::LegOnGroup { group: "g".to_owned() },
        Rejection::AccountNotFound { account: "a".to_owned() },
        Rejection::SubjectUnknown { subject: "s".to_owned() },
    ] {
        let error = rejected(rejection);
        assert_eq!(error.outcome().as_str(), of(&error).outcome, "{error}");
    }
}

#[test]
fn limits_are_told_as_they_are() {
    use twinset_ledger::attempt::{LEGS_ACROSS_MAX, SETS_MAX};
    let limits = [("too_many_legs_across_sets", LEGS_ACROSS_MAX), ("too_many_sets", SETS_MAX)];
    for (code, limit) in limits {
        let entry = MALFORMED.iter().find(|entry| entry.code == code).expect("it has its line");
        assert!(entry.title.contains(&format!(" {limit} ")), "{}", entry.title);
    }
}

#[test]
fn every_command_that_the_ledger_would_never_take_has_its_line() {
    let all = twinset_ledger::Malformed::ALL;
    let listed: Vec<&str> = MALFORMED.iter().map(|entry| entry.code).collect();
    assert_eq!(listed.len(), all.len(), "{listed:?}");
    for malformed in all {
        let error = Error::from(*malformed);
        let entry = of(&error);
        assert_eq!((entry.code, entry.outcome), (malformed.code(), error.outcome().as_str()));
        assert_eq!((entry.http, entry.grpc), (400, Grpc::InvalidArgument));
    }
}

#[test]
fn numbers_are_each_given_once() {
    let mut numbers: Vec<u16> =
        ROUTER.iter().chain(&REJECTIONS).chain(&MALFORMED).map(|entry| entry.number).collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
}

#[test]
fn http_and_grpc_say_the_same_of_every_code() {
    let router = Code::ALL.map(|code| Error::new(code, "x"));
    let malformed = twinset_ledger::Malformed::ALL.iter().map(|malformed| Error::from(*malformed));
    for error in router.into_iter().chain(malformed) {
        let (problem, status) = (problem(&error), grpc(&error));
        let said = |name: &str| {
            let value = status.metadata().get(format!("twinset-{name}")).expect("it is said");
            value.to_str().expect("text").to_owned()
        };
        assert_eq!(status.code(), of(&error).grpc);
        assert_eq!(said("code"), problem.code);
        assert_eq!(said("number"), problem.number.to_string());
        assert_eq!(said("outcome"), problem.outcome);
        assert_eq!(said("retryable"), problem.retryable.to_string());
    }
}
