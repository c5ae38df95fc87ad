//! Where a name or a descriptor leads: to a path below the node's directory, or to a file that is nobody's business here.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::mem::MaybeUninit;

use crate::control::Control;
use crate::text::Text;

/// The path below the node's directory that a name means; empty for the directory itself.
pub(crate) fn of_path(control: &Control, dir: c_int, path: *const c_char) -> Option<Text> {
    if path.is_null() {
        return None;
    }
    // SAFETY: libc wants a text that ends with a zero here, and the caller was about to give it to libc.
    let name = unsafe { CStr::from_ptr(path) }.to_bytes();
    if name.starts_with(b"/") {
        return below(control, name);
    }
    let mut whole = match dir {
        libc::AT_FDCWD => link(c"/proc/self/cwd".as_ptr())?,
        _ => link(descriptor(dir).c_str())?,
    };
    below(control, whole.push(b"/").push(name).get()?)
}

/// The same for an open file.
pub(crate) fn of_descriptor(control: &Control, file: c_int) -> Option<Text> {
    below(control, link(descriptor(file).c_str())?.get()?)
}

/// What the kernel says of an open file.
pub(crate) fn status(file: c_int) -> Option<libc::stat> {
    let mut status = MaybeUninit::uninit();
    // SAFETY: fstat fills the whole of it when it gives 0.
    unsafe { (libc::fstat(file, status.as_mut_ptr()) == 0).then(|| status.assume_init()) }
}

fn descriptor(file: c_int) -> Text {
    let mut path = Text::new();
    path.push(b"/proc/self/fd/").push_number(u64::from(file.unsigned_abs()));
    path
}

fn link(path: *const c_char) -> Option<Text> {
    let mut target = [0_u8; 1024];
    // SAFETY: the path ends with a zero, and the buffer has this length.
    let length = unsafe { libc::readlink(path, target.as_mut_ptr().cast(), target.len()) };
    let mut text = Text::new();
    text.push(target.get(..usize::try_from(length).ok()?)?);
    Some(text)
}

/// The rest of an absolute path, without doubled slashes.
fn below(control: &Control, path: &[u8]) -> Option<Text> {
    let dir = control.dir.get().filter(|dir| !dir.is_empty())?;
    let rest = path.strip_prefix(dir)?;
    if !rest.is_empty() && !rest.starts_with(b"/") {
        return None;
    }
    let mut text = Text::new();
    for part in rest.split(|&byte| byte == b'/').filter(|part| !part.is_empty()) {
        if text.get().is_some_and(|text| !text.is_empty()) {
            text.push(b"/");
        }
        text.push(part);
    }
    text.get()?;
    Some(text)
}
