//! What may enter the log of a set. An entry that cannot be applied would stop every replica, and a command of another
//! set's account would be answered by the wrong books; so the proposer asks here, just before it packs an entry. A client's
//! transaction over several sets becomes the beginning of an attempt here: only the catalogue knows where accounts live.

use bytes::Bytes;
use twinset_control::{Catalogue, Set};
use twinset_ledger::{Begin, Command, Step, Transaction, TransactionId, codec, slot_of};
use twinset_proto::cluster::v1::RefusalReason as Reason;

/// Who asks for something to enter the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A router, for a client.
    Client,
    /// The leader of another set, which coordinates an attempt.
    Set {
        /// Its number.
        set: u32,
        /// Its incarnation, as that leader knows it.
        incarnation: u32,
    },
    /// This set's own leader.
    Own,
}

/// How a client's command enters the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entering {
    /// As it is, and its entry decides it.
    AsItIs,
    /// As it is; it takes back a transaction, and if that is one over several sets, it goes on after its entry.
    Reversal,
    /// As the beginning of an attempt, which goes on after its entry.
    Begin(Bytes),
}

/// Why it may not.
pub type Refused = (Reason, String);

/// Checks a client's encoded command: nothing malformed, nothing that only nodes may say, nothing of another set.
pub fn check(command: &[u8], set: &Set, catalogue: &Catalogue) -> Result<Entering, Refused> {
    let command = codec::decode_command(command).map_err(malformed)?;
    match command {
        Command::MarkDurability { .. } => {
            return Err(malformed("only nodes mark the durability state"));
        }
        Command::Begin(_) | Command::Step { .. } => {
            return Err(malformed("only nodes take transactions over several sets a step on"));
        }
        _ => {}
    }
    command.validate().map_err(malformed)?;
    if let Command::Reversal(reversal) = &command
        && reversal.transaction.set != set.id
    {
        let detail = format!("transaction {} is not of set {}", reversal.transaction, set.id);
        return Err((Reason::WrongSet, detail));
    }
    let foreign = command.accounts().find(|account| !set.owns(slot_of(account))).map(str::to_owned);
    match (command, foreign) {
        (Command::Reversal(_), None) => Ok(Entering::Reversal),
        (_, None) => Ok(Entering::AsItIs),
        (Command::Transaction(transaction), Some(_)) => {
            begin(transaction, set, catalogue).map(Entering::Begin)
        }
        (_, Some(foreign)) => Err(foreign_account(&foreign, set)),
    }
}

/// Checks a step that another set's leader asks for, and gives it: of an attempt that its set coordinates, and with legs of
/// this one.
pub fn check_step(
    command: &[u8],
    (from, incarnation): (u32, u32),
    set: &Set,
    catalogue: &Catalogue,
) -> Result<Step, Refused> {
    let known = catalogue.sets.get(&from).map(|set| set.incarnation);
    if known != Some(incarnation) {
        let detail = format!("wrong incarnation {incarnation} of set {from}: here it is {known:?}");
        return Err((Reason::NotHosted, detail));
    }
    let command = codec::decode_command(command).map_err(malformed)?;
    command.validate().map_err(malformed)?;
    let Command::Step { attempt, step } = command else {
        return Err(malformed("a set asks another for steps of attempts alone"));
    };
    let TransactionId { set: coordinator, incarnation: begun, .. } = attempt;
    if coordinator != from || begun > incarnation {
        return Err(malformed(format!("attempt {attempt} is not one of set {from}")));
    }
    match &step {
        Step::Prepare { legs, .. } => match legs.iter().find(|leg| !set.owns(slot_of(&leg.account))) {
            Some(leg) => Err(foreign_account(&leg.account, set)),
            None => Ok(step),
        },
        Step::Commit | Step::Abort => Ok(step),
        Step::Decide(_) | Step::Settle { .. } => Err(malformed("only the coordinator itself decides")),
    }
}

/// The beginning of an attempt in place of a transaction with accounts of other sets, if this set coordinates it.
fn begin(transaction: Transaction, set: &Set, catalogue: &Catalogue) -> Result<Bytes, Refused> {
    let set_of = |account: &str| {
        let of = catalogue.set_of_slot(slot_of(account));
        of.map(|set| set.id).ok_or_else(|| (Reason::WrongSet, format!("account {account} is of no set")))
    };
    let sets = transaction.legs.iter().map(|leg| set_of(&leg.account)).collect::<Result<_, _>>()?;
    let begin = Begin { transaction, sets };
    if begin.coordinator() != set.id {
        let detail = format!("set {} coordinates it, not set {}", begin.coordinator(), set.id);
        return Err((Reason::WrongSet, detail));
    }
    let begin = Command::Begin(begin);
    begin.validate().map_err(malformed)?;
    let mut bytes = Vec::with_capacity(256);
    codec::encode_command(&begin, &mut bytes);
    Ok(bytes.into())
}

fn malformed(detail: impl ToString) -> Refused {
    (Reason::Malformed, detail.to_string())
}

fn foreign_account(account: &str, set: &Set) -> Refused {
    (Reason::WrongSet, format!("account {account} is not of set {}", set.id))
}

const _: () = assert!(twinset_control::SLOTS == twinset_ledger::SLOTS, "both hash to the same slots");

#[cfg(test)]
mod tests {
    use twinset_control::Topology;
    use twinset_ledger::codec::encode_command;
    use twinset_ledger::command::{Metadata, Reversal};
    use twinset_ledger::{Durability, Leg, Position, Side};

    use super::*;

    const OWN: u32 = 1;
    const OTHER: u32 = 2;

    fn catalogue() -> Catalogue {
        let topology: Topology = toml::from_str(include_str!("../../deploy/examples/topology.toml")).unwrap();
        topology.place("cluster").unwrap()
    }

    fn encoded(command: &Command) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_command(command, &mut bytes);
        bytes
    }

    fn checked(command: &Command) -> Result<Entering, Refused> {
        let catalogue = catalogue();
        check(&encoded(command), &catalogue.sets[&OWN], &catalogue)
    }

    fn account_of(set: u32, tag: &str) -> String {
        let set = &catalogue().sets[&set];
        let mut ids = (0..).map(|n| format!("{tag}-{n}"));
        ids.find(|id| set.owns(slot_of(id))).unwrap()
    }

    fn close(account: String) -> Command {
        Command::CloseAccount { request_id: "close".to_owned(), account }
    }

    fn reverse(set: u32) -> Command {
        Command::Reversal(Reversal {
            request_id: "reverse".to_owned(),
            transaction: attempt_of(set),
            amount: None,
            reason: 0,
            metadata: Metadata::new(),
        })
    }

    fn attempt_of(set: u32) -> TransactionId {
        TransactionId { set, incarnation: 1, position: Position::new(7, 0) }
    }

    fn leg(account: &str, side: Side) -> Leg {
        Leg { account: account.to_owned(), side, amount: 1.into(), currency: None }
    }

    fn pay(from: &str, to: &str) -> Transaction {
        Transaction {
            request_id: "pay".to_owned(),
            legs: vec![leg(from, Side::Debit), leg(to, Side::Credit)],
            ..Transaction::default()
        }
    }

    #[test]
    fn only_well_formed_commands_of_the_set_pass() {
        let (own, foreign) = (account_of(OWN, "a"), account_of(OTHER, "b"));
        assert_eq!(checked(&close(own.clone())), Ok(Entering::AsItIs));
        assert_eq!(checked(&reverse(OWN)), Ok(Entering::Reversal));
        assert_eq!(checked(&Command::Transaction(pay(&own, &account_of(OWN, "c")))), Ok(Entering::AsItIs));
        let mark = Command::MarkDurability { durability: Durability::Degraded };
        let step = Command::Step { attempt: attempt_of(OWN), step: Step::Commit };
        let begin = Command::Begin(Begin { transaction: pay(&own, &foreign), sets: vec![OWN, OTHER] });
        assert_eq!(begin.validate(), Ok(()), "it is not for its form that it is refused");
        let currency = Command::DefineCurrency { code: "EUR".to_owned(), scale: u8::MAX };
        for (command, reason, part) in [
            (close(foreign.clone()), Reason::WrongSet, "is not of set"),
            (reverse(OTHER), Reason::WrongSet, "is not of set"),
            (mark, Reason::Malformed, "only nodes"),
            (begin, Reason::Malformed, "only nodes"),
            (step, Reason::Malformed, "only nodes"),
            (currency, Reason::Malformed, ""),
            (Command::Transaction(pay(&foreign, &own)), Reason::WrongSet, "set 2 coordinates it"),
        ] {
            let (found, detail) = checked(&command).unwrap_err();
            assert!(found == reason && detail.contains(part), "{command:?}: {found:?}, {detail}");
        }
        let catalogue = catalogue();
        assert_eq!(check(b"", &catalogue.sets[&OWN], &catalogue).unwrap_err().0, Reason::Malformed);
    }

    #[test]
    fn a_transaction_over_several_sets_begins_where_its_scope_account_lives() {
        let transaction = pay(&account_of(OWN, "a"), &account_of(OTHER, "b"));
        let begin = Command::Begin(Begin { transaction: transaction.clone(), sets: vec![OWN, OTHER] });
        let entering = Entering::Begin(encoded(&begin).into());
        assert_eq!(checked(&Command::Transaction(transaction.clone())), Ok(entering));
        let one = leg(&account_of(OWN, "a"), Side::Debit);
        let many = Transaction { legs: vec![one; 64], ..transaction.clone() };
        let legs = many.legs.into_iter().chain([leg(&account_of(OTHER, "b"), Side::Credit)]).collect();
        let (reason, _) = checked(&Command::Transaction(Transaction { legs, ..transaction })).unwrap_err();
        assert_eq!(reason, Reason::Malformed, "more legs than an attempt may have");
    }

    #[test]
    fn a_set_asks_for_steps_of_its_own_attempts_alone() {
        let catalogue = catalogue();
        let asked =
            |command: Command, from| check_step(&encoded(&command), from, &catalogue.sets[&OWN], &catalogue);
        let step = |of, step| Command::Step { attempt: attempt_of(of), step };
        let prepare =
            |account: &str| Step::Prepare { legs: vec![leg(account, Side::Credit)], accounting_date: 20_000 };
        let (own, foreign) = (account_of(OWN, "a"), account_of(OTHER, "b"));
        for sound in [prepare(&own), Step::Commit, Step::Abort] {
            assert_eq!(asked(step(OTHER, sound.clone()), (OTHER, 1)), Ok(sound));
        }
        let give_up = Step::Decide(twinset_ledger::attempt::Ballot::GivenUp { set: OWN });
        for (command, from, reason, part) in [
            (step(OTHER, Step::Commit), (OTHER, 2), Reason::NotHosted, "wrong incarnation 2 of set 2"),
            (step(OTHER, Step::Commit), (9, 1), Reason::NotHosted, "wrong incarnation 1 of set 9"),
            (step(OWN, Step::Commit), (OTHER, 1), Reason::Malformed, "is not one of set 2"),
            (step(OTHER, prepare(&foreign)), (OTHER, 1), Reason::WrongSet, "is not of set 1"),
            (step(OTHER, give_up), (OTHER, 1), Reason::Malformed, "only the coordinator"),
            (close(own), (OTHER, 1), Reason::Malformed, "steps of attempts alone"),
        ] {
            let (found, detail) = asked(command.clone(), from).unwrap_err();
            assert!(found == reason && detail.contains(part), "{command:?}: {found:?}, {detail}");
        }
    }
}
