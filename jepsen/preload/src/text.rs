//! Short texts in a buffer of fixed size: paths and lines of the journal, without an allocator.

/// Longer paths than this are nobody's files here.
const ROOM: usize = 1024;

/// A text that ends with a zero for libc.
#[derive(Clone, Copy)]
pub(crate) struct Text {
    bytes: [u8; ROOM],
    len: usize,
    whole: bool,
}

impl Text {
    /// An empty one.
    pub(crate) const fn new() -> Text {
        Text { bytes: [0; ROOM], len: 0, whole: true }
    }

    /// Adds bytes; what does not fit makes the text not whole.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> &mut Text {
        if self.len + bytes.len() < ROOM {
            self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
            self.len += bytes.len();
        } else {
            self.whole = false;
        }
        self
    }

    /// Adds a number in decimal.
    pub(crate) fn push_number(&mut self, mut number: u64) -> &mut Text {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return self.push(&digits[at..]);
            }
        }
    }

    /// The bytes, if all have fitted.
    pub(crate) fn get(&self) -> Option<&[u8]> {
        self.whole.then_some(&self.bytes[..self.len])
    }

    /// For libc: what was added, and a zero.
    pub(crate) fn c_str(&self) -> *const std::ffi::c_char {
        self.bytes.as_ptr().cast()
    }
}

/// The directory of a path; empty if it has none.
pub(crate) fn directory_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(&[], |slash| &path[..slash])
}

/// A hash that the same directory always has; never 0.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    bytes.iter().fold(start, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)).max(1)
}
