//! `twinset hold`: holds by hand, through a router.

use clap::{Args, Subcommand, ValueEnum};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use twinset_ledger::amount;

use super::Context;
use super::page::{self, Page};
use super::router::{self, Asked, Freshness, RequestId, Router, add};
use super::transaction::{Details, booked, leg, text};
use crate::{error, out};

mod shown;

pub use shown::one;

/// Set amounts aside, capture them, give them back.
#[derive(Debug, Subcommand)]
pub enum Hold {
    /// Set an amount of an account's available balance aside.
    #[command(
        long_about = "Set an amount of an account's available balance aside, so that only captures of this hold can \
        use it.\n\n\
        The balance stays as it is; what is available becomes less. At its end, if it has one, what is left is given back; with --check-back an initiator of \
        the nodes' configuration is asked instead, and if it confirms, --to is paid.\n\n\
        Examples:\n  twinset hold place '{shop}:alice' 25.00\n  \
        twinset hold place '{shop}:alice' 25.00 --until 2026-12-24T18:00:00Z --metadata order=4711\n  \
        twinset hold place '{shop}:alice' 25.00 --until 2026-12-24T18:00:00Z --check-back shop --to '{shop}:cash'"
    )]
    Place(Place),
    /// Book what a hold has set aside, or a part of it.
    #[command(
        long_about = "Book what a hold has set aside, or a part of it: a transaction whose legs together take that much \
        out of the held account. It may pay several accounts, also of other sets.\n\n\
        With --to the leg of the held account is added: it pays for all of them. With --debit and --credit all legs are \
        named, the held account's among them.\n\n\
        Examples:\n  twinset hold capture '{shop}:alice' 1-1-8-0 --to '{shop}:bob' 20.00\n  \
        twinset hold capture '{shop}:alice' 1-1-8-0 --to '{shop}:bob' 19.50 --to '{shop}:fees' 0.50 --final\n  \
        twinset hold capture '{shop}:alice' 1-1-8-0 --debit '{shop}:alice:5' --credit '{shop}:bob:5'"
    )]
    Capture(Capture),
    /// Give back what is left of a hold, or a part of it.
    #[command(long_about = "Give back what is left of a hold, which ends it, or a part of it.\n\n\
        Examples:\n  twinset hold release '{shop}:alice' 1-1-8-0\n  \
        twinset hold release '{shop}:alice' 1-1-8-0 --amount 5.00")]
    Release(Release),
    /// Move the end of a hold to a later time, or take it away.
    #[command(
        long_about = "Move the end of a hold to a later time, or take it away. It never moves earlier.\n\n\
        Examples:\n  twinset hold extend '{shop}:alice' 1-1-8-0 --until 2026-12-31T18:00:00Z\n  \
        twinset hold extend '{shop}:alice' 1-1-8-0 --no-end"
    )]
    Extend(Extend),
    /// Show a hold: its figures, how it was placed, what has happened to it.
    #[command(long_about = "Show a hold: its figures, how it was placed, what has happened to it.\n\n\
        Example:\n  twinset hold show '{shop}:alice' 1-1-8-0")]
    Show(Show),
    /// List the holds of an account, in the order in which they were placed.
    #[command(long_about = "List the holds of an account, in the order in which they were placed.\n\n\
        Examples:\n  twinset hold list '{shop}:alice'\n  twinset hold list '{shop}:alice' --state open --json")]
    List(List),
    /// List the overdue holds of all accounts, the longest overdue first.
    #[command(
        long_about = "List the overdue holds of all accounts, the longest overdue first: of all sets, or of one.\n\n\
        An overdue hold waits for its initiator or for a person. Sets that do not answer are named: what is overdue there is \
        not known.\n\n\
        Examples:\n  twinset hold overdue\n  twinset hold overdue --set 2 --page-size 100 --json"
    )]
    Overdue(Overdue),
}

/// Which hold.
#[derive(Debug, Args)]
pub struct Named {
    /// The held account.
    account: String,
    /// SET-INCARNATION-INDEX-OFFSET, as `place` printed it.
    hold: String,
}

/// Arguments of `hold place`.
#[derive(Debug, Args)]
pub struct Place {
    /// The account.
    account: String,
    /// How much, in its currency.
    amount: String,
    /// The time of its end, in UTC: 2026-12-24T18:00:00Z. Default: none.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// At its end this initiator is asked what is to come of it. Default: what is left is given back.
    #[arg(long, value_name = "INITIATOR", requires_all = ["to", "until"])]
    check_back: Option<String>,
    /// The account that is paid if the initiator confirms.
    #[arg(long, value_name = "ACCOUNT", requires = "check_back")]
    to: Option<String>,
    /// The account's currency; another one is refused.
    #[arg(long)]
    currency: Option<String>,
    /// A number that says why.
    #[arg(long)]
    reason: Option<u32>,
    /// Kept with the hold.
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    #[command(flatten)]
    id: RequestId,
}

/// Arguments of `hold capture`.
#[derive(Debug, Args)]
pub struct Capture {
    #[command(flatten)]
    named: Named,
    /// Whom the held account pays, and how much. May be given several times.
    #[arg(long, num_args = 2, value_names = ["ACCOUNT", "AMOUNT"], conflicts_with_all = ["debit", "credit"])]
    to: Vec<String>,
    /// A debit leg, ACCOUNT:AMOUNT.
    #[arg(long, value_name = "LEG", required_unless_present = "to")]
    debit: Vec<String>,
    /// A credit leg, ACCOUNT:AMOUNT.
    #[arg(long, value_name = "LEG", required_unless_present = "to")]
    credit: Vec<String>,
    /// Give the rest of the hold back.
    #[arg(long = "final")]
    last: bool,
    #[command(flatten)]
    details: Details,
}

/// Arguments of `hold release`.
#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    named: Named,
    /// A part. Default: all that is left, which ends the hold.
    #[arg(long)]
    amount: Option<String>,
    #[command(flatten)]
    id: RequestId,
}

/// Arguments of `hold extend`.
#[derive(Debug, Args)]
pub struct Extend {
    #[command(flatten)]
    named: Named,
    /// The new time of its end, in UTC: 2026-12-31T18:00:00Z.
    #[arg(long, value_name = "TIME", required_unless_present = "no_end")]
    until: Option<String>,
    /// From now on it has none.
    #[arg(long, conflicts_with = "until")]
    no_end: bool,
    #[command(flatten)]
    id: RequestId,
}

/// Arguments of `hold show`.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    freshness: Freshness,
}

/// Arguments of `hold list`.
#[derive(Debug, Args)]
#[command(mut_arg("after", |after| after.value_name("HOLD")))]
pub struct List {
    /// The account.
    account: String,
    /// Only those in this state.
    #[arg(long, value_enum)]
    state: Option<State>,
    #[command(flatten)]
    page: Page<100>,
    #[command(flatten)]
    freshness: Freshness,
}

/// Arguments of `hold overdue`.
#[derive(Debug, Args)]
#[command(mut_arg("after", |after| after.value_name("NEXT")))]
pub struct Overdue {
    /// Only of this set.
    #[arg(long)]
    set: Option<u32>,
    #[command(flatten)]
    page: Page<100>,
    #[command(flatten)]
    freshness: Freshness,
}

/// Where a hold is in its life.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum State {
    /// It can be captured.
    Open,
    /// Its time is over, and its initiator has said nothing final yet.
    Overdue,
    /// Captures have ended it.
    Captured,
    /// It was given back.
    Released,
    /// Its time is over.
    Expired,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Overdue => "overdue",
            State::Captured => "captured",
            State::Released => "released",
            State::Expired => "expired",
        }
    }
}

/// Runs `twinset hold ...`.
pub async fn run(command: Hold, context: &Context) -> anyhow::Result<()> {
    let mut router = Router::new(&context.routers()?[0])?;
    match command {
        Hold::Place(place) => {
            let mut body = json!({ "amount": place.amount, "metadata": router::metadata(&place.metadata)? });
            add(&mut body, "expires_at", place.until);
            let check_back = place.check_back.map(|name| json!({ "initiator": name, "to": place.to }));
            add(&mut body, "on_expiry", check_back.map(|terms| json!({ "check_back": terms })));
            add(&mut body, "currency", place.currency);
            add(&mut body, "reason", place.reason);
            let write = Write {
                path: holds(&place.account),
                what: format!("the hold on {}", place.account),
                done: "placed",
            };
            changed(&mut router, &place.account, write, body, place.id, context.json).await
        }
        Hold::Capture(arguments) => capture(&mut router, arguments, context.json).await,
        Hold::Release(Release { named, amount, id }) => {
            let mut body = json!({});
            add(&mut body, "amount", amount);
            let write = Write { path: named.path("/release"), what: named.hold, done: "released" };
            changed(&mut router, &named.account, write, body, id, context.json).await
        }
        Hold::Extend(Extend { named, until, id, .. }) => {
            let body = json!({ "expires_at": until });
            let write = Write { path: named.path("/extend"), what: named.hold, done: "extended" };
            changed(&mut router, &named.account, write, body, id, context.json).await
        }
        Hold::Show(Show { named, freshness }) => {
            let path = named.path(freshness.query());
            let reply = router.read(&path, &format!("{} cannot be read", named.hold)).await?;
            if context.json { out::json(&reply) } else { out::line(&one(&reply["hold"])) }
        }
        Hold::List(arguments) => list(&mut router, arguments, context.json).await,
        Hold::Overdue(arguments) => overdue(&mut router, arguments, context.json).await,
    }
}

impl Named {
    /// The path of the hold, and of something about it.
    fn path(&self, more: &str) -> String {
        format!("{}/{}{more}", holds(&self.account), router::segment(&self.hold))
    }
}

fn holds(account: &str) -> String {
    format!("/v1/accounts/{}/holds", router::segment(account))
}

/// A change of a hold.
struct Write {
    path: String,
    what: String,
    done: &'static str,
}

async fn changed(
    router: &mut Router,
    account: &str,
    Write { path, what, done }: Write,
    mut body: Value,
    id: RequestId,
    json: bool,
) -> anyhow::Result<()> {
    let request_id = id.or_new();
    body["request_id"] = request_id.clone().into();
    let asked = Asked { what: &what, done, id: &request_id, scope: Some(account) };
    let reply = router.write(&path, &body, asked).await?;
    if json {
        return out::json(&reply);
    }
    let again = router::again(&reply);
    let hold = &reply["hold"];
    let end = match hold["expires_at"].as_str() {
        Some(time) => format!(" until {time}"),
        None => String::new(),
    };
    out::line(&format!(
        "{} {done}{again}: {}{end}, {} of {} left; {} available on {account}",
        text(&hold["hold"]),
        text(&hold["state"]),
        text(&hold["left"]),
        text(&hold["amount"]),
        text(&reply["available"])
    ))
}

async fn capture(router: &mut Router, arguments: Capture, json: bool) -> anyhow::Result<()> {
    let Capture { named, to, debit, credit, last, details } = arguments;
    let legs = if to.is_empty() {
        let debits = debit.iter().map(|text| leg(text, "debit"));
        debits.chain(credit.iter().map(|text| leg(text, "credit"))).collect::<anyhow::Result<Vec<_>>>()?
    } else {
        let path = format!("/v1/accounts/{}", router::segment(&named.account));
        let held = router.read(&path, &format!("{} cannot be read", named.account)).await?;
        paying(&named.account, held["account"]["normal_side"] == "debit", &to)?
    };
    let mut body = details.body(legs)?;
    body["final"] = last.into();
    let id = body["request_id"].as_str().unwrap_or_default();
    let what = format!("the capture of {}", named.hold);
    let asked = Asked { what: &what, done: "booked", id, scope: Some(&named.account) };
    let reply = router.write(&named.path("/captures"), &body, asked).await?;
    booked(&reply, json)
}

/// The legs with which an account pays these accounts and amounts. An account that debits raise pays by a credit.
fn paying(account: &str, debits_raise: bool, to: &[String]) -> anyhow::Result<Vec<Value>> {
    let (pays, gets) = if debits_raise { ("credit", "debit") } else { ("debit", "credit") };
    let mut total = Decimal::ZERO;
    let mut legs = Vec::new();
    for pair in to.chunks(2) {
        let [payee, text] = pair else { unreachable!("clap takes two values each time") };
        let wrong = |why: String| {
            error::usage(
                format!("{text} is no amount: {why}"),
                "give it as --to ACCOUNT AMOUNT, for example 10.00",
            )
        };
        let amount = amount::parse(text).map_err(|cause| wrong(cause.to_string()))?;
        total = total.checked_add(amount).ok_or_else(|| wrong("the sum is too large".to_owned()))?;
        legs.push(json!({ "account": payee, "side": gets, "amount": text }));
    }
    legs.insert(0, json!({ "account": account, "side": pays, "amount": total.to_string() }));
    Ok(legs)
}

async fn list(router: &mut Router, arguments: List, json: bool) -> anyhow::Result<()> {
    let List { account, state, page, freshness } = arguments;
    let state = state.map(State::text);
    let path = page.path(&holds(&account), &[("state", state), ("consistency", freshness.consistency())]);
    let reply = router.read(&path, &format!("the holds of {account} cannot be listed")).await?;
    if json {
        return out::json(&reply);
    }
    let fields = ["hold", "state", "amount", "captured", "capturing", "released", "left", "expires_at"];
    out::line(&page::table(&reply["holds"], &fields))?;
    let state = state.map(|state| format!(" --state {state}")).unwrap_or_default();
    page::more(&reply, |next| format!("hold list '{account}'{state} --after {next}"));
    Ok(())
}

async fn overdue(router: &mut Router, arguments: Overdue, json: bool) -> anyhow::Result<()> {
    let Overdue { set, page, freshness } = arguments;
    let number = set.map(|set| set.to_string());
    let (state, consistency) = (Some(State::Overdue.text()), freshness.consistency());
    let parameters = [("state", state), ("set", number.as_deref()), ("consistency", consistency)];
    let reply =
        router.read(&page.path("/v1/holds", &parameters), "the overdue holds cannot be listed").await?;
    if json {
        return out::json(&reply);
    }
    let rows = reply["holds"].as_array().into_iter().flatten().map(shown::overdue);
    out::line(&out::table(&shown::OVERDUE, &rows.collect::<Vec<_>>()))?;
    for set in reply["silent"].as_array().into_iter().flatten() {
        out::say(&format!("set {set} does not answer: what is overdue there is not known"));
    }
    let of = number.map(|set| format!(" --set {set}")).unwrap_or_default();
    page::more(&reply, |next| format!("hold overdue{of} --after {next}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_held_account_pays_for_all() {
        let to = ["{s}:bob", "19.50", "{s}:fees", "0.5"].map(str::to_owned);
        let legs = paying("{s}:alice", false, &to).unwrap();
        let expected = json!([
            { "account": "{s}:alice", "side": "debit", "amount": "20.00" },
            { "account": "{s}:bob", "side": "credit", "amount": "19.50" },
            { "account": "{s}:fees", "side": "credit", "amount": "0.5" },
        ]);
        assert_eq!(Value::from(legs), expected);
        let sides = paying("{s}:cash", true, &to).unwrap();
        assert_eq!((&sides[0]["side"], &sides[2]["side"]), (&json!("credit"), &json!("debit")));
        for bad in ["ten", "1e3", ""] {
            assert!(paying("a", true, &["b".to_owned(), bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
