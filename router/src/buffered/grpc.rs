//! The messages of buffered accounts over gRPC. Pure translation: see [`crate::convert`].

use twinset_ledger::{Command, PostingMode};
use twinset_proto::ledger::v1 as wire;

use crate::error::Error;

/// A change of the mode.
pub fn mode(request: wire::SetPostingModeRequest) -> Result<Command, Error> {
    let mode = match wire::PostingMode::try_from(request.mode) {
        Ok(wire::PostingMode::PostingStrict) => PostingMode::Strict,
        Ok(wire::PostingMode::PostingBuffered) => PostingMode::Buffered,
        Ok(wire::PostingMode::PostingUnspecified) => return Err(Error::malformed("mode is missing")),
        Ok(wire::PostingMode::PostingDraining) | Err(_) => {
            return Err(Error::malformed(format!("mode {} cannot be asked for", request.mode)));
        }
    };
    Ok(Command::SetPostingMode { request_id: request.request_id, account: request.account, mode })
}
