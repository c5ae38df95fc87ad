//! Waiting for a moment that need not come.

use tokio::time::Instant;

/// Returns at that moment; without one, never.
pub async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
