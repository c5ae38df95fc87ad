//! What follows from what a recovered set and its peers know, pure. What others have booked is booked; what nobody has is given up.

use std::collections::{BTreeMap, BTreeSet};

use twinset_ledger::attempt::{Ballot, Restore, Step, Sum, Vote};
use twinset_ledger::buffer::{BufferStep, ParcelName, SENT_AGAIN_MAX};
use twinset_ledger::{Command, Net, Position, TransactionId};
use twinset_store::{ACKNOWLEDGED, GIVEN, Question};

/// What is known between a set and one of its peers, in statements of `twinset_store::Recollection`.
pub struct Known {
    /// The peer.
    pub peer: u32,
    /// What it says of this set.
    pub theirs: Vec<Command>,
    /// What this set says of it.
    pub ours: Vec<Command>,
}

/// What is to be put into logs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Proposals {
    /// Into the own one.
    pub own: Vec<Command>,
    /// Into those of peers.
    pub peers: BTreeMap<u32, Vec<Command>>,
}

impl Proposals {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.own.len() + self.peers.values().map(Vec::len).sum::<usize>()
    }
}

/// Of what is told.
const TOO_MUCH: &str = "what is told of a stream comes to more than can be counted";

/// How far a stream reaches somewhere, and what was booked of it there.
#[derive(Clone, Debug, Default)]
struct Reach {
    through: u64,
    net: Net,
}

/// What is said of streams: by the set that one comes from, its incarnation, and how it is counted.
#[derive(Default)]
struct Streams {
    reaches: BTreeMap<(u32, u32, Position), Reach>,
    again: BTreeMap<(u32, u32), Vec<ParcelName>>,
}

impl Streams {
    fn of(statements: &[Command]) -> Result<Streams, String> {
        let mut streams = Streams::default();
        for statement in statements {
            match statement {
                Command::BufferStep { by, step: BufferStep::Lost { through, sums, .. } } => {
                    let name = (by.set, by.incarnation, by.position);
                    let reach = streams.reaches.entry(name).or_default();
                    reach.through = reach.through.max(*through);
                    reach.net.add_sums(sums).ok_or(TOO_MUCH)?;
                }
                Command::BufferStep { by, step: BufferStep::SendAgain { parcels, .. } } => {
                    streams.again.entry((by.set, by.incarnation)).or_default().extend(parcels);
                }
                _ => {}
            }
        }
        Ok(streams)
    }

    fn get(&self, set: u32, incarnation: u32, counted: Position) -> Reach {
        self.reaches.get(&(set, incarnation, counted)).cloned().unwrap_or_default()
    }

    /// The incarnations of the streams that come from a set.
    fn from(&self, set: u32) -> BTreeSet<u32> {
        self.reaches
            .keys()
            .filter(|(from, ..)| *from == set)
            .map(|(_, incarnation, _)| *incarnation)
            .collect()
    }
}

/// What the set asks itself about a peer, when that has said what it knows: how many of the set's parcels it has taken in.
pub fn turned(theirs: &[Command], own: u32, peer: u32, ends: Vec<u64>) -> Result<Question, String> {
    let streams = Streams::of(theirs)?;
    let taken = streams.from(own).into_iter();
    let taken = taken.map(|incarnation| (incarnation, streams.get(own, incarnation, ACKNOWLEDGED).through));
    Ok(Question { of: peer, ends, asking: BTreeSet::new(), taken: taken.collect() })
}

/// What follows. `stands`: what the own log says of an attempt, whether it is decided, and whether a part of it is prepared or
/// booked.
pub fn judge(
    own: u32,
    incarnation: u32,
    all: Vec<Known>,
    stands: impl Fn(TransactionId) -> Result<(Option<bool>, bool), String>,
) -> Result<Proposals, String> {
    let mut proposals = Proposals::default();
    let mut held = BTreeMap::<TransactionId, Held>::new();
    for Known { peer, theirs, ours } in all {
        for statement in &theirs {
            let Command::Step { attempt, step } = statement else { continue };
            match step {
                Step::Restore(part) if !stands(*attempt)?.1 => {
                    proposals.own.push(restored(*attempt, part));
                }
                Step::Lost { votes } => {
                    let held = held.entry(*attempt).or_default();
                    held.left_open.extend(votes.iter().flatten().cloned());
                }
                Step::Decide(Ballot::Booked { set, votes }) => {
                    let held = held.entry(*attempt).or_default();
                    held.booked.get_or_insert(*set);
                    held.votes.extend(votes.iter().cloned());
                }
                Step::Decide(Ballot::Votes(votes)) => {
                    let held = held.entry(*attempt).or_default();
                    held.votes.extend(votes.iter().cloned());
                    held.left_open.extend(votes.iter().cloned());
                }
                _ => {}
            }
        }
        let mut to_peer = Vec::new();
        streams(own, peer, incarnation, (&ours, &theirs), (&mut proposals.own, &mut to_peer))
            .map_err(|why| format!("set {peer}: {why}"))?;
        if !to_peer.is_empty() {
            proposals.peers.insert(peer, to_peer);
        }
    }
    for (attempt, held) in held {
        let (decided, asks) = stands(attempt)?;
        if decided.is_some() {
            continue;
        }
        let step = match (held.booked, asks) {
            (Some(set), true) => Step::Decide(Ballot::Booked { set, votes: in_order(held.votes) }),
            (Some(_), false) => Step::Lost { votes: Some(in_order(held.left_open)) },
            (None, false) => Step::Lost { votes: None },
            // Its sets are asked again, as ever.
            (None, true) => continue,
        };
        proposals.own.push(Command::Step { attempt, step });
    }
    Ok(proposals)
}

/// What peers hold of an attempt that this set coordinated.
#[derive(Default)]
struct Held {
    booked: Option<u32>,
    /// What those said who still know it.
    votes: Vec<Vote>,
    /// What those have booked who have, and what those will who are prepared.
    left_open: Vec<Vote>,
}

fn in_order(mut votes: Vec<Vote>) -> Vec<Vote> {
    votes.sort_by_key(|vote| vote.set);
    votes.dedup_by_key(|vote| vote.set);
    votes
}

fn restored(attempt: TransactionId, part: &Restore) -> Command {
    Command::Step { attempt, step: Step::Restore(part.clone()) }
}

/// What follows for the streams between a set and its peer.
fn streams(
    own: u32,
    peer: u32,
    incarnation: u32,
    (ours, theirs): (&[Command], &[Command]),
    (to_own, to_peer): (&mut Vec<Command>, &mut Vec<Command>),
) -> Result<(), String> {
    let (ours, theirs) = (Streams::of(ours)?, Streams::of(theirs)?);
    sent(own, peer, incarnation, (&ours, &theirs), to_own)?;
    again((own, peer), (&ours, &theirs), to_own, to_peer)?;
    again((peer, own), (&theirs, &ours), to_peer, to_own)
}

/// Parcels that the peer has taken in and this set has lost.
fn sent(
    own: u32,
    peer: u32,
    now: u32,
    (ours, theirs): (&Streams, &Streams),
    proposals: &mut Vec<Command>,
) -> Result<(), String> {
    for incarnation in theirs.from(own).into_iter().filter(|incarnation| *incarnation < now) {
        let given = ours.get(own, incarnation, GIVEN);
        let taken = theirs.get(own, incarnation, ACKNOWLEDGED);
        if taken.through > given.through {
            // What was booked there and not here, on the other side.
            let sums = difference(&given.net, &taken.net)?;
            proposals.push(lost(own, incarnation, (peer, taken.through), sums));
        }
    }
    Ok(())
}

/// Parcels that `payer` was told are taken in, and `payee` has lost: they are sent again, if the payer's set has them still.
fn again(
    (payer, payee): (u32, u32),
    (from, to): (&Streams, &Streams),
    at_payer: &mut Vec<Command>,
    at_payee: &mut Vec<Command>,
) -> Result<(), String> {
    for incarnation in from.from(payer) {
        let acknowledged = from.get(payer, incarnation, ACKNOWLEDGED);
        let taken = to.get(payer, incarnation, ACKNOWLEDGED);
        let Some(missing) = acknowledged.through.checked_sub(taken.through).filter(|missing| *missing > 0)
        else {
            continue;
        };
        let mut parcels = from.again.get(&(payer, incarnation)).cloned().unwrap_or_default();
        parcels.sort_by_key(|parcel| (parcel.position, parcel.leg));
        if (parcels.len() as u64) < missing {
            let sums = difference(&acknowledged.net, &taken.net)?;
            at_payee.push(lost(payer, incarnation, (payee, acknowledged.through), sums));
            continue;
        }
        // The last ones first: so a stream grows at its front.
        for parcels in parcels.rchunks(SENT_AGAIN_MAX) {
            let by = TransactionId { set: payer, incarnation, position: parcels[0].position };
            let step = BufferStep::SendAgain { to: payee, parcels: parcels.to_vec() };
            at_payer.push(Command::BufferStep { by, step });
        }
    }
    Ok(())
}

fn lost(set: u32, incarnation: u32, (to, through): (u32, u64), sums: Vec<Sum>) -> Command {
    let by = TransactionId { set, incarnation, position: Position(0) };
    Command::BufferStep { by, step: BufferStep::Lost { to, through, sums } }
}

/// What the first has more than the second.
fn difference(more: &Net, less: &Net) -> Result<Vec<Sum>, String> {
    let mut net = less.clone().turned();
    net.add_all(more).ok_or(TOO_MUCH)?;
    Ok(net.sums())
}

#[cfg(test)]
mod tests {
    use twinset_ledger::{Label, Leg, Side};

    use super::*;

    const OWN: u32 = 1;
    const PEER: u32 = 2;
    const NOW: u32 = 2;

    fn id(set: u32, index: u64) -> TransactionId {
        TransactionId { set, incarnation: 1, position: Position::new(index, 0) }
    }

    fn sum(debits: i128, credits: i128) -> Sum {
        Sum { currency: "EUR".to_owned(), scale: 2, debits, credits }
    }

    fn vote(set: u32, sums: Vec<Sum>) -> Vote {
        Vote { set, said: Ok(sums) }
    }

    fn step(attempt: TransactionId, step: Step) -> Command {
        Command::Step { attempt, step }
    }

    fn stream(from: u32, to: u32, counted: Position, through: u64, sums: Vec<Sum>) -> Command {
        let by = TransactionId { position: counted, ..id(from, 0) };
        Command::BufferStep { by, step: BufferStep::Lost { to, through, sums } }
    }

    fn known(theirs: Vec<Command>, ours: Vec<Command>) -> Vec<Known> {
        vec![Known { peer: PEER, theirs, ours }]
    }

    /// Nothing stands in the own log.
    fn nothing(_: TransactionId) -> Result<(Option<bool>, bool), String> {
        Ok((None, false))
    }

    fn judged(all: Vec<Known>) -> Proposals {
        judge(OWN, NOW, all, nothing).unwrap()
    }

    #[test]
    fn what_another_has_booked_is_booked_and_what_nobody_has_is_given_up() {
        let (booked, asked) = (id(OWN, 9), id(OWN, 10));
        let gross = vec![sum(5, 700)];
        let theirs = vec![
            step(booked, Step::Lost { votes: Some(vec![vote(PEER, vec![sum(0, 695)])]) }),
            step(booked, Step::Decide(Ballot::Booked { set: PEER, votes: vec![vote(PEER, gross.clone())] })),
            step(asked, Step::Lost { votes: None }),
        ];
        let mut all = known(theirs, Vec::new());
        // A third set has only prepared, and will book when it hears of it; a fourth one has nothing to do with it any more.
        let prepared = vote(3, vec![sum(40, 0)]);
        let of_third = [
            step(booked, Step::Lost { votes: None }),
            step(booked, Step::Decide(Ballot::Votes(vec![prepared.clone()]))),
        ];
        all.push(Known { peer: 3, theirs: of_third.to_vec(), ours: Vec::new() });
        all.push(Known { peer: 4, theirs: vec![step(booked, Step::Lost { votes: None })], ours: Vec::new() });
        let both = [
            step(booked, Step::Lost { votes: Some(vec![vote(PEER, vec![sum(0, 695)]), prepared]) }),
            step(asked, Step::Lost { votes: None }),
        ];
        assert_eq!(judged(all), Proposals { own: both.to_vec(), ..Proposals::default() });

        // If its beginning still stands, it decides; what nobody has booked is asked again.
        let theirs = vec![
            step(booked, Step::Lost { votes: Some(vec![vote(PEER, vec![sum(0, 695)])]) }),
            step(booked, Step::Decide(Ballot::Booked { set: PEER, votes: vec![vote(PEER, gross.clone())] })),
            step(asked, Step::Lost { votes: None }),
        ];
        let open = |_| Ok((None, true));
        let decided =
            step(booked, Step::Decide(Ballot::Booked { set: PEER, votes: vec![vote(PEER, gross)] }));
        let proposals = judge(OWN, NOW, known(theirs.clone(), Vec::new()), open).unwrap();
        assert_eq!(proposals, Proposals { own: vec![decided], ..Proposals::default() });
        let ended = |_| Ok((Some(true), false));
        assert_eq!(judge(OWN, NOW, known(theirs, Vec::new()), ended).unwrap().count(), 0);
    }

    #[test]
    fn a_lost_part_is_booked_unless_it_is_there() {
        let legs = vec![Leg::new("a", Side::Debit, 1.into())];
        let label = Label::default();
        let part = Restore { legs, sums: None, accounting_date: 7, reverses: None, label };
        let restore = step(id(PEER, 4), Step::Restore(part));
        let proposals = judged(known(vec![restore.clone()], Vec::new()));
        assert_eq!(proposals.own, std::slice::from_ref(&restore));
        let there = |_| Ok((None, true));
        assert_eq!(judge(OWN, NOW, known(vec![restore], Vec::new()), there).unwrap().count(), 0);
    }

    #[test]
    fn parcels_that_only_the_payee_knows_are_booked_as_what_they_come_to() {
        // It knows of three that came to 60; five were taken in, which came to 100.
        let ours = vec![
            stream(OWN, PEER, ACKNOWLEDGED, 2, vec![sum(0, 30)]),
            stream(OWN, PEER, GIVEN, 3, vec![sum(0, 60)]),
        ];
        let theirs = |first: i128, more: i128| {
            // Told in two parts.
            vec![
                stream(OWN, PEER, ACKNOWLEDGED, 5, vec![sum(0, first)]),
                stream(OWN, PEER, ACKNOWLEDGED, 5, vec![sum(0, more)]),
            ]
        };
        let proposals = judged(known(theirs(70, 30), ours.clone()));
        assert_eq!(proposals.own, [stream(OWN, PEER, ACKNOWLEDGED, 5, vec![sum(40, 0)])]);
        // Of the present incarnation nothing is lost.
        assert_eq!(judge(OWN, 1, known(theirs(70, 30), ours), nothing).unwrap().count(), 0);
    }

    #[test]
    fn parcels_that_the_payee_has_lost_are_sent_again_by_whoever_has_them() {
        let name = |index| ParcelName { position: Position::new(index, 0), leg: 1 };
        let again = |set, parcels: &[ParcelName]| {
            let step =
                BufferStep::SendAgain { to: if set == OWN { PEER } else { OWN }, parcels: parcels.to_vec() };
            Command::BufferStep { by: TransactionId { position: parcels[0].position, ..id(set, 0) }, step }
        };
        let theirs = vec![
            stream(PEER, OWN, ACKNOWLEDGED, 4, vec![sum(0, 90)]),
            again(PEER, &[name(8)]),
            again(PEER, &[name(9), name(11)]),
        ];
        let ours = vec![stream(PEER, OWN, ACKNOWLEDGED, 1, vec![sum(0, 10)])];
        let proposals = judged(known(theirs.clone(), ours.clone()));
        let all = [name(8), name(9), name(11)];
        let peers = BTreeMap::from([(PEER, vec![again(PEER, &all)])]);
        assert_eq!(proposals, Proposals { own: Vec::new(), peers });

        // The peer has lost one of them as well: nobody can send it.
        let proposals = judged(known(theirs[..2].to_vec(), ours));
        assert_eq!(proposals.own, [stream(PEER, OWN, ACKNOWLEDGED, 4, vec![sum(0, 80)])]);
        // The other way round it is the peer that has lost them.
        let ours = vec![stream(OWN, PEER, ACKNOWLEDGED, 1, vec![sum(0, 10)]), again(OWN, &[name(3)])];
        let proposals = judged(known(Vec::new(), ours));
        assert_eq!(proposals, Proposals { own: vec![again(OWN, &[name(3)])], ..Proposals::default() });
    }

    #[test]
    fn many_parcels_go_back_the_last_first() {
        let count = SENT_AGAIN_MAX as u64 + 1;
        let parcels = (1..=count).map(|index| ParcelName { position: Position::new(index, 0), leg: 0 });
        let parcels: Vec<ParcelName> = parcels.collect();
        let step = BufferStep::SendAgain { to: PEER, parcels: parcels.clone() };
        let ours = vec![
            stream(OWN, PEER, ACKNOWLEDGED, count, Vec::new()),
            Command::BufferStep { by: id(OWN, 0), step },
        ];
        let proposals = judged(known(Vec::new(), ours));
        let firsts = proposals.own.iter().map(|command| match command {
            Command::BufferStep { step: BufferStep::SendAgain { parcels, .. }, .. } => parcels[0],
            other => panic!("{other:?}"),
        });
        assert_eq!(firsts.collect::<Vec<_>>(), [parcels[1], parcels[0]]);
    }

    #[test]
    fn a_set_asks_itself_by_what_its_peer_has_taken_in() {
        let theirs =
            [stream(OWN, PEER, ACKNOWLEDGED, 5, Vec::new()), stream(PEER, OWN, GIVEN, 9, Vec::new())];
        let question = turned(&theirs, OWN, PEER, vec![4]).unwrap();
        assert_eq!((question.of, question.ends), (PEER, vec![4]));
        assert_eq!(question.taken, BTreeMap::from([(1, 5)]));
    }
}
