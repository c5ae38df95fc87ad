//! A set under test, kept twice: once with every transaction in short form where there is one, once with everything
//! in general form. Both must agree at every step; whoever drives it sees one ledger.

use twinset_ledger::codec::{
    Entry, EntryBuilder, Record, decode_attempts, decode_command, decode_hold, decode_outcome,
    decode_restriction, encode_attempts, encode_command, encode_hold, encode_outcome, encode_restriction,
    shorten,
};
use twinset_ledger::hold::{Ended, Hold, HoldChange};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::restriction::Restriction;
use twinset_ledger::{AccountNo, Command, Outcome, RULES_VERSION, Rejection, State};

/// The set's number where there is one.
#[allow(dead_code, reason = "some tests have several sets")]
pub const SET: u32 = 1;
/// The set's incarnation, unless it is raised.
pub const INCARNATION: u32 = 1;

/// A ledger in both forms.
#[derive(Clone)]
pub struct Books {
    /// Fed with short forms.
    pub short: MemoryState,
    general: MemoryState,
    /// Of the entries to come.
    pub incarnation: u32,
    /// Every entry in short form, to be replayed.
    #[allow(dead_code, reason = "not every test replays")]
    pub entries: Vec<Vec<u8>>,
}

impl Books {
    /// An empty set.
    #[allow(dead_code, reason = "some tests have several sets")]
    pub fn new() -> Self {
        Books::of(SET)
    }

    /// An empty set of that number.
    pub fn of(set: u32) -> Self {
        let empty = MemoryState::new(set);
        Books { short: empty.clone(), general: empty, incarnation: INCARNATION, entries: Vec::new() }
    }

    /// The index of the next entry, from 1.
    pub fn next_index(&self) -> u64 {
        self.entries.len() as u64 + 1
    }

    /// Applies the commands as one entry, both ways, and checks what must always hold.
    pub fn apply(&mut self, time_unix_ns: u64, commands: &[Command]) -> Vec<Outcome> {
        let index = self.next_index();
        let mut short = EntryBuilder::new(RULES_VERSION, self.incarnation, time_unix_ns);
        let mut general = EntryBuilder::new(RULES_VERSION, self.incarnation, time_unix_ns);
        for command in commands {
            command.validate().expect("tests apply valid commands");
            let mut bytes = Vec::new();
            encode_command(command, &mut bytes);
            assert_eq!(decode_command(&bytes).as_ref(), Ok(command));
            general.push_command_bytes(&bytes);
            match shorten(&bytes, &self.short) {
                Some(form) => short.push_short(&form),
                None => short.push_command_bytes(&bytes),
            }
        }
        let (short, general) = (short.finish(), general.finish());
        let outcomes = self.short.apply(index, &short).expect("the entry applies");
        let others = self.general.apply(index, &general).expect("the entry applies");
        assert_eq!(outcomes, others, "short and general forms agree");
        self.entries.push(short);
        outcomes.iter().for_each(check_bytes);
        self.check();
        outcomes
    }

    /// How many records of all entries are in short form.
    #[allow(dead_code, reason = "not every test counts")]
    pub fn short_records(&self) -> usize {
        let entries = self.entries.iter().map(|bytes| Entry::parse(bytes).expect("it was applied"));
        entries.flat_map(|entry| entry.records()).filter(|record| matches!(record, Record::Short(_))).count()
    }

    /// Both forms agree, debits equal credits per currency, and the accounts' figures follow from their postings and from
    /// the attempts, holds and restrictions that are open.
    fn check(&self) {
        assert!(self.short.accounts().eq(self.general.accounts()), "short and general forms agree");
        for (currency, (debits, credits)) in self.short.totals() {
            assert_eq!(debits, credits, "{currency} is conserved");
        }
        for (no, account) in (0..).zip(self.short.accounts()) {
            let postings = self.short.postings(no);
            assert_eq!(postings, self.general.postings(no), "short and general forms agree");
            assert_eq!(postings.iter().map(|posting| posting.delta).sum::<i128>(), account.posted());
            assert_eq!(postings.len() as u64, account.version);
            assert!(postings.is_sorted_by_key(|posting| posting.position));
            let figures = (account.held, account.incoming, account.prepared);
            assert_eq!(figures, self.set_aside(no), "{} has set aside what is open", account.id);
            let own = self.short.restrictions().iter().filter(|restriction| restriction.account == no);
            assert_eq!(account.restricted, own.map(|restriction| restriction.left).sum::<i128>());
        }
        assert_eq!(self.short.attempts(), self.general.attempts(), "short and general forms agree");
        assert_eq!(self.short.holds(), self.general.holds(), "short and general forms agree");
        self.short.holds().iter().for_each(check_hold);
        assert_eq!(self.short.restrictions(), self.general.restrictions(), "short and general forms agree");
        self.short.restrictions().iter().for_each(check_restriction);
        let mut bytes = Vec::new();
        encode_attempts(self.short.attempts(), &mut bytes);
        assert_eq!(decode_attempts(&bytes).as_ref(), Ok(self.short.attempts()));
        assert_eq!(self.short.last_time(), self.general.last_time());
    }
}

impl Books {
    /// What holds and open attempts say that an account has held, incoming and prepared.
    fn set_aside(&self, no: AccountNo) -> (i128, i128, i128) {
        let account = self.short.account(no);
        let (mut held, mut incoming, mut prepared) = (0, 0, 0);
        for (_, attempt) in self.short.attempts().iter() {
            let mut net = 0;
            for leg in attempt.reserved.iter().filter(|leg| leg.no == no) {
                net += if account.is_inflow(leg.side) { leg.amount } else { -leg.amount };
                prepared += leg.amount;
            }
            *(if net < 0 { &mut held } else { &mut incoming }) += net.abs();
        }
        let holds = self.short.holds().iter().filter(|hold| hold.account == no && hold.ended.is_none());
        (held + holds.map(Hold::left).sum::<i128>(), incoming, prepared)
    }
}

/// A hold's figures follow from its journal, and it comes back from its bytes.
fn check_hold(hold: &Hold) {
    let (mut captured, mut released, mut expired) = (0, 0, false);
    for event in &hold.journal {
        match event.change {
            HoldChange::Captured { amount, .. } => captured += amount,
            HoldChange::Released { amount } => released += amount,
            HoldChange::Expired { amount } => (released, expired) = (released + amount, true),
            HoldChange::Extended { .. } | HoldChange::CheckedBack { .. } => {}
        }
    }
    assert_eq!((hold.captured, hold.released), (captured, released), "{} is what its journal says", hold.id);
    assert_eq!(hold.ended == Some(Ended::Expired), expired);
    assert!(hold.left() >= 0 && hold.capturing >= 0 && (hold.ended.is_none() || hold.left() == 0));
    let mut bytes = Vec::new();
    encode_hold(hold, &mut bytes);
    assert_eq!(decode_hold(&bytes).as_ref(), Ok(hold));
}

/// It has ended when nothing is left, and comes back from its bytes.
fn check_restriction(restriction: &Restriction) {
    assert!((0..=restriction.amount).contains(&restriction.left), "{restriction:?}");
    assert_eq!(restriction.left == 0, restriction.ended.is_some(), "{restriction:?}");
    let mut bytes = Vec::new();
    encode_restriction(restriction, &mut bytes);
    assert_eq!(decode_restriction(&bytes).as_ref(), Ok(restriction));
}

fn check_bytes(outcome: &Outcome) {
    let mut bytes = Vec::new();
    encode_outcome(outcome, &mut bytes);
    assert_eq!(decode_outcome(&bytes).as_ref(), Ok(outcome));
    assert_eq!(outcome.result.as_ref().err().is_some_and(|r| !Rejection::is_remembered(r)), {
        !outcome.is_remembered() && !outcome.replayed
    });
}
