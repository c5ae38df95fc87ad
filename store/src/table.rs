//! The tables of a store. Numbers and names never change their meaning.

/// A table: a column family of the database. All sets share it; every key begins with a generation or a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Table {
    /// Raft log records, kept for ever: they are the ledger's lasting record.
    Log = 1,
    /// Votes and log pointers.
    Raft = 2,
    /// Identity, generations, replica records, blobs, documents, set states.
    Meta = 3,
    /// Accounts.
    Account = 4,
    /// Where request ids were decided.
    Request = 5,
    /// Chunks of postings.
    Posting = 6,
    /// Outcomes of entries.
    Outcome = 7,
    /// Reversals.
    Link = 8,
    /// Holds.
    Hold = 9,
    /// Restrictions.
    Restriction = 10,
    /// Journals of documents.
    Journal = 11,
    /// Which transactions have a reference of the client's own.
    Reference = 12,
}

impl Table {
    pub(crate) const ALL: [Table; 12] = [
        Table::Log,
        Table::Raft,
        Table::Meta,
        Table::Account,
        Table::Request,
        Table::Posting,
        Table::Outcome,
        Table::Link,
        Table::Hold,
        Table::Restriction,
        Table::Journal,
        Table::Reference,
    ];
    /// The tables that hold a replica's state and log, by generation; snapshots of ledgers carry them in this order.
    /// A ledger has no journal.
    pub(crate) const OF_REPLICA: [Table; 10] = [
        Table::Account,
        Table::Request,
        Table::Posting,
        Table::Outcome,
        Table::Link,
        Table::Hold,
        Table::Restriction,
        Table::Journal,
        Table::Reference,
        Table::Log,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Log => "log",
            Table::Raft => "raft",
            Table::Meta => "meta",
            Table::Account => "account",
            Table::Request => "request",
            Table::Posting => "posting",
            Table::Outcome => "outcome",
            Table::Link => "link",
            Table::Hold => "hold",
            Table::Restriction => "restriction",
            Table::Journal => "journal",
            Table::Reference => "reference",
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Table> {
        Table::ALL.into_iter().find(|&table| table as u8 == number)
    }

    /// Its place in [`Table::ALL`].
    pub(crate) fn place(self) -> usize {
        usize::from(self as u8) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_for_ever() {
        let all: Vec<_> = Table::ALL.into_iter().map(|table| (table as u8, table.name())).collect();
        assert_eq!(
            all,
            [
                (1, "log"),
                (2, "raft"),
                (3, "meta"),
                (4, "account"),
                (5, "request"),
                (6, "posting"),
                (7, "outcome"),
                (8, "link"),
                (9, "hold"),
                (10, "restriction"),
                (11, "journal"),
                (12, "reference")
            ]
        );
        assert!(Table::ALL.into_iter().all(|table| Table::ALL[table.place()] == table));
        assert_eq!(Table::from_number(6), Some(Table::Posting));
        assert_eq!(Table::from_number(13), None);
    }
}
