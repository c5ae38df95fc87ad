//! What may enter the log of a set. An entry that cannot be applied would stop every replica, and a command of another
//! set's account would be answered by the wrong books; so the proposer asks here, just before it packs an entry. A client's
//! transaction over several sets becomes the beginning of an attempt here: only the catalogue knows where accounts live.

use bytes::Bytes;
use twinset_control::{Catalogue, Set};
use twinset_ledger::check_back::OnExpiry;
use twinset_ledger::hold::PlaceHold;
use twinset_ledger::{Begin, BufferStep, Command, Step, Transaction, codec, slot_of};
use twinset_proto::cluster::v1::RefusalReason as Reason;

use crate::check_back::Initiators;
use crate::reconciliation::UNRECONCILED;

/// How a client's command enters the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entering {
    /// As it is, and its entry decides it.
    AsItIs,
    /// The same; it is a transaction within this set.
    Transaction,
    /// The same; the next ones, so many, are an atomic batch.
    Together(u16),
    /// As it is; it takes back a transaction, and if that is one over several sets, it goes on after its entry.
    Reversal,
    /// As the beginning of an attempt, which goes on after its entry, unless nobody need be asked.
    Begin {
        /// What it is.
        begin: Box<Begin>,
        /// The same in its form for the log.
        encoded: Bytes,
    },
}

/// Why it may not.
pub type Refused = (Reason, String);

/// Checks a client's encoded command: nothing malformed, nothing that only nodes may say, nothing of another set.
pub fn check(
    command: &[u8],
    set: &Set,
    catalogue: &Catalogue,
    initiators: &Initiators,
) -> Result<Entering, Refused> {
    let command = codec::decode_command(command).map_err(malformed)?;
    match &command {
        Command::MarkDurability { .. } => {
            return Err(malformed("only nodes mark the durability state"));
        }
        Command::DefineGroup { .. } => return Err(malformed("only operators keep ids for groups")),
        Command::ExpireHold { .. } => return Err(malformed("only nodes put holds away")),
        Command::BufferStep { .. } => return Err(malformed("only nodes say what is buffered")),
        Command::ExpireRestriction { .. } => return Err(malformed("only nodes put restrictions away")),
        Command::EndRun { .. } => return Err(malformed("only nodes say how a sweep's run has ended")),
        Command::CheckedBack(_) => return Err(malformed("only nodes ask about overdue holds")),
        Command::PlaceHold(PlaceHold { on_expiry: OnExpiry::CheckBack(terms), .. })
            if initiators.get(&terms.initiator).is_none() =>
        {
            return Err(malformed(format!("no initiator {} is configured", terms.initiator)));
        }
        Command::Begin(_) | Command::Step { .. } => {
            return Err(malformed("only nodes take transactions over several sets a step on"));
        }
        _ => {}
    }
    command.validate_of_client().map_err(malformed)?;
    if let Command::Reversal(reversal) = &command
        && reversal.transaction.set != set.id
    {
        let detail = format!("transaction {} is not of set {}", reversal.transaction, set.id);
        return Err((Reason::WrongSet, detail));
    }
    if let Command::ResolveSuspense { item, account, .. } = &command {
        if item.set != set.id {
            return Err((Reason::WrongSet, format!("{item} is not of set {}", set.id)));
        }
        if !set.owns(slot_of(account)) {
            return Err(foreign_account(account, set));
        }
    }
    let foreign = command.accounts().find(|account| !set.owns(slot_of(account))).map(str::to_owned);
    match (command, foreign) {
        (Command::Reversal(_), None) => Ok(Entering::Reversal),
        (Command::Transaction(_), None) => Ok(Entering::Transaction),
        (Command::Together { count }, None) => Ok(Entering::Together(count)),
        (_, None) => Ok(Entering::AsItIs),
        (Command::Transaction(transaction), Some(_)) => begin(transaction, set, catalogue),
        (_, Some(foreign)) => Err(foreign_account(&foreign, set)),
    }
}

/// An atomic batch is all of what is asked for at once, and within one set. `entering` is how each of its commands enters the
/// log; None: in short form, as transactions within the set do.
pub fn check_together<'a>(
    entering: impl ExactSizeIterator<Item = Option<&'a Entering>>,
) -> Result<(), Refused> {
    let following = entering.len().saturating_sub(1);
    let mut together = false;
    for (at, entering) in entering.enumerate() {
        match entering {
            Some(Entering::Together(count)) if at == 0 && usize::from(*count) == following => together = true,
            Some(Entering::Together(_)) => {
                return Err(malformed("an atomic batch is announced in front of all of it"));
            }
            None | Some(Entering::Transaction) => {}
            Some(Entering::Begin { .. }) if together => {
                return Err(malformed("an atomic batch stays within one set"));
            }
            Some(_) if together => return Err(malformed("an atomic batch has transactions alone")),
            Some(_) => {}
        }
    }
    Ok(())
}

/// Checks a step that another set's leader asks for, and gives it: of an attempt that its set coordinates, and with legs of
/// this one; or of what its set has paid, or says of its own accounts.
pub fn check_step(
    command: &[u8],
    (from, incarnation): (u32, u32),
    set: &Set,
    catalogue: &Catalogue,
) -> Result<Command, Refused> {
    let known = catalogue.sets.get(&from).map(|set| set.incarnation);
    if known != Some(incarnation) {
        let detail = format!("wrong incarnation {incarnation} of set {from}: here it is {known:?}");
        return Err((Reason::NotHosted, detail));
    }
    let command = codec::decode_command(command).map_err(malformed)?;
    command.validate().map_err(malformed)?;
    // A set that has lost what it had taken in asks for it once more, by its sender's name.
    if let Command::BufferStep { by, step: BufferStep::SendAgain { to, .. } } = &command
        && (by.set, *to) == (set.id, from)
        && was_recovered(catalogue, from)
    {
        return Ok(command);
    }
    let (Command::Step { attempt: named, .. } | Command::BufferStep { by: named, .. }) = &command else {
        return Err(malformed("a set asks another for steps of attempts alone"));
    };
    if named.set != from || named.incarnation > incarnation {
        return Err(malformed(format!("attempt {named} is not one of set {from}")));
    }
    match &command {
        // Its accounts may be about to change by what it has lost.
        Command::Step { step: Step::Prepare { .. }, .. } if set.is_unreconciled() => {
            Err((Reason::NotLeader, UNRECONCILED.to_owned()))
        }
        Command::Step { step: Step::Prepare { legs, .. }, .. } => {
            match legs.iter().find(|leg| !set.owns(slot_of(&leg.account))) {
                Some(leg) => Err(foreign_account(&leg.account, set)),
                None => Ok(command),
            }
        }
        Command::Step { step: Step::Restore(part), .. } if was_recovered(catalogue, set.id) => {
            match part.legs.iter().find(|leg| !set.owns(slot_of(&leg.account))) {
                Some(leg) => Err(foreign_account(&leg.account, set)),
                None => Ok(command),
            }
        }
        // What its stream has more than is known here, of what both have lost.
        Command::BufferStep { step: BufferStep::Lost { to, .. }, .. }
            if *to == set.id && was_recovered(catalogue, set.id) =>
        {
            Ok(command)
        }
        Command::Step { step: Step::Commit | Step::Abort, .. } => Ok(command),
        // A credit is taken in wherever its account is: what cannot be booked goes to the suspense account.
        Command::BufferStep {
            step: BufferStep::Announce(_) | BufferStep::Withdraw(_) | BufferStep::Credit(_),
            ..
        } => Ok(command),
        Command::BufferStep { .. } => Err(malformed("only a set itself says what has come to its end there")),
        _ => Err(malformed("only the coordinator itself decides")),
    }
}

/// Whether a set has ever gone on without the end of its log, perhaps: nothing else is to be restored.
fn was_recovered(catalogue: &Catalogue, set: u32) -> bool {
    catalogue.sets.get(&set).is_some_and(|set| set.recovered.is_some())
}

/// The beginning of an attempt in place of a transaction with accounts of other sets, if this set coordinates it.
fn begin(transaction: Transaction, set: &Set, catalogue: &Catalogue) -> Result<Entering, Refused> {
    let begin = beginning(transaction, catalogue)?;
    if begin.coordinator() != set.id {
        let detail = format!("set {} coordinates it, not set {}", begin.coordinator(), set.id);
        return Err((Reason::WrongSet, detail));
    }
    let mut bytes = Vec::with_capacity(256);
    codec::encode_command(&Command::Begin(begin.clone()), &mut bytes);
    Ok(Entering::Begin { begin: Box::new(begin), encoded: bytes.into() })
}

/// The same, whoever coordinates it.
pub fn beginning(transaction: Transaction, catalogue: &Catalogue) -> Result<Begin, Refused> {
    let set_of = |account: &str| {
        let of = catalogue.set_of_slot(slot_of(account));
        of.map(|set| set.id).ok_or_else(|| (Reason::WrongSet, format!("account {account} is of no set")))
    };
    let sets = transaction.legs.iter().map(|leg| set_of(&leg.account)).collect::<Result<_, _>>()?;
    let begin = Command::Begin(Begin { transaction, sets });
    begin.validate().map_err(malformed)?;
    let Command::Begin(begin) = begin else { unreachable!("it was just made") };
    Ok(begin)
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
    use twinset_ledger::buffer::Announcement;
    use twinset_ledger::codec::encode_command;
    use twinset_ledger::command::{Metadata, Reversal};
    use twinset_ledger::{Durability, Label, Leg, Position, Side, TransactionId};

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
        check(&encoded(command), &catalogue.sets[&OWN], &catalogue, &Initiators::default())
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
            legs: None,
            reason: 0,
            metadata: Metadata::new(),
        })
    }

    fn attempt_of(set: u32) -> TransactionId {
        TransactionId { set, incarnation: 1, position: Position::new(7, 0) }
    }

    fn leg(account: &str, side: Side) -> Leg {
        Leg::new(account, side, 1.into())
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
        assert_eq!(
            checked(&Command::Transaction(pay(&own, &account_of(OWN, "c")))),
            Ok(Entering::Transaction)
        );
        assert_eq!(checked(&Command::Together { count: 7 }), Ok(Entering::Together(7)));
        let expire = Command::ExpireHold { hold: attempt_of(OWN) };
        assert_eq!(checked(&expire).unwrap_err().0, Reason::Malformed);
        let expire = Command::ExpireRestriction { account: own.clone(), restriction: attempt_of(OWN) };
        assert_eq!(checked(&expire).unwrap_err().0, Reason::Malformed);
        let mark = Command::MarkDurability { durability: Durability::Degraded };
        let step = Command::Step { attempt: attempt_of(OWN), step: Step::Commit };
        let begin = Command::Begin(Begin { transaction: pay(&own, &foreign), sets: vec![OWN, OTHER] });
        assert_eq!(begin.validate(), Ok(()), "it is not for its form that it is refused");
        let currency = Command::DefineCurrency { code: "EUR".to_owned(), scale: u8::MAX };
        let run =
            Transaction { request_id: "~sweep-1-1-5-0-1".to_owned(), ..pay(&own, &account_of(OWN, "c")) };
        for (command, reason, part) in [
            (close(foreign.clone()), Reason::WrongSet, "is not of set"),
            (reverse(OTHER), Reason::WrongSet, "is not of set"),
            (mark, Reason::Malformed, "only nodes"),
            (begin, Reason::Malformed, "only nodes"),
            (step, Reason::Malformed, "only nodes"),
            (currency, Reason::Malformed, ""),
            (Command::Transaction(run), Reason::Malformed, "request id"),
            (Command::Transaction(pay(&foreign, &own)), Reason::WrongSet, "set 2 coordinates it"),
        ] {
            let (found, detail) = checked(&command).unwrap_err();
            assert!(found == reason && detail.contains(part), "{command:?}: {found:?}, {detail}");
        }
        let catalogue = catalogue();
        assert_eq!(
            check(b"", &catalogue.sets[&OWN], &catalogue, &Initiators::default()).unwrap_err().0,
            Reason::Malformed
        );
    }

    #[test]
    fn an_atomic_batch_is_all_of_what_is_asked_for() {
        let begin = Begin { transaction: pay("a", "b"), sets: vec![OWN, OTHER] };
        let begin = Entering::Begin { begin: begin.into(), encoded: Bytes::new() };
        let together = Entering::Together;
        let checked = |all: &[Option<Entering>]| check_together(all.iter().map(Option::as_ref));
        let transaction = || Some(Entering::Transaction);
        for sound in [
            vec![Some(together(2)), transaction(), None],
            vec![transaction(), None, Some(begin.clone()), Some(Entering::Reversal), Some(Entering::AsItIs)],
            vec![],
        ] {
            assert_eq!(checked(&sound), Ok(()), "{sound:?}");
        }
        for (unsound, part) in [
            (vec![Some(together(1)), transaction(), None], "in front of all"),
            (vec![Some(together(3)), transaction(), None], "in front of all"),
            (vec![None, Some(together(1)), None], "in front of all"),
            (vec![Some(together(2)), Some(together(1)), None], "in front of all"),
            (vec![Some(together(2)), Some(begin), None], "within one set"),
            (vec![Some(together(1)), Some(Entering::Reversal)], "transactions alone"),
            (vec![Some(together(1)), Some(Entering::AsItIs)], "transactions alone"),
        ] {
            let (reason, detail) = checked(&unsound).unwrap_err();
            assert!(reason == Reason::Malformed && detail.contains(part), "{unsound:?}: {detail}");
        }
    }

    #[test]
    fn a_transaction_over_several_sets_begins_where_its_scope_account_lives() {
        let transaction = pay(&account_of(OWN, "a"), &account_of(OTHER, "b"));
        let begin = Begin { transaction: transaction.clone(), sets: vec![OWN, OTHER] };
        let bytes = encoded(&Command::Begin(begin.clone())).into();
        let entering = Entering::Begin { begin: begin.into(), encoded: bytes };
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
        let prepare = |account: &str| Step::Prepare {
            legs: vec![leg(account, Side::Credit)],
            accounting_date: 20_000,
            reverses: None,
            label: Label::default(),
        };
        let (own, foreign) = (account_of(OWN, "a"), account_of(OTHER, "b"));
        for sound in [prepare(&own), Step::Commit, Step::Abort] {
            assert_eq!(asked(step(OTHER, sound.clone()), (OTHER, 1)), Ok(step(OTHER, sound)));
        }
        let give_up = Step::Decide(twinset_ledger::attempt::Ballot::GivenUp { set: OWN });
        let say = |of, step| Command::BufferStep { by: attempt_of(of), step };
        let announcement = Announcement {
            account: foreign.clone(),
            currency: "EUR".to_owned(),
            scale: 2,
            normal_side: Side::Credit,
        };
        let announce = BufferStep::Announce(announcement);
        assert_eq!(asked(say(OTHER, announce.clone()), (OTHER, 1)), Ok(say(OTHER, announce.clone())));
        let acknowledge = BufferStep::Acknowledge { to: OWN, through: 1 };
        for (command, from, reason, part) in [
            (step(OTHER, Step::Commit), (OTHER, 2), Reason::NotHosted, "wrong incarnation 2 of set 2"),
            (step(OTHER, Step::Commit), (9, 1), Reason::NotHosted, "wrong incarnation 1 of set 9"),
            (step(OWN, Step::Commit), (OTHER, 1), Reason::Malformed, "is not one of set 2"),
            (step(OTHER, prepare(&foreign)), (OTHER, 1), Reason::WrongSet, "is not of set 1"),
            (step(OTHER, give_up), (OTHER, 1), Reason::Malformed, "only the coordinator"),
            (close(own), (OTHER, 1), Reason::Malformed, "steps of attempts alone"),
            (say(OWN, announce.clone()), (OTHER, 1), Reason::Malformed, "is not one of set 2"),
            (say(OTHER, announce), (OTHER, 2), Reason::NotHosted, "wrong incarnation 2 of set 2"),
            (say(OTHER, acknowledge), (OTHER, 1), Reason::Malformed, "only a set itself"),
        ] {
            let (found, detail) = asked(command.clone(), from).unwrap_err();
            assert!(found == reason && detail.contains(part), "{command:?}: {found:?}, {detail}");
        }
    }
}
