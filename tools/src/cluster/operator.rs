//! The operator's token: read once, when the command starts, and shown with each call that asks for an administrative
//! act, so that the act goes on record under the operator's name. Nothing else gets to see it.

use std::path::PathBuf;
use std::sync::OnceLock;

use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request};
use twinset_proto::OPERATOR_TOKEN;

use crate::error;

/// Where the file is named if not on the command line.
pub const VARIABLE: &str = "TWINSET_OPERATOR_TOKEN_FILE";

static TOKEN: OnceLock<AsciiMetadataValue> = OnceLock::new();

/// Reads the token from the file that was named, or that the environment names; without either there is none.
pub fn read(named: Option<PathBuf>) -> anyhow::Result<()> {
    let file =
        named.or_else(|| std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from));
    let Some(file) = file else { return Ok(()) };
    let next = format!("name a file with the token alone: --operator-token-file FILE or {VARIABLE}");
    let unusable = |why: &str| {
        error::usage(
            format!("the operator's token in {} cannot be used: {why}", file.display()),
            next.clone(),
        )
    };
    let text = std::fs::read_to_string(&file).map_err(|cause| unusable(&cause.to_string()))?;
    let token = text.trim();
    let mut value =
        AsciiMetadataValue::try_from(token).map_err(|_| unusable("it is not ASCII in one line"))?;
    if token.is_empty() {
        return Err(unusable("the file is empty"));
    }
    value.set_sensitive(true);
    // The command line is read once.
    let _ = TOKEN.set(value);
    Ok(())
}

/// Whether a node says that this operator may not: asking again would not help.
pub fn is_refused(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
}

/// A call that asks for an administrative act, with the token, if there is one.
pub fn signed<T>(message: T) -> Request<T> {
    let mut call = Request::new(message);
    if let Some(token) = TOKEN.get() {
        call.metadata_mut().insert(OPERATOR_TOKEN, token.clone());
    }
    call
}
