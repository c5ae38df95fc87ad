//! The figures of a replica, for `verify`.

use std::collections::BTreeMap;

use twinset_proto::cluster::v1 as wire;
use twinset_store::{Between, Outbound, Read, Share, Sums, Totals};

/// The figures on the wire.
pub fn reply(set: u32, replica: u64, read: Read<Totals>) -> wire::VerifyReply {
    let Read { index, value: totals, .. } = read;
    let mut findings = Vec::new();
    for (currency, (debits, credits)) in &totals.currencies {
        if debits != credits {
            findings.push(format!("{currency}: debits {debits} differ from credits {credits}"));
        }
    }
    let Between { shares, outgoing: sent, incoming: taken } = totals.between;
    wire::VerifyReply {
        set,
        replica,
        applied_index: index,
        running_hash: hex(&totals.running_hash),
        state_hash: hex(&totals.state_hash),
        totals: currency_totals(&totals.currencies),
        clearing: currency_totals(&totals.clearing),
        attempts: totals.attempts,
        parcels: totals.parcels,
        accounts: totals.accounts,
        transactions: totals.transactions,
        findings,
        shares: shares.iter().map(share).collect(),
        outgoing: sent.iter().map(outgoing).collect(),
        incoming: incoming(&taken),
    }
}

fn share(Share { attempt, decided, clearing }: &Share) -> wire::OpenShare {
    wire::OpenShare { attempt: attempt.to_string(), decided: *decided, clearing: currency_totals(clearing) }
}

fn outgoing((to, Outbound { streams, clearing }): (&u32, &Outbound)) -> wire::Outgoing {
    let stream = |(incarnation, (acknowledged, last)): (&u32, &(u64, u64))| wire::OutgoingStream {
        incarnation: *incarnation,
        acknowledged: *acknowledged,
        last: *last,
    };
    let streams = streams.iter().map(stream).collect();
    wire::Outgoing { to: *to, streams, clearing: currency_totals(clearing) }
}

fn incoming(taken: &BTreeMap<(u32, u32), u64>) -> Vec<wire::Incoming> {
    let one = |((from, incarnation), taken): (&(u32, u32), &u64)| wire::Incoming {
        from: *from,
        incarnation: *incarnation,
        taken: *taken,
    };
    taken.iter().map(one).collect()
}

fn currency_totals(sums: &Sums) -> Vec<wire::CurrencyTotal> {
    let total = |(currency, (debits, credits)): (&String, &(i128, i128))| wire::CurrencyTotal {
        currency: currency.clone(),
        debits: debits.to_string(),
        credits: credits.to_string(),
    };
    sums.iter().map(total).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
