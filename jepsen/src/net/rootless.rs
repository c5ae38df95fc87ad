//! Root over nothing but our own namespaces, for a user who is not root: enough for [`super::Net::open`]. Where the system
//! forbids it, a run does without faults on links.

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Makes this process the root of a user namespace of its own, unless it is root already. To be called before there is a
/// second thread: the kernel refuses it to a process with several.
pub fn become_root() -> anyhow::Result<()> {
    let (user, group) = (geteuid(), getegid());
    if user.is_root() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER).context("this system gives its users no user namespaces")?;
    let write = |file: &str, text: String| {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).with_context(|| format!("{path} cannot be written"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {user} 1"))?;
    write("gid_map", format!("0 {group} 1"))
}
