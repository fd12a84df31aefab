//! TLS handshakes run on threads of their own.
//!
//! rustls checks certificates and signatures within the handshake, and while it does, the thread serves
//! nobody else. Whoever connects can ask for that before anything is known about him. So sessions have
//! their threads, handshakes have these, and the system divides the time between them.

use std::io;
use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// Half of the processors, as many handshakes are computed at a time. All gateways of a process share
/// them. They are started by the first handshake, so under every restriction of the process.
static THREADS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    let count = available_parallelism().map_or(1, |all| all.get().div_ceil(2));
    Builder::new_multi_thread().worker_threads(count).thread_name("handshake").build()
});

/// Does this on those threads. It ends where the caller does not wait for it any more.
pub(super) async fn aside<T: Send + 'static>(
    handshake: impl Future<Output = io::Result<T>> + Send + 'static,
) -> io::Result<T> {
    let Ok(threads) = &*THREADS else { return handshake.await };
    match AbortOnDropHandle::new(threads.spawn(handshake)).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(error) => Err(io::Error::other(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// This test has one thread. In its place, the handshake would wait for what comes after it.
    #[tokio::test]
    async fn a_handshake_that_computes_for_long_delays_no_session() {
        let (session_goes_on, computed) = mpsc::channel();
        let handshake = tokio::spawn(aside(async move {
            computed.recv().map_err(io::Error::other)?;
            Ok(std::thread::current().name().map(str::to_owned))
        }));
        tokio::task::yield_now().await;
        session_goes_on.send(()).unwrap();
        assert_eq!(handshake.await.unwrap().unwrap().as_deref(), Some("handshake"));
    }

    #[tokio::test]
    async fn a_handshake_that_nobody_waits_for_ends_and_one_that_panics_ends_its_own_session() {
        let (held, left) = tokio::sync::oneshot::channel::<()>();
        let handshake = aside(async move {
            let _held = held;
            std::future::pending::<io::Result<()>>().await
        });
        assert!(tokio::time::timeout(std::time::Duration::ZERO, handshake).await.is_err());
        assert!(left.await.is_err(), "what it held is given back");
        let session = tokio::spawn(aside(async { panic!("a bug") as io::Result<()> }));
        assert!(session.await.unwrap_err().is_panic());
    }
}
