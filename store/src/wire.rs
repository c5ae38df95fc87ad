//! Reading and writing fixed little-endian fields of stored records, with lengths checked. The formats themselves stand
//! in the file of each record; this is only their common alphabet.

/// The bytes are not a record of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Too few bytes.
    #[error("it ends early, at byte {at}")]
    Short {
        /// Where a field was wanted.
        at: usize,
    },
    /// Too many bytes.
    #[error("it has {count} bytes too many")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A field has a value that is never written.
    #[error("field {field} is {value}")]
    Value {
        /// Which.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Text that is no UTF-8.
    #[error("field {field} is no text")]
    Text {
        /// Which.
        field: &'static str,
    },
    /// The checksum does not match.
    #[error("the checksum does not match")]
    Checksum,
}

/// Takes fields off the front of a record.
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Fields { bytes, at: 0 }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], BadRecord> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(BadRecord::Short { at: self.at })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        Ok(self.take(N)?.try_into().expect("take gives what was asked"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, BadRecord> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, BadRecord> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, BadRecord> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, BadRecord> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i128(&mut self) -> Result<i128, BadRecord> {
        self.array().map(i128::from_le_bytes)
    }

    pub(crate) fn flag(&mut self, field: &'static str) -> Result<bool, BadRecord> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(BadRecord::Value { field, value: other.into() }),
        }
    }

    /// Bytes after a u32 length.
    pub(crate) fn block(&mut self) -> Result<&'a [u8], BadRecord> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    /// Text after a u32 length.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, BadRecord> {
        std::str::from_utf8(self.block()?).map_err(|_| BadRecord::Text { field })
    }

    /// What has not been taken.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// All fields were taken: nothing may be left.
    pub(crate) fn end(&self) -> Result<(), BadRecord> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            count => Err(BadRecord::Trailing { count }),
        }
    }
}

/// Appends bytes after a u32 length.
pub(crate) fn put_block(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a stored field is below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_and_bad_lengths_are_refused() {
        let mut out = vec![7u8, 1];
        out.extend_from_slice(&9u64.to_le_bytes());
        put_block(&mut out, b"text");
        let read = |bytes: &[u8]| -> Result<(u8, bool, u64, String), BadRecord> {
            let mut fields = Fields::new(bytes);
            let got = (fields.u8()?, fields.flag("f")?, fields.u64()?, fields.text("t")?.to_owned());
            fields.end()?;
            Ok(got)
        };
        assert_eq!(read(&out), Ok((7, true, 9, "text".to_owned())));
        for cut in 0..out.len() {
            assert!(matches!(read(&out[..cut]), Err(BadRecord::Short { .. })), "cut at {cut}");
        }
        out.push(0);
        assert_eq!(read(&out), Err(BadRecord::Trailing { count: 1 }));
        out[1] = 2;
        assert_eq!(read(&out), Err(BadRecord::Value { field: "f", value: 2 }));
    }
}
