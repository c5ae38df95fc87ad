//! A library that is loaded before a node (`LD_PRELOAD`) and plays the machine below it: a disk whose syncs fail, lie or
//! take long, a full disk, a wall clock that jumps. It also keeps book of what a power cut would leave. The functions of
//! libc that touch files are taken over; each does what it is for, unless the shared file of [`layout`] says otherwise.
//!
//! `TWINSET_PRELOAD` names that file, `TWINSET_PRELOAD_DIR` the only directory whose files are meant, and
//! `TWINSET_PRELOAD_RANDOM`, if it is there, the seed of all random bytes. Without the first the library does nothing. It
//! takes no lock and allocates nothing, so it is safe before `main`, in any thread, and between fork and exec. The harness's
//! side is `jepsen/src/preload/`.

pub mod layout;

mod clock;
mod control;
mod names;
mod opening;
mod place;
mod random;
mod real;
mod renaming;
mod syncing;
mod text;
mod tracked;
mod writing;
