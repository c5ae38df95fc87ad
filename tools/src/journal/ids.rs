//! Names of a journal as identifiers of the ledger: tag, account ids, currency codes, request ids. The same journal
//! always gives the same identifiers. What a name loses on the way is kept in the account's metadata by
//! [`super::notes`].

use twinset_ledger::chart::{SCALE_MAX, built_in_scale};
use twinset_ledger::id::{ID_BYTES_MAX, is_valid};

/// Bytes of a tag at most: the rest of an id is left to the account's name.
pub const TAG_BYTES_MAX: usize = 20;
/// Scales of commodities that no standard gives one; the smallest that fits is taken.
const SCALES: [u8; 3] = [4, 8, SCALE_MAX];

/// Whether `tag` can stand between the braces of account ids.
pub fn is_tag(tag: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=TAG_BYTES_MAX).contains(&tag.len()) && tag.bytes().all(fits)
}

/// What every account id of the journal begins with: the tag in braces keeps them all in one set.
pub fn prefix(tag: &str) -> String {
    format!("{{{tag}}}:")
}

/// The account that stands for the journal as a whole: it keeps what belongs to no single account.
pub fn journal_account(tag: &str) -> String {
    format!("{{{tag}}}:journal")
}

/// The account for one commodity of a journal's account. Names that do not fit the ledger's alphabet or length are
/// shortened and end in a digest of the whole name.
pub fn account(tag: &str, account: &str, commodity: &str) -> String {
    let plain = format!("{{{tag}}}:{account}:{commodity}");
    let braces = account.contains(['{', '}']) || commodity.contains(['{', '}', ':']);
    if is_valid(&plain) && !braces {
        return plain;
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    let name: String =
        format!("{account}:{commodity}").chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let digest = format!("{:016x}", fnv1a(format!("{account} {commodity}").as_bytes()));
    let room = ID_BYTES_MAX - prefix(tag).len() - digest.len() - 1;
    format!("{}{}.{digest}", prefix(tag), &name[..name.len().min(room)])
}

/// The currency for a commodity whose amounts have up to `decimals` places, with its scale; None if no scale is
/// enough. The plain code has the usual scale; where that is too small the code names the scale, so that journals
/// with different needs never disagree about a code.
pub fn currency(commodity: &str, decimals: u8) -> Option<(String, u8)> {
    let usual = built_in_scale(commodity).unwrap_or(SCALES[0]);
    let scale = std::iter::once(usual).chain(SCALES).find(|scale| decimals <= *scale)?;
    let code = code(commodity);
    Some(if scale == usual { (code, scale) } else { (format!("{code}.{scale}"), scale) })
}

fn code(commodity: &str) -> String {
    // Room for the scale behind it.
    if is_valid(commodity) && commodity.len() <= 32 && !commodity.contains(['{', '}', ':']) {
        return commodity.to_owned();
    }
    let fits = |c: &char| c.is_ascii_alphanumeric();
    let name: String = commodity.chars().filter(fits).take(24).collect();
    format!("{name}.{:016x}", fnv1a(commodity.as_bytes()))
}

/// The request id of the journal's `nth` transaction.
pub fn transaction_request(tag: &str, nth: usize) -> String {
    format!("{tag}.t{nth:07}")
}

/// Which transaction of the journal a request id stands for.
pub fn transaction_number(tag: &str, request_id: &str) -> Option<usize> {
    request_id.strip_prefix(tag)?.strip_prefix(".t")?.parse().ok()
}

/// FNV-1a, 64 bits: tells apart what is different by accident, not by malice.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_and_others_are_shortened_stably() {
        assert_eq!(account("ex", "Assets:US:BofA:Checking", "USD"), "{ex}:Assets:US:BofA:Checking:USD");
        let long = "Expenses:A-very-long-name-that-goes-on:And-on:And-on-until-it-does-not-fit";
        let id = account("ex", long, "USD");
        assert!(is_valid(&id) && id.starts_with("{ex}:Expenses:A-very"), "{id}");
        assert_eq!(id, account("ex", long, "USD"));
        assert_ne!(id, account("ex", long, "EUR"));
        let widest = "t".repeat(TAG_BYTES_MAX);
        assert!(is_valid(&account(&widest, "Assets:Bär:Öl", "A'B")));
        assert_ne!(account("ex", "Assets:Bär", "USD"), account("ex", "Assets:Bör", "USD"));
    }

    #[test]
    fn the_scale_is_the_usual_or_named() {
        assert_eq!(currency("USD", 1), Some(("USD".into(), 2)));
        assert_eq!(currency("USD", 3), Some(("USD.4".into(), 4)));
        assert_eq!(currency("JPY", 0), Some(("JPY".into(), 0)));
        assert_eq!(currency("ITOT", 3), Some(("ITOT".into(), 4)));
        assert_eq!(currency("BTC", 8), Some(("BTC.8".into(), 8)));
        assert_eq!(currency("BTC", 13), None);
        assert!(is_valid(&currency("/ESH21'X", 9).unwrap().0));
    }

    #[test]
    fn request_ids_count_transactions() {
        assert_eq!(transaction_request("ex", 12), "ex.t0000012");
        assert_eq!(transaction_number("ex", "ex.t0000012"), Some(12));
        assert_eq!(transaction_number("ex", "other"), None);
    }
}
