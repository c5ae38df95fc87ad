//! The mapped shared file and what the environment says: found once, when the library is loaded. Faults are asked here,
//! and what was seen is counted here.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_int};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crate::layout::{MAGIC, WORDS, Word};
use crate::real;
use crate::text::Text;

/// What the library works with once it is loaded.
pub(crate) struct Control {
    words: &'static [AtomicU64; WORDS],
    /// The path of the shared file: others stand beside it.
    pub(crate) path: Text,
    /// The directory whose files are meant, as it was named.
    pub(crate) dir: Text,
    /// The journal of names, open for appending.
    pub(crate) names: c_int,
}

static CONTROL: AtomicPtr<Control> = AtomicPtr::new(null_mut());

/// None where the library is to do nothing.
pub(crate) fn get() -> Option<&'static Control> {
    let control = CONTROL.load(Ordering::Acquire);
    // SAFETY: it is null or was leaked by `load`, and never changes.
    unsafe { control.as_ref() }
}

#[used]
#[unsafe(link_section = ".init_array")]
static LOAD: extern "C" fn() = load;

extern "C" fn load() {
    let Some(path) = variable(c"TWINSET_PRELOAD") else { return };
    let dir = variable(c"TWINSET_PRELOAD_DIR").unwrap_or(Text::new());
    let open = |path: &Text, flags| {
        // SAFETY: a text ends with a zero.
        unsafe { real::openat(libc::AT_FDCWD, path.c_str(), flags | libc::O_CLOEXEC, 0o644) }
    };
    let file = open(&path, libc::O_RDWR);
    if file < 0 {
        return;
    }
    let (read, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: a new mapping anywhere.
    let mapped = unsafe { libc::mmap(null_mut(), WORDS * size_of::<u64>(), read, shared, file, 0) };
    let mut beside = path;
    let names = open(beside.push(crate::layout::NAMES.as_bytes()), libc::O_WRONLY | libc::O_APPEND);
    if mapped == libc::MAP_FAILED || names < 0 {
        return;
    }
    // SAFETY: the mapping stays for ever, is page-aligned, has this length, and is only used through atomics.
    let words = unsafe { &*mapped.cast::<[AtomicU64; WORDS]>() };
    if words[Word::Magic as usize].load(Ordering::Relaxed) == MAGIC {
        let control = Box::leak(Box::new(Control { words, path, dir, names }));
        CONTROL.store(control, Ordering::Release);
    }
}

/// A variable of the environment, if it is there and not empty.
pub(crate) fn variable(name: &CStr) -> Option<Text> {
    // SAFETY: the name ends with a zero; nothing changes the environment of these programs.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    let mut text = Text::new();
    // SAFETY: getenv gives a text that ends with a zero.
    text.push(unsafe { CStr::from_ptr(value) }.to_bytes());
    text.get().is_some_and(|bytes| !bytes.is_empty()).then_some(text)
}

impl Control {
    /// One of the words.
    pub(crate) fn word(&self, at: usize) -> &AtomicU64 {
        &self.words[at]
    }

    /// What the word says now.
    pub(crate) fn read(&self, word: Word) -> u64 {
        self.words[word as usize].load(Ordering::Relaxed)
    }

    /// One more was seen.
    pub(crate) fn count(&self, word: Word) {
        self.words[word as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one of those that the harness has given; false if none is left.
    pub(crate) fn take(&self, word: Word) -> bool {
        let word = &self.words[word as usize];
        word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}
