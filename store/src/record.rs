//! Log records: what a Raft log holds, and how one is stored. A record is cut into parts of 8 KiB, each under a key of
//! its own, so that no write or block of the database is large. The payload is opaque here.

use bytes::Bytes;

use crate::keys::{self, Generation};
use crate::wire::{BadRecord, Fields};

/// Payload bytes in one part.
pub(crate) const PART_BYTES: usize = 8 << 10;
const HEADER_BYTES: usize = 25;

/// Names a record of a Raft log for ever. Ordered by term, then leader, then index, as Raft compares logs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct LogId {
    /// The leader's term.
    pub term: u64,
    /// The leader's replica id.
    pub leader: u64,
    /// Place in the log.
    pub index: u64,
}

impl LogId {
    /// Stored form: term, leader, index.
    pub(crate) fn to_bytes(self) -> [u8; 24] {
        let mut out = [0; 24];
        out[..8].copy_from_slice(&self.term.to_le_bytes());
        out[8..16].copy_from_slice(&self.leader.to_le_bytes());
        out[16..].copy_from_slice(&self.index.to_le_bytes());
        out
    }

    /// Reads the stored form off the front.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<LogId, BadRecord> {
        Ok(LogId { term: fields.u64()?, leader: fields.u64()?, index: fields.u64()? })
    }

    /// Reads exactly the stored form.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<LogId, BadRecord> {
        let mut fields = Fields::new(bytes);
        let id = LogId::read(&mut fields)?;
        fields.end()?;
        Ok(id)
    }
}

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// Nothing: a new leader's first record.
    Blank = 0,
    /// An entry of commands.
    Commands = 1,
    /// A membership, in the bytes of whoever wrote it.
    Membership = 2,
}

/// A record of a Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub id: LogId,
    /// What the payload is.
    pub kind: RecordKind,
    /// Opaque to the log.
    pub payload: Bytes,
}

impl Record {
    /// Memory that the record takes.
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len() + size_of::<Record>()
    }

    /// Gives the keys and values that store the record to `put`, in the order of keys.
    pub(crate) fn store(&self, generation: Generation, mut put: impl FnMut(&[u8], &[u8])) {
        let length = u32::try_from(self.payload.len()).expect("a log record is below 512 MiB");
        let mut header = [0; HEADER_BYTES];
        header[4..12].copy_from_slice(&self.id.term.to_le_bytes());
        header[12..20].copy_from_slice(&self.id.leader.to_le_bytes());
        header[20] = self.kind as u8;
        header[21..].copy_from_slice(&length.to_le_bytes());
        let crc = checksum(self.id.index, &header, &self.payload);
        header[..4].copy_from_slice(&crc.to_le_bytes());
        let (first, rest) = self.payload.split_at(self.payload.len().min(PART_BYTES));
        put(&keys::log(generation, self.id.index, 0), &[&header, first].concat());
        for (number, part) in rest.chunks(PART_BYTES).enumerate() {
            let number = u16::try_from(number + 1).expect("a log record is below 512 MiB");
            put(&keys::log(generation, self.id.index, number), part);
        }
    }
}

/// A record being put together from its parts.
pub(crate) struct Assembly {
    index: u64,
    header: [u8; HEADER_BYTES],
    kind: RecordKind,
    length: usize,
    payload: Vec<u8>,
    parts: u16,
}

impl Assembly {
    /// Begins with part 0.
    pub(crate) fn begin(index: u64, value: &[u8]) -> Result<Assembly, BadRecord> {
        let mut fields = Fields::new(value);
        let header: [u8; HEADER_BYTES] = fields.array()?;
        let kind = match header[20] {
            0 => RecordKind::Blank,
            1 => RecordKind::Commands,
            2 => RecordKind::Membership,
            other => return Err(BadRecord::Value { field: "kind", value: other.into() }),
        };
        let length = u32::from_le_bytes(header[21..].try_into().expect("four bytes")) as usize;
        let mut payload = Vec::with_capacity(length.min(1 << 24));
        payload.extend_from_slice(fields.rest());
        Ok(Assembly { index, header, kind, length, payload, parts: 1 })
    }

    /// Whether parts are missing.
    pub(crate) fn wants_more(&self) -> bool {
        self.payload.len() < self.length
    }

    /// Adds the next part.
    pub(crate) fn add(&mut self, index: u64, part: u16, value: &[u8]) -> Result<(), BadRecord> {
        if index != self.index || part != self.parts {
            return Err(BadRecord::Value { field: "part", value: part.into() });
        }
        self.parts += 1;
        self.payload.extend_from_slice(value);
        Ok(())
    }

    /// Ends with the record, checked.
    pub(crate) fn finish(self) -> Result<Record, BadRecord> {
        if self.payload.len() < self.length {
            return Err(BadRecord::Short { at: self.payload.len() });
        }
        if self.payload.len() > self.length {
            return Err(BadRecord::Trailing { count: self.payload.len() - self.length });
        }
        let (crc, _) = self.header.split_at(4);
        if checksum(self.index, &self.header, &self.payload).to_le_bytes() != crc {
            return Err(BadRecord::Checksum);
        }
        let id = header_id(self.index, &self.header);
        Ok(Record { id, kind: self.kind, payload: self.payload.into() })
    }
}

/// The bytes of a part that belong to the payload.
pub(crate) fn payload_of_part(part: u16, value: &[u8]) -> Result<&[u8], BadRecord> {
    if part > 0 {
        return Ok(value);
    }
    let mut fields = Fields::new(value);
    fields.take(HEADER_BYTES)?;
    Ok(fields.rest())
}

/// The name of a record, from its part 0 alone.
pub(crate) fn id_of(index: u64, value: &[u8]) -> Result<LogId, BadRecord> {
    Ok(header_id(index, &Fields::new(value).array()?))
}

fn header_id(index: u64, header: &[u8; HEADER_BYTES]) -> LogId {
    let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    LogId { term: number(4), leader: number(12), index }
}

fn checksum(index: u64, header: &[u8; HEADER_BYTES], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&index.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &header[4..]), payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Stored = Vec<(Vec<u8>, Vec<u8>)>;

    fn stored(record: &Record) -> Stored {
        let mut out = Vec::new();
        record.store(7, |key, value| out.push((key.to_vec(), value.to_vec())));
        out
    }

    fn load(stored: &Stored) -> Result<Record, BadRecord> {
        let mut parts = stored.iter().map(|(key, value)| (keys::parse_log(key).unwrap(), value));
        let ((index, _), value) = parts.next().unwrap();
        let mut assembly = Assembly::begin(index, value)?;
        for ((index, part), value) in parts {
            assembly.add(index, part, value)?;
        }
        assembly.finish()
    }

    fn record(length: usize) -> Record {
        let id = LogId { term: 3, leader: 9, index: 1 << 40 };
        let payload: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
        Record { id, kind: RecordKind::Commands, payload: payload.into() }
    }

    #[test]
    fn golden_bytes() {
        let id = LogId { term: 1, leader: 2, index: 3 };
        let stored =
            stored(&Record { id, kind: RecordKind::Membership, payload: Bytes::from_static(b"abc") });
        assert_eq!(stored[0].0, [0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0]);
        assert_eq!(
            stored[0].1[4..],
            [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 3, 0, 0, 0, b'a', b'b', b'c']
        );
        assert_eq!(id_of(3, &stored[0].1), Ok(id));
    }

    #[test]
    fn log_ids_come_back() {
        let id = LogId { term: 1, leader: 2, index: 3 };
        assert_eq!(LogId::from_bytes(&id.to_bytes()), Ok(id));
        assert_eq!(LogId::from_bytes(&id.to_bytes()[1..]), Err(BadRecord::Short { at: 16 }));
        assert_eq!(LogId::from_bytes(&[0; 25]), Err(BadRecord::Trailing { count: 1 }));
    }

    #[test]
    fn lengths_around_the_parts_come_back() {
        for length in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, 100_000] {
            let record = record(length);
            let stored = stored(&record);
            assert_eq!(stored.len(), length.div_ceil(PART_BYTES).max(1));
            assert!(stored.is_sorted());
            assert_eq!(load(&stored), Ok(record));
        }
    }

    #[test]
    fn missing_swapped_and_extra_parts_are_refused() {
        let whole = stored(&record(3 * PART_BYTES));
        assert_eq!(load(&whole[..2].to_vec()), Err(BadRecord::Short { at: 2 * PART_BYTES }));
        let swapped = vec![whole[0].clone(), whole[2].clone(), whole[1].clone()];
        assert_eq!(load(&swapped), Err(BadRecord::Value { field: "part", value: 2 }));
        let mut long = whole.clone();
        long[2].1.push(0);
        assert_eq!(load(&long), Err(BadRecord::Trailing { count: 1 }));
        assert_eq!(Assembly::begin(1, &whole[0].1[..24]).err(), Some(BadRecord::Short { at: 0 }));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(length in 0usize..20_000, at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut stored = stored(&record(length));
            let total: usize = stored.iter().map(|(_, value)| value.len()).sum();
            let mut at = at.index(total);
            for (_, value) in &mut stored {
                if at < value.len() {
                    value[at] ^= 1 << bit;
                    break;
                }
                at -= value.len();
            }
            prop_assert!(load(&stored).is_err());
        }
    }
}
