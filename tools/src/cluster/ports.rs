//! Ports of a local cluster: a fixed base, or a free range for tests that run side by side. Nothing else.

use std::net::TcpListener;

use super::layout::{Layout, PORT_SPAN};
use crate::error;

/// Where the ports of a local cluster come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Counted from this port on.
    Base(u16),
    /// Counted from this port on, where somebody listens already for the processes, who are in networks of their own.
    Served(u16),
    /// A range that nobody uses and that no other cluster of [`Ports::Free`] takes while this one lives.
    Free,
}

/// Below the range that the system gives to outgoing connections: a killed node's port must still be free when it
/// returns, and a client that redials a dead port must never meet itself. What is below is left to tests of single processes.
const FREE_FROM: u16 = 16_000;
const FREE_TO: u16 = 32_000;

/// A base port with, for a free range, the listener on the base port itself that claims the range.
pub struct Claim {
    /// Ports count from here.
    pub base_port: u16,
    _claim: Option<TcpListener>,
}

impl Ports {
    /// Settles on a base port.
    pub fn claim(self) -> anyhow::Result<Claim> {
        match self {
            Ports::Base(base_port) | Ports::Served(base_port) if base_port > u16::MAX - PORT_SPAN => {
                Err(error::usage(
                    format!("ports from {base_port} on do not fit: {PORT_SPAN} are needed"),
                    format!("choose a --base-port of at most {}", u16::MAX - PORT_SPAN),
                ))
            }
            Ports::Base(base_port) | Ports::Served(base_port) => Ok(Claim { base_port, _claim: None }),
            Ports::Free => free_range(),
        }
    }
}

fn free_range() -> anyhow::Result<Claim> {
    let ranges = (FREE_TO - FREE_FROM) / PORT_SPAN;
    let start = u16::from_le_bytes([uuid_byte(0), uuid_byte(1)]) % ranges;
    for step in 0..ranges {
        let base_port = FREE_FROM + (start + step) % ranges * PORT_SPAN;
        let Ok(claim) = TcpListener::bind(("127.0.0.1", base_port)) else { continue };
        let probe = Layout::new(".".as_ref(), ".".as_ref(), 2, base_port);
        if in_use(&probe).is_empty() {
            return Ok(Claim { base_port, _claim: Some(claim) });
        }
    }
    Err(error::failure(
        format!("no free range of {PORT_SPAN} ports between {FREE_FROM} and {FREE_TO}"),
        "stop other local clusters (`twinset dev down`)",
    ))
}

fn uuid_byte(at: usize) -> u8 {
    uuid::Uuid::new_v4().as_bytes()[at]
}

/// The listeners of `layout` whose address cannot be bound, with the reason.
fn in_use(layout: &Layout) -> Vec<String> {
    let reason = |(name, addr): (String, String)| match TcpListener::bind(&addr) {
        Ok(_) => None,
        Err(cause) => Some(format!("{addr} ({name}): {cause}")),
    };
    layout.listens().into_iter().filter_map(reason).collect()
}

/// Refuses to start anything while a port is taken by a stranger.
pub fn check(layout: &Layout, ports: Ports) -> anyhow::Result<()> {
    let taken = match ports {
        Ports::Served(_) => Vec::new(),
        Ports::Base(_) | Ports::Free => in_use(layout),
    };
    if taken.is_empty() {
        return Ok(());
    }
    Err(error::failure(
        format!("ports are in use, nothing was started: {}", taken.join("; ")),
        format!(
            "stop what listens there (`twinset dev down` if it is an earlier cluster), or choose another range: \
             `twinset dev up --base-port {}`",
            u32::from(layout.base_port) + 1000
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_free_ranges_never_meet() {
        let (one, two) = (Ports::Free.claim().unwrap(), Ports::Free.claim().unwrap());
        assert!(one.base_port.abs_diff(two.base_port) >= PORT_SPAN);
    }

    #[test]
    fn a_taken_port_is_named_with_who_wanted_it() {
        let claim = Ports::Free.claim().unwrap();
        let layout = Layout::new(".".as_ref(), ".".as_ref(), 2, claim.base_port);
        check(&layout, Ports::Free).unwrap();
        let _held = TcpListener::bind(&layout.process("b1").unwrap().api).unwrap();
        let text = check(&layout, Ports::Free).unwrap_err().to_string();
        assert!(text.contains("(b1)") && text.contains("nothing was started"), "{text}");
        check(&layout, Ports::Served(claim.base_port)).unwrap();
    }
}
