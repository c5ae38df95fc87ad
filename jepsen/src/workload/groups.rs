//! Groups of accounts: payers of all sets pay into them, some of them several groups and accounts at once, their parts
//! pay out and to each other, payments are taken back, parts are frozen, and the groups are read as one balance while
//! all that happens.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use twinset_control::groups::{Group as Definition, Side};
use twinset_ledger::slot_of;

use super::ground::Shelf;
use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::event::EURO;
use crate::history::groups::PREFIX;
use crate::history::marks::Mark;
use crate::history::{Answer, Ask, Mode, Recorder, Transfer};

/// What `--workload` names it by.
pub const NAME: &str = "groups";
/// Payments that may still be taken back.
const RECENT: usize = 24;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "payers of all sets pay into groups of accounts, which are read as one balance while their parts pay out",
    plots: &[Plot::free("pay", 3), Plot::floored("purse", 2, 0)],
    make: |ground| {
        Box::new(Groups { ground: ground.clone(), paid: ground.shelf_grouped.clone(), last: None })
    },
};

/// A group, and how many parts it has in each set; none: one in all.
const ALL: [(&str, Option<usize>); 2] = [("pot", Some(2)), ("tin", None)];

/// Accounts under one id.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its number among the accounts.
    pub group: u32,
    /// Its parts, with their sets.
    pub parts: Vec<(u32, u32)>,
    /// The floor of each.
    pub limit: Option<i64>,
}

impl Group {
    /// All groups that clients use, over the sets that own `slots`.
    pub fn all(recorder: &Recorder, slots: &[u32]) -> Vec<Group> {
        let mut of_set: BTreeMap<u32, usize> = slots.iter().map(|set| (*set, 0)).collect();
        let mut make = |(name, each): (&str, Option<usize>)| {
            of_set.values_mut().for_each(|count| *count = 0);
            let id = format!("{PREFIX}{name}");
            let (wanted, mut parts) = (each.map_or(1, |each| each * of_set.len()), Vec::new());
            for number in 1.. {
                if parts.len() == wanted {
                    break;
                }
                let part = format!("{id}.{number}");
                let set = slots[usize::from(slot_of(&part))];
                let count = of_set.get_mut(&set).expect("a set owns the slot");
                if each.is_none_or(|each| *count < each) {
                    *count += 1;
                    parts.push((recorder.account(&part), set));
                }
            }
            Group { group: recorder.account(&id), parts, limit: each.map(|_| 0) }
        };
        ALL.map(&mut make).into()
    }

    /// As the control set has it.
    pub fn definition(&self, recorder: &Recorder) -> Definition {
        Definition {
            id: recorder.account_id(self.group).to_string(),
            currency: EURO.to_owned(),
            normal_side: Side::Credit,
            parts: self.parts.iter().map(|(part, _)| recorder.account_id(*part).to_string()).collect(),
        }
    }

    /// The subject of its parts.
    pub const SUBJECT: &str = "liability";

    /// What opens its parts.
    pub fn opens(&self) -> impl Iterator<Item = Ask> {
        self.parts.iter().map(|(part, _)| Ask::Open {
            id: "open".into(),
            account: *part,
            subject: Group::SUBJECT.into(),
            currency: EURO.into(),
            limit: self.limit,
        })
    }

    /// The part that a request means whose payer lives in `set`: one there, if there is one. Every router has to come
    /// to the same.
    fn part(&self, set: u32, request_id: &str) -> u32 {
        let near: Vec<u32> =
            self.parts.iter().filter(|(_, own)| *own == set).map(|(part, _)| *part).collect();
        let all = || self.parts.iter().map(|(part, _)| *part).collect();
        let among: Vec<u32> = if near.is_empty() { all() } else { near };
        among[(hash(request_id) % among.len() as u64) as usize]
    }
}

/// FNV-1a of 64 bits, its upper half laid over the lower one.
fn hash(text: &str) -> u64 {
    let mut hash: u64 = 14_695_981_039_346_656_037;
    for byte in text.as_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211);
    }
    hash ^ hash >> 32
}

struct Groups {
    ground: Arc<Ground>,
    /// Shared by all clients, so that they race.
    paid: Shelf,
    /// What was asked for last.
    last: Option<Transfer>,
}

impl Generate for Groups {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        let group = self.group(hand);
        let part = hand.pick(&group.parts).0;
        match hand.random.below(100) {
            0..50 => self.pay(set, hand),
            50..58 => self.pay_out(part, hand),
            58..61 => self.pay_across(hand),
            61..81 => Ask::ReadGroup { group: group.group, level: hand.level(25) },
            81..87 => Ask::ReadAccount { account: part, level: hand.level(30) },
            87..92 => self.reverse(hand).unwrap_or_else(|| self.pay(set, hand)),
            92..95 => {
                let (mode, on) = (hand.pick(&[Mode::Credit, Mode::Both, Mode::Debit]), hand.chance(30));
                Ask::Freeze { id: hand.id(), account: part, mode, on }
            }
            95..98 => match self.last.clone() {
                Some(last) => {
                    let scope = hand.pick(&last.legs).0;
                    Ask::ReadRequest { scope, id: last.id, level: hand.level(20) }
                }
                None => self.pay(set, hand),
            },
            _ => match self.recent(hand) {
                Some((transaction, _)) => Ask::ReadTransaction { transaction, level: hand.level(30) },
                None => self.pay(set, hand),
            },
        }
    }

    fn heard(&mut self, ask: &Ask, answer: &Answer) {
        if let (Ask::Transfer(transfer), Answer::Booked { transaction, .. }) = (ask, answer)
            && transfer.groups().next().is_some()
        {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            paid.push_back((*transaction, transfer.legs[0].1.abs()));
            if paid.len() > RECENT {
                paid.pop_front();
            }
        }
    }
}

impl Groups {
    fn group(&self, hand: &mut Hand) -> &Group {
        let at = if hand.chance(75) { 0 } else { 1 };
        &self.ground.groups()[at]
    }

    /// The newest most often: others want them, too.
    fn recent(&self, hand: &mut Hand) -> Option<(crate::history::Name, i64)> {
        let back = hand.random.below(RECENT).min(hand.random.below(RECENT));
        let paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        paid.len().checked_sub(1 + back).and_then(|at| paid.get(at).copied())
    }

    /// Somebody pays into a group, now and then into both, or beside another account.
    fn pay(&mut self, set: u32, hand: &mut Hand) -> Ask {
        let id = hand.id();
        let plot = if hand.chance(30) { "purse" } else { "pay" };
        let payer = hand.pick(self.ground.plot(NAME, plot, set));
        let (group, cents) = (self.group(hand).clone(), hand.cents(400));
        let mut legs = vec![(payer, cents), (group.part(set, &id), -cents)];
        let mut marks = vec![(1, Mark::Group { group: group.group })];
        let mut scope = hand.chance(20).then_some(payer);
        match hand.random.below(100) {
            0..6 => {
                let other = self.ground.groups().iter().find(|other| other.group != group.group);
                if let Some(other) = other {
                    let more = hand.cents(100);
                    legs[0].1 += more;
                    legs.push((other.part(set, &id), -more));
                    marks.push((2, Mark::Group { group: other.group }));
                }
            }
            6..14 => {
                // Who pays beside it lives anywhere; the one that is named decides.
                let more = hand.cents(100);
                let to = hand.pick(self.ground.sets());
                let other = hand.pick(self.ground.plot(NAME, "purse", to));
                if other != payer {
                    legs[1].1 += more.min(cents - 1);
                    legs.push((other, -more.min(cents - 1)));
                    legs.retain(|(_, cents)| *cents != 0);
                    scope = Some(payer);
                }
            }
            _ => {}
        }
        let transfer = Transfer { id, scope, label: hand.label(), capture: None, marks, legs };
        self.last = Some(transfer.clone());
        Ask::Transfer(transfer)
    }

    /// Money leaves by a part.
    fn pay_out(&self, part: u32, hand: &mut Hand) -> Ask {
        let set = self.ground.set_of(part);
        let to = if hand.chance(30) { hand.pick(self.ground.sets()) } else { set };
        let (purse, cents) = (hand.pick(self.ground.plot(NAME, "purse", to)), hand.cents(1_200));
        let legs = vec![(part, cents), (purse, -cents)];
        Ask::Transfer(Transfer {
            id: hand.id(),
            scope: None,
            label: hand.label(),
            capture: None,
            marks: vec![],
            legs,
        })
    }

    /// From one part to another, by their names.
    fn pay_across(&self, hand: &mut Hand) -> Ask {
        let parts: Vec<u32> = self.ground.groups()[0].parts.iter().map(|(part, _)| *part).collect();
        let (from, to) = hand.pair(&parts);
        let cents = hand.cents(300);
        let legs = vec![(from, cents), (to, -cents)];
        Ask::Transfer(Transfer {
            id: hand.id(),
            scope: None,
            label: None,
            capture: None,
            marks: vec![],
            legs,
        })
    }

    fn reverse(&self, hand: &mut Hand) -> Option<Ask> {
        let (transaction, cents) = self.recent(hand)?;
        let part = hand.chance(50).then(|| hand.cents(cents.max(1) as usize));
        Some(Ask::Reverse { id: hand.id(), transaction, cents: part, parts: vec![] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Meta;

    #[test]
    fn a_part_of_the_payers_set_is_meant_and_a_request_means_one_part_for_ever() {
        let recorder = Recorder::in_memory(Meta::default());
        let slots: Vec<u32> = (0..4096).map(|slot| 1 + slot / 2048).collect();
        let [pot, tin] = &Group::all(&recorder, &slots)[..] else { panic!("there are two") };
        assert_eq!((pot.parts.len(), tin.parts.len()), (4, 1));
        for set in [1, 2] {
            let parts: std::collections::BTreeSet<u32> =
                (0..100).map(|n| pot.part(set, &format!("r{n}"))).collect();
            let own = pot.parts.iter().filter(|(_, own)| *own == set).map(|(part, _)| *part);
            assert_eq!(parts, own.collect());
            assert_eq!(tin.part(set, "r"), tin.parts[0].0);
        }
        // The numbers that the routers' own test has.
        let told = [("", 0xcbf2_9ce4_4fd0_bfc1), ("order-4711", 0xe1e9_ab68_1c33_a255)];
        assert!(told.iter().all(|(id, number)| hash(id) == *number));
    }
}
