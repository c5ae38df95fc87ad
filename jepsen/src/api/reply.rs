//! What a reply says. What cannot be read promises nothing: it is an unknown end. Pure.

mod buffered;
mod dry_run;
mod groups;
mod holds;
mod past;
mod restrictions;
mod sweeps;

use std::collections::BTreeMap;

use http::StatusCode;
use serde::Deserialize;
use twinset_ledger::date;

use crate::history::holds::Capture;
use crate::history::{Answer, AsOf, Ask, Figures, Found, Name, Part, Place, Recorder, Transfer, label};

#[derive(Deserialize)]
struct Position<'a> {
    set: u32,
    index: u64,
    time: &'a str,
}

#[derive(Deserialize)]
struct Posting<'a> {
    account: &'a str,
    side: &'a str,
    amount: &'a str,
    posted: Option<&'a str>,
    available: Option<&'a str>,
    #[serde(default)]
    in_transit: bool,
}

#[derive(Deserialize)]
struct Booked<'a> {
    transaction: &'a str,
    #[serde(borrow)]
    position: Position<'a>,
    replayed: bool,
    #[serde(borrow, default)]
    postings: Vec<Posting<'a>>,
}

#[derive(Deserialize)]
struct Changed<'a> {
    #[serde(borrow)]
    position: Position<'a>,
    replayed: bool,
}

#[derive(Deserialize)]
struct Problem<'a> {
    code: &'a str,
    outcome: &'a str,
    #[serde(borrow, default)]
    position: Option<Position<'a>>,
    #[serde(default)]
    replayed: bool,
    age_ms: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Item<'a> {
    Ok(#[serde(borrow)] Booked<'a>),
    Problem(#[serde(borrow)] Problem<'a>),
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    results: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Account<'a> {
    account: &'a str,
    #[serde(default)]
    group: &'a str,
    limit: &'a str,
    frozen_debit: bool,
    frozen_credit: bool,
    closed: bool,
    posted: &'a str,
    held: &'a str,
    incoming: &'a str,
    restricted: &'a str,
    withdrawable: &'a str,
    available: &'a str,
    debits: &'a str,
    credits: &'a str,
    version: u64,
}

#[derive(Deserialize)]
struct Leg<'a> {
    account: &'a str,
    side: &'a str,
    amount: &'a str,
    #[serde(default)]
    withdrawal: bool,
    #[serde(borrow, default)]
    restricted: Option<restrictions::Until<'a>>,
}

#[derive(Deserialize)]
struct Transaction<'a> {
    transaction: &'a str,
    #[serde(borrow)]
    position: Position<'a>,
    request_id: &'a str,
    scope_account: &'a str,
    #[serde(borrow)]
    legs: Vec<Leg<'a>>,
    kind: u32,
    reason: u32,
    accounting_date: &'a str,
    metadata: BTreeMap<String, String>,
    #[serde(default)]
    reverses: &'a str,
    #[serde(borrow)]
    reversed_by: Vec<&'a str>,
    #[serde(borrow, default)]
    capture: Option<Captured<'a>>,
    #[serde(default)]
    part_of: &'a str,
}

#[derive(Deserialize)]
struct Captured<'a> {
    hold: &'a str,
    #[serde(rename = "final")]
    is_final: bool,
}

/// Any read that found something.
#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow, default)]
    account: Option<Account<'a>>,
    #[serde(borrow, default)]
    transaction: Option<Transaction<'a>>,
    #[serde(borrow, default)]
    transactions: Option<Vec<Transaction<'a>>>,
    #[serde(borrow, default)]
    hold: Option<holds::Hold<'a>>,
    #[serde(borrow, default)]
    restriction: Option<restrictions::Restriction<'a>>,
    #[serde(default)]
    next: &'a str,
    #[serde(borrow)]
    as_of: Position<'a>,
    age_ms: u64,
}

/// How the reason of an open end begins where a reply came and says nothing. No client may ever be told such a thing.
pub const UNREADABLE: &str = "unreadable: ";

/// What a reply says to what was asked.
pub fn answer(accounts: &Recorder, ask: &Ask, status: StatusCode, body: &[u8]) -> Answer {
    let read = if status.is_success() {
        match ask {
            Ask::Transfer(transfer) => {
                parse(body).and_then(|reply: Booked<'_>| booked(accounts, &reply, Some(transfer)))
            }
            Ask::DryRun(transfer) => parse(body)
                .and_then(|reply: dry_run::DryRun<'_>| dry_run::foreseen(accounts, &reply, transfer)),
            Ask::Reverse { .. } | Ask::ResolveSuspense { .. } => {
                parse(body).and_then(|reply: Booked<'_>| booked(accounts, &reply, None))
            }
            Ask::Batch { items, .. } => {
                parse(body).and_then(|reply: Batch<'_>| batch(accounts, &reply, items))
            }
            Ask::PlaceHold { .. } | Ask::ReleaseHold { .. } | Ask::ExtendHold { .. } => {
                parse(body).and_then(|reply: holds::Changed<'_>| holds::changed(&reply))
            }
            Ask::ReleaseRestriction { account, .. } => {
                parse(body).and_then(|reply: restrictions::Changed<'_>| {
                    restrictions::changed(accounts, *account, &reply)
                })
            }
            Ask::ListRestrictions { .. } => {
                parse(body).and_then(|reply: restrictions::Page<'_>| restrictions::page(accounts, &reply))
            }
            Ask::ReadTransit { account, .. } => parse(body)
                .and_then(|reply: buffered::Transit<'_>| buffered::transit(accounts, *account, &reply)),
            Ask::ListSuspense { .. } => {
                parse(body).and_then(|reply: buffered::Page<'_>| buffered::page(accounts, &reply))
            }
            Ask::ReadSweep { .. } => {
                parse(body).and_then(|reply: sweeps::Found<'_>| sweeps::found(accounts, &reply))
            }
            Ask::ListSweeps { .. } => {
                parse(body).and_then(|reply: sweeps::Page<'_>| sweeps::page(accounts, &reply))
            }
            Ask::ListHolds { .. } => {
                parse(body).and_then(|reply: holds::Page<'_>| holds::page(accounts, &reply))
            }
            Ask::ReadGroup { group, .. } => {
                parse(body).and_then(|reply: groups::Group<'_>| groups::group(accounts, *group, &reply))
            }
            Ask::Statement { .. } => {
                parse(body).and_then(|reply: past::Statement<'_>| past::statement(accounts, &reply))
            }
            Ask::Balance { .. } => parse(body).and_then(|reply: past::Balance<'_>| past::balance(&reply)),
            Ask::Events { .. } => {
                parse(body).and_then(|reply: past::Events<'_>| past::events(accounts, &reply))
            }
            write if write.is_write() => parse(body).and_then(|reply: Changed<'_>| changed(&reply)),
            _ => parse(body).and_then(|reply: Read<'_>| found(accounts, &reply)),
        }
    } else {
        parse(body).and_then(|reply: Problem<'_>| match ask {
            Ask::DryRun(_) => dry_run::refusal(&reply),
            _ => problem(&reply),
        })
    };
    read.unwrap_or_else(|| Answer::Unknown {
        why: format!("{UNREADABLE}{status} {}", String::from_utf8_lossy(&body[..body.len().min(300)])),
    })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

/// Of a transaction that says what was booked, it must be what was asked for.
fn booked(accounts: &Recorder, reply: &Booked<'_>, asked: Option<&Transfer>) -> Option<Answer> {
    let legs =
        reply.postings.iter().map(|posting| signed(accounts, posting.account, posting.side, posting.amount));
    let legs = legs.collect::<Option<Vec<_>>>()?;
    if asked.is_some_and(|asked| !legs.is_empty() && legs != asked.legs) {
        return None;
    }
    Some(Answer::Booked {
        transaction: name(reply.transaction)?,
        place: place(&reply.position)?,
        replayed: reply.replayed,
        balances: balances(&reply.postings)?,
    })
}

/// Posted and available of each leg's account afterwards; of one that is in transit nobody can know them.
fn balances(postings: &[Posting<'_>]) -> Option<Vec<(i64, i64)>> {
    let one = |posting: &Posting<'_>| match (posting.posted, posting.available) {
        (Some(posted), Some(available)) if !posting.in_transit => {
            Some(Some((cents(posted)?, cents(available)?)))
        }
        (None, None) if posting.in_transit => Some(None),
        _ => None,
    };
    let all = postings.iter().map(one).collect::<Option<Vec<_>>>()?;
    Some(all.into_iter().flatten().collect())
}

fn changed(reply: &Changed<'_>) -> Option<Answer> {
    Some(Answer::Done { place: place(&reply.position)?, replayed: reply.replayed })
}

fn batch(accounts: &Recorder, reply: &Batch<'_>, items: &[Transfer]) -> Option<Answer> {
    let one = |(item, asked): (&Item<'_>, &Transfer)| match item {
        Item::Ok(reply) => booked(accounts, reply, Some(asked)),
        Item::Problem(reply) => problem(reply),
    };
    let answers = reply.results.iter().zip(items).map(one).collect::<Option<Vec<_>>>()?;
    (reply.results.len() == items.len()).then_some(Answer::Batch(answers))
}

fn problem(reply: &Problem<'_>) -> Option<Answer> {
    let code = reply.code.to_owned();
    match (reply.outcome, &reply.position) {
        ("rejected", Some(position)) => {
            Some(Answer::Rejected { code, place: place(position)?, replayed: reply.replayed })
        }
        ("not_applied", Some(position)) if reply.code == "not_found" => {
            let age_ms = reply.age_ms.as_ref().map_or(Some(0), |text| text.parse().ok())?;
            Some(Answer::Absent { as_of: AsOf { place: place(position)?, age_ms } })
        }
        ("not_applied", Some(position)) if reply.code == "set_unavailable" => {
            Some(Answer::GivenUp { place: place(position)? })
        }
        ("not_applied", _) => Some(Answer::NotApplied { code }),
        ("unknown", _) => Some(Answer::Unknown { why: code }),
        _ => None,
    }
}

fn found(accounts: &Recorder, reply: &Read<'_>) -> Option<Answer> {
    let as_of = AsOf { place: place(&reply.as_of)?, age_ms: reply.age_ms };
    if let Some(account) = &reply.account {
        return Some(Answer::Account { as_of, figures: figures(account)? });
    }
    if let Some(one) = &reply.transaction {
        return Some(Answer::Transaction { as_of, found: Box::new(transaction(accounts, one)?) });
    }
    if let Some(one) = &reply.hold {
        return Some(Answer::Hold { as_of, found: Box::new(holds::hold(accounts, one)?) });
    }
    if let Some(one) = &reply.restriction {
        return Some(Answer::Restriction { as_of, found: restrictions::restriction(accounts, one)? });
    }
    let found = reply.transactions.as_ref()?.iter().map(|one| transaction(accounts, one));
    let next = if reply.next.is_empty() { None } else { Some(name(reply.next)?) };
    Some(Answer::Page { as_of, found: found.collect::<Option<_>>()?, next })
}

fn figures(account: &Account<'_>) -> Option<Figures> {
    let (available, restricted) = (cents(account.available)?, cents(account.restricted)?);
    if cents(account.withdrawable)? != available - restricted {
        return None;
    }
    Some(Figures {
        posted: cents(account.posted)?,
        available,
        restricted,
        held: cents(account.held)?,
        incoming: cents(account.incoming)?,
        debits: cents(account.debits)?,
        credits: cents(account.credits)?,
        limit: if account.limit == "none" { None } else { Some(cents(account.limit)?) },
        frozen_debit: account.frozen_debit,
        frozen_credit: account.frozen_credit,
        closed: account.closed,
        version: account.version,
    })
}

fn transaction(accounts: &Recorder, one: &Transaction<'_>) -> Option<Found> {
    let leg = |leg: &Leg<'_>| signed(accounts, leg.account, leg.side, leg.amount);
    let place = place(&one.position)?;
    let part_of = match one.part_of {
        "" => None,
        of => Some(Part { of: name(of)?, day: date::parse(one.accounting_date)? }),
    };
    let transaction = name(one.transaction)?;
    let label = match part_of {
        Some(part) if part.of != transaction => label::of_part((one.kind, one.reason), &one.metadata)?,
        _ => {
            let written = (one.kind, one.reason);
            label::read(one.request_id, written, one.accounting_date, &one.metadata, place.time_ns)?
        }
    };
    Some(Found {
        transaction,
        place,
        id: one.request_id.to_owned(),
        scope: scope(accounts, one.scope_account),
        label,
        legs: one.legs.iter().map(leg).collect::<Option<_>>()?,
        reverses: if one.reverses.is_empty() { None } else { Some(name(one.reverses)?) },
        reversed_by: one.reversed_by.iter().map(|text| name(text)).collect::<Option<_>>()?,
        capture: match &one.capture {
            Some(Captured { hold, is_final }) => Some(Capture { hold: name(hold)?, is_final: *is_final }),
            None => None,
        },
        marks: marks(
            one.legs
                .iter()
                .map(|leg| (leg.withdrawal, leg.restricted.as_ref().map(|restricted| restricted.until))),
        )?,
        part_of,
    })
}

/// The account that a request id belongs to, if it is one: that of who books a suspended credit on belongs to the credit.
pub(super) use restrictions::marks;

pub(super) fn scope(accounts: &Recorder, scope: &str) -> Option<u32> {
    let is_account = !scope.is_empty() && !scope.starts_with('~');
    is_account.then(|| accounts.account(scope))
}

fn signed(accounts: &Recorder, account: &str, side: &str, amount: &str) -> Option<(u32, i64)> {
    let amount = cents(amount)?;
    let signed = match side {
        "debit" => amount,
        "credit" => -amount,
        _ => return None,
    };
    Some((accounts.account(account), signed))
}

fn name(text: &str) -> Option<Name> {
    text.parse().ok().map(Name)
}

fn place(position: &Position<'_>) -> Option<Place> {
    Some(Place { set: position.set, index: position.index, time_ns: time_ns(position.time)? })
}

/// Nanoseconds since 1970 of an RFC 3339 time in UTC.
fn time_ns(text: &str) -> Option<u64> {
    let (day, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    if fraction.len() > 9 || parts.next().is_some() {
        return None;
    }
    let fraction: u64 = if fraction.is_empty() { 0 } else { format!("{fraction:0<9}").parse().ok()? };
    let day = u64::try_from(date::parse(day)?).ok()?;
    Some((((day * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000_000_000 + fraction)
}

/// Cents of a decimal text with at most two places.
pub fn cents(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty()
        || fraction.len() > 2
        || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let places: i64 = if fraction.is_empty() { 0 } else { format!("{fraction:0<2}").parse().ok()? };
    let value = whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(places)?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::payment;
    use crate::history::{Level, Meta};

    #[test]
    fn money_and_time_are_read_exactly() {
        assert_eq!(cents("-12.5"), Some(-1250));
        assert_eq!(cents("7"), Some(700));
        for bad in ["", ".5", "1.234", "x", "1.-1", "--1"] {
            assert_eq!(cents(bad), None, "{bad}");
        }
        assert_eq!(time_ns("1970-01-02T00:00:01.000000002Z"), Some(86_401_000_000_002));
        assert_eq!(time_ns("1970-01-01T00:01:00.5Z"), Some(60_500_000_000));
        assert_eq!(time_ns("yesterday"), None);
    }

    fn accounts() -> std::sync::Arc<Recorder> {
        Recorder::in_memory(Meta::default())
    }

    const AT: &str = r#"{"set":1,"index":9,"time":"1970-01-01T00:00:00.000000007Z"}"#;

    #[test]
    fn each_kind_of_reply_is_told_apart() {
        let ask = payment((0, 1), "x", 5);
        let posting = |account: &str, side: &str, amount: &str| {
            format!(
                r#"{{"account":"{account}","side":"{side}","amount":"{amount}","posted":"-2.00","available":"-2.00"}}"#
            )
        };
        let booked = |postings: &[String]| {
            let postings = postings.join(",");
            format!(r#"{{"transaction":"1-1-9-0","position":{AT},"replayed":true,"postings":[{postings}]}}"#)
        };
        let accounts = accounts();
        let (from, to) = (accounts.account("a"), accounts.account("b"));
        assert_eq!((from, to), (0, 1));
        let of = |status, body: &str| answer(&accounts, &ask, status, body.as_bytes());
        let place = Place { set: 1, index: 9, time_ns: 7 };
        let right = booked(&[posting("a", "debit", "0.05"), posting("b", "credit", "0.05")]);
        let Answer::Booked { place: at, replayed: true, balances, .. } = of(StatusCode::OK, &right) else {
            panic!("{:?}", of(StatusCode::OK, &right));
        };
        assert_eq!((at, balances), (place, vec![(-200, -200); 2]));
        // What was booked is not what was asked for.
        for wrong in [
            vec![posting("a", "debit", "0.05")],
            vec![posting("b", "debit", "0.05"), posting("a", "credit", "0.05")],
            vec![posting("a", "credit", "0.05"), posting("b", "debit", "0.05")],
            vec![posting("a", "debit", "0.05"), posting("b", "credit", "0.06")],
        ] {
            assert!(of(StatusCode::OK, &booked(&wrong)).is_open(), "{wrong:?}");
        }
        let problem = |outcome: &str| format!(r#"{{"outcome":"{outcome}","code":"c","position":{AT}}}"#);
        let of = |body: &str| of(StatusCode::BAD_GATEWAY, body);
        assert_eq!(of(&problem("rejected")), Answer::Rejected { code: "c".into(), place, replayed: false });
        assert_eq!(of(&problem("not_applied")), Answer::NotApplied { code: "c".into() });
        let given_up = problem("not_applied").replace(r#""c""#, r#""set_unavailable""#);
        assert_eq!(of(&given_up), Answer::GivenUp { place });
        for open in [problem("unknown").as_str(), "<html>", "{}"] {
            assert!(of(open).is_open(), "{open}");
        }
        assert!(answer(&accounts, &ask, StatusCode::OK, b"{}").is_open());
    }

    #[test]
    fn what_is_not_there_says_as_of_when() {
        let body = format!(r#"{{"outcome":"not_applied","code":"not_found","position":{AT},"age_ms":"12"}}"#);
        let ask = Ask::ReadAccount { account: 0, level: Level::Stale };
        let as_of = AsOf { place: Place { set: 1, index: 9, time_ns: 7 }, age_ms: 12 };
        assert_eq!(
            answer(&accounts(), &ask, StatusCode::NOT_FOUND, body.as_bytes()),
            Answer::Absent { as_of }
        );
    }
}
