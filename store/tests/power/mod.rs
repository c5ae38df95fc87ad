//! What a power cut leaves, for a process that lives on: of the database's files no more than what a sync has covered. A
//! killed process cannot show that, because the page cache outlives it. The calls that sync a file are taken over, in this
//! program alone, by ones that note how long the file is and then do what they are for; were they not taken over, nothing
//! would count as covered, and the tests would fail.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_long};
use std::fs;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

/// How much of each file a sync has covered.
static COVERED: Mutex<BTreeMap<PathBuf, u64>> = Mutex::new(BTreeMap::new());

#[allow(unsafe_code)]
mod calls {
    use super::{c_int, c_long, covered};

    // SAFETY: both have the signature and the meaning of the functions of libc that they stand for.
    #[unsafe(no_mangle)]
    extern "C" fn fdatasync(file: c_int) -> c_int {
        covered(file, || sync(libc::SYS_fdatasync, file))
    }

    #[unsafe(no_mangle)]
    extern "C" fn fsync(file: c_int) -> c_int {
        covered(file, || sync(libc::SYS_fsync, file))
    }

    fn sync(call: c_long, file: c_int) -> c_int {
        // SAFETY: the call takes a descriptor, good or bad, and no memory.
        let result = unsafe { libc::syscall(call, file) };
        if result == 0 { 0 } else { -1 }
    }
}

/// Syncs an open file, and notes what that has covered: what was there before it began.
fn covered(file: c_int, sync: impl FnOnce() -> c_int) -> c_int {
    let link = format!("/proc/self/fd/{file}");
    let before = fs::read_link(&link).and_then(|path| Ok((path, fs::metadata(&link)?.len())));
    let result = sync();
    if let (0, Ok((path, bytes))) = (result, before) {
        let mut covered = COVERED.lock();
        let most = covered.entry(path).or_default();
        *most = bytes.max(*most);
    }
    result
}

/// Copies the directory of a store as a power cut at this moment would leave it. The marker stays as it is: it is never
/// synced itself, and the disk may well have the newest.
pub fn cut(from: &Path, to: &Path) {
    copy(&fs::canonicalize(from).unwrap(), to);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &target);
            continue;
        }
        let bytes = fs::copy(&path, &target).unwrap();
        if grows(&path) {
            let kept = COVERED.lock().get(&path).copied().unwrap_or(0).min(bytes);
            fs::File::options().write(true).open(&target).unwrap().set_len(kept).unwrap();
        }
    }
}

/// Whether a file is of those that the database writes piece by piece and has to sync: logs, tables, manifests.
fn grows(path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str());
    let manifest = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("MANIFEST"));
    matches!(end, Some("log" | "sst")) || manifest
}
