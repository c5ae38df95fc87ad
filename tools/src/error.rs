//! How a command fails: what went wrong, the next thing to try, and the exit code. Commands build a [`Failure`];
//! `main` reports it. Errors of libraries travel as causes inside `anyhow`.

use std::process::ExitCode;

/// Exit code of a command that was asked wrongly.
pub const EXIT_USAGE: u8 = 64;
/// Exit code of a command that failed.
pub const EXIT_FAILED: u8 = 1;

/// A failure that a person can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// What went wrong, one sentence without a full stop.
    pub what: String,
    /// The next thing to try.
    pub next: String,
    /// Whether the command line itself was wrong.
    pub usage: bool,
}

/// The act failed; `next` says what to try.
pub fn failure(what: impl Into<String>, next: impl Into<String>) -> anyhow::Error {
    Failure { what: what.into(), next: next.into(), usage: false }.into()
}

/// The command line asks for something that makes no sense; `next` says what would.
pub fn usage(what: impl Into<String>, next: impl Into<String>) -> anyhow::Error {
    Failure { what: what.into(), next: next.into(), usage: true }.into()
}

/// Whether the reader of our stdout has gone (`twinset ... | head`): the end of the work, not a failure.
fn reader_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The text for stderr: what, why, and what to try next.
pub fn text(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    let next = error.chain().find_map(|cause| cause.downcast_ref::<Failure>()).map(|f| f.next.as_str());
    text.push_str("\n  next: ");
    text.push_str(next.unwrap_or("`twinset status` shows which nodes and sets answer"));
    text
}

/// Says on stderr what failed, and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if reader_gone(error) {
        return ExitCode::SUCCESS;
    }
    eprintln!("{}", text(error));
    let usage = error.chain().find_map(|cause| cause.downcast_ref::<Failure>()).is_some_and(|f| f.usage);
    ExitCode::from(if usage { EXIT_USAGE } else { EXIT_FAILED })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn an_error_names_its_cause_and_the_next_step() {
        let error = Err::<(), _>(failure("port 7101 is in use", "choose another --base-port"))
            .context("the cluster did not start")
            .expect_err("it is an error");
        let text = text(&error);
        assert_eq!(
            text,
            "error: the cluster did not start\n  because: port 7101 is in use\n  next: choose another --base-port"
        );
    }

    #[test]
    fn a_plain_error_still_ends_with_something_to_try() {
        assert!(text(&anyhow::anyhow!("odd")).contains("next: "));
    }
}
