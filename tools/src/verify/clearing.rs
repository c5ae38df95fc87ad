//! Whether the clearing accounts of all sets show what is open between them, and nothing else: what one set has booked of a
//! transaction over several sets, or sent to a buffered account, and another has not booked yet. Pure.

use std::collections::{BTreeMap, BTreeSet};

use twinset_proto::cluster::v1::{Outgoing, VerifyReply};

use super::{CLEARING, Line, Sums};

/// What one replica of each set says.
pub(super) type Replies<'a> = BTreeMap<u32, &'a VerifyReply>;

/// The verdict on it. The sets are read one after the other, so under traffic it may be that nothing can be told.
pub(super) fn judge(replies: &Replies<'_>) -> Line {
    let mut sums = Sums::default();
    // Why what is open is not known.
    let mut untold = Vec::new();
    let decided: BTreeSet<&str> = replies
        .values()
        .flat_map(|reply| &reply.shares)
        .filter(|share| share.decided)
        .map(|share| share.attempt.as_str())
        .collect();
    for (set, reply) in replies {
        sums.add(&reply.clearing);
        if reply.shares.len() as u64 != reply.attempts {
            untold.push(format!("set {set} tells {} of its {} parts", reply.shares.len(), reply.attempts));
        }
        for share in reply.shares.iter().filter(|share| decided.contains(share.attempt.as_str())) {
            sums.add(&share.clearing);
        }
        let told = reply.outgoing.iter().flat_map(|outgoing| &outgoing.streams);
        let told: u64 = told.map(|stream| stream.last.saturating_sub(stream.acknowledged)).sum();
        if told != reply.parcels {
            untold.push(format!("set {set} tells {told} of its {} credits", reply.parcels));
        }
        for outgoing in &reply.outgoing {
            match taken(replies, *set, outgoing) {
                Taken::All => {}
                Taken::Nothing => sums.add(&outgoing.clearing),
                Taken::Some => {
                    untold.push(format!("set {} is taking in credits of set {set}", outgoing.to));
                }
            }
        }
    }
    let off = sums.off();
    let open = open(replies);
    let detail = match (open, untold.is_empty(), off.is_empty()) {
        (None, true, true) => "nothing is open between sets".to_owned(),
        (None, true, false) => {
            format!("the sets' clearing accounts do not sum to zero in {}", off.join(", "))
        }
        (Some(open), true, true) => format!("{open}; the clearing accounts show just that"),
        (Some(open), true, false) => {
            format!("{open}; the clearing accounts show something else in {}", off.join(", "))
        }
        (open, false, _) => {
            let open = open.unwrap_or_default();
            format!("{open}; what the clearing accounts should show is not known: {}", untold.join(", "))
        }
    };
    Line { subject: CLEARING.to_owned(), clean: untold.is_empty() && off.is_empty(), detail }
}

/// How much of what a set has not heard of again is taken in where it went.
enum Taken {
    All,
    Nothing,
    /// Or it cannot be said, because one of the two was read too early.
    Some,
}

fn taken(replies: &Replies<'_>, from: u32, outgoing: &Outgoing) -> Taken {
    let taken = |incarnation: u32| {
        let incoming = replies.get(&outgoing.to).map_or(&[][..], |reply| &reply.incoming);
        let known = incoming.iter().find(|one| (one.from, one.incarnation) == (from, incarnation));
        known.map_or(0, |known| known.taken)
    };
    let streams = || outgoing.streams.iter().map(|stream| (stream, taken(stream.incarnation)));
    if streams().all(|(stream, taken)| taken == stream.acknowledged) {
        Taken::Nothing
    } else if streams().all(|(stream, taken)| taken == stream.last) {
        Taken::All
    } else {
        Taken::Some
    }
}

/// What is open, in words.
fn open(replies: &Replies<'_>) -> Option<String> {
    let sum = |of: fn(&VerifyReply) -> u64| replies.values().map(|reply| of(reply)).sum::<u64>();
    match (sum(|reply| reply.attempts), sum(|reply| reply.parcels)) {
        (0, 0) => None,
        (parts, 0) => Some(format!("{parts} parts of transactions over several sets are under way")),
        (0, credits) => Some(format!("{credits} credits are on their way to buffered accounts")),
        (parts, credits) => Some(format!(
            "{parts} parts of transactions over several sets are under way, and {credits} credits to buffered accounts"
        )),
    }
}

#[cfg(test)]
mod tests {
    use twinset_proto::cluster::v1::{CurrencyTotal, Incoming, OpenShare, OutgoingStream};

    use super::*;

    fn usd(debits: &str, credits: &str) -> Vec<CurrencyTotal> {
        vec![CurrencyTotal { currency: "USD".into(), debits: debits.into(), credits: credits.into() }]
    }

    fn set(debits: &str, credits: &str) -> VerifyReply {
        VerifyReply { clearing: usd(debits, credits), ..VerifyReply::default() }
    }

    /// An attempt of the first set, as this one has it open.
    fn with_share(
        mut reply: VerifyReply,
        no: u64,
        decided: bool,
        clearing: Vec<CurrencyTotal>,
    ) -> VerifyReply {
        reply.shares.push(OpenShare { attempt: format!("1-1-{no}-0"), decided, clearing });
        reply.attempts += 1;
        reply
    }

    /// Credits numbered from `acknowledged` + 1 to `last`, to the second set.
    fn sending(
        mut reply: VerifyReply,
        (acknowledged, last): (u64, u64),
        clearing: Vec<CurrencyTotal>,
    ) -> VerifyReply {
        let streams = vec![OutgoingStream { incarnation: 1, acknowledged, last }];
        reply.outgoing.push(Outgoing { to: 2, streams, clearing });
        reply.parcels += last - acknowledged;
        reply
    }

    fn having_taken(mut reply: VerifyReply, taken: u64) -> VerifyReply {
        reply.incoming.push(Incoming { from: 1, incarnation: 1, taken });
        reply
    }

    fn judged(replies: [VerifyReply; 2]) -> (bool, String) {
        let line = judge(&(1..).zip(&replies).collect());
        (line.clean, line.detail)
    }

    #[test]
    fn with_nothing_under_way_they_sum_to_zero() {
        assert!(judged([set("2", "1"), set("1", "2")]).0);
        let (clean, detail) = judged([set("2", "1"), set("1", "1")]);
        assert!(!clean && detail.contains("do not sum to zero in USD"), "{detail}");
    }

    #[test]
    fn they_show_what_one_set_has_booked_and_another_has_not() {
        let decided = || with_share(set("0", "7"), 5, true, Vec::new());
        let (clean, detail) = judged([decided(), with_share(set("0", "0"), 5, false, usd("7", "0"))]);
        assert!(clean && detail.starts_with("2 parts") && detail.ends_with("just that"), "{detail}");
        // Booked there, and the coordinator has not heard so.
        assert!(judged([decided(), set("7", "0")]).0);
        // Nobody has decided it.
        let asked = || with_share(set("0", "0"), 5, false, Vec::new());
        assert!(judged([asked(), with_share(set("0", "0"), 5, false, usd("7", "0"))]).0);
    }

    #[test]
    fn what_is_open_hides_nothing_else() {
        let decided = || with_share(set("0", "7"), 5, true, Vec::new());
        for (sets, words) in [
            // Another attempt is open, or the same one, for another amount.
            ([decided(), with_share(set("0", "0"), 6, false, usd("7", "0"))], "something else in USD"),
            ([decided(), with_share(set("0", "0"), 5, false, usd("6", "0"))], "something else in USD"),
            // It is not decided, and is booked all the same.
            ([with_share(set("0", "7"), 5, false, Vec::new()), set("0", "0")], "something else in USD"),
            // Of many attempts one is not told.
            (
                [decided(), VerifyReply { attempts: 1, ..set("7", "0") }],
                "not known: set 2 tells 0 of its 1 parts",
            ),
        ] {
            let (clean, detail) = judged(sets);
            assert!(!clean && detail.contains(words), "{detail}");
        }
    }

    #[test]
    fn they_show_the_credits_that_are_on_their_way() {
        let sent = || sending(set("0", "9"), (4, 6), usd("5", "0"));
        let (clean, detail) = judged([sent(), having_taken(set("4", "0"), 4)]);
        assert!(clean && detail.starts_with("2 credits"), "{detail}");
        // Taken in, and the sender has not heard so.
        assert!(judged([sent(), having_taken(set("9", "0"), 6)]).0);
        for (taken, debits, words) in [
            (4, "9", "something else in USD"),
            (6, "4", "something else in USD"),
            (5, "7", "set 2 is taking in credits of set 1"),
            (7, "9", "set 2 is taking in credits of set 1"),
        ] {
            let (clean, detail) = judged([sent(), having_taken(set(debits, "0"), taken)]);
            assert!(!clean && detail.contains(words), "{detail}");
        }
        let (clean, detail) = judged([VerifyReply { parcels: 3, ..set("0", "0") }, set("0", "0")]);
        assert!(!clean && detail.contains("set 1 tells 0 of its 3 credits"), "{detail}");
    }
}
