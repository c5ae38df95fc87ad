//! What a node takes from the machine that it runs on: the network, the wall clock, threads for what waits for a disk, and
//! the end of its process. It is given at composition, so that many nodes can run in one simulated world. Nothing else in
//! this crate opens a port, connects, reads the wall clock, starts a thread or exits. Monotonic time is tokio's.

use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinError;
use tonic::transport::{Channel, Endpoint};
pub use twinset_dispatch::dial::Dial;

use crate::{clock, fatal};

/// Bytes to and from another process.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open port.
pub trait Listener: Send + Sync {
    /// The next connection, and where it comes from.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>>;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A machine, as one process sees it.
pub trait Platform: Dial {
    /// Connects to a machine, by its name or address, and a port: where nodes do not speak gRPC, and below [`Dial`].
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;

    /// Opens a port.
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;

    /// The wall clock, in nanoseconds since the Unix epoch.
    fn now_unix_ns(&self) -> u64;

    /// Whether there are threads beside the one that calls; without, what waits for a disk holds everything else up.
    fn has_threads(&self) -> bool;

    /// Ends this process because of a fault, which was logged: nothing of it is answered after that.
    fn end(&self, reason: &str) -> !;

    /// What this process, whose data is in that directory, has used of the machine; None where that is not known.
    fn usage(&self, _data_dir: &Path) -> Option<Usage> {
        None
    }
}

/// What a process has used of its machine.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Of processor time, since it began.
    pub cpu_ns: u64,
    /// How many processors there are.
    pub processors: u32,
    /// Room on the disk of its data.
    pub disk_free_bytes: u64,
    /// The size of that disk.
    pub disk_bytes: u64,
}

/// The machine itself.
pub struct System;

impl Platform for System {
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect((host, port)).await?;
            // Small frames must not wait for the peer's delayed acknowledgement; an error only costs that.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = tokio::net::TcpListener::bind(at).await?;
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }

    fn now_unix_ns(&self) -> u64 {
        clock::now_unix_ns()
    }

    fn has_threads(&self) -> bool {
        true
    }

    #[allow(unsafe_code)]
    fn end(&self, _: &str) -> ! {
        // Not `exit`, which runs what C++ wants to destroy, for a second, while other threads go on.
        // SAFETY: it only ends the process; the log is written line by line.
        unsafe { libc::_exit(fatal::EXIT_FAULT) }
    }

    #[allow(unsafe_code)]
    fn usage(&self, data_dir: &Path) -> Option<Usage> {
        let path = CString::new(data_dir.as_os_str().as_bytes()).ok()?;
        // SAFETY: plain numbers, for which all zeroes are values.
        let (mut time, mut disk): (libc::timespec, libc::statvfs) = unsafe { std::mem::zeroed() };
        // SAFETY: both calls only write to what they are given, and the path ends with a zero.
        let told = unsafe {
            libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) == 0
                && libc::statvfs(path.as_ptr(), &mut disk) == 0
        };
        let cpu = Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
        let processors = std::thread::available_parallelism().ok()?;
        told.then_some(Usage {
            cpu_ns: u64::try_from(cpu.as_nanos()).ok()?,
            processors: u32::try_from(processors.get()).ok()?,
            disk_free_bytes: disk.f_bavail * disk.f_frsize,
            disk_bytes: disk.f_blocks * disk.f_frsize,
        })
    }
}

impl Dial for System {
    fn dial(&self, endpoint: Endpoint) -> BoxFuture<'static, Result<Channel, tonic::transport::Error>> {
        Box::pin(async move { endpoint.connect().await })
    }
}

impl Listener for tokio::net::TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = tokio::net::TcpListener::accept(self).await?;
            // Small frames must not wait for the peer's delayed acknowledgement; an error only costs that.
            let _ = stream.set_nodelay(true);
            Ok((Box::new(stream) as Box<dyn Stream>, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        tokio::net::TcpListener::local_addr(self)
    }
}

/// The machine itself, to be handed around.
pub fn system() -> Arc<dyn Platform> {
    Arc::new(System)
}

/// Does what waits for a disk: on a thread that nothing else needs, if there is one.
pub async fn blocking<T: Send + 'static>(
    platform: &dyn Platform,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if platform.has_threads() { tokio::task::spawn_blocking(job).await } else { Ok(job()) }
}
