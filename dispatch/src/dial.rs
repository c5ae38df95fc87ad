//! How a connection to another process is made. It is given at composition, so that many processes can run in one
//! simulated world.

use futures::future::BoxFuture;
use tonic::transport::{Channel, Endpoint};

/// Makes connections.
pub trait Dial: Send + Sync {
    /// Connects to another process, with the settings of the endpoint.
    fn dial(&self, endpoint: Endpoint) -> BoxFuture<'static, Result<Channel, tonic::transport::Error>>;
}
