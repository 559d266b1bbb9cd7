//! Listening, connections, and the graceful end. What is answered is the router's business.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backend::Backend,
    boards::Boards,
    config::{BindError, WebConfig},
    manage::Management,
    router::router,
    stall::StallGuard,
    state::App,
};

/// Wait after a failed `accept`: the usual cause is a lack of file descriptors, which passes.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// What running requests get to send their error in, once the drain's deadline is over.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// hyper refuses heads of this many times the configured size by itself, with a bare 431; below
/// it, the refusal carries the error object.
const HARD_HEAD_FACTOR: usize = 4;

/// A server that listens and does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    http: http1::Builder,
    connections: Arc<Semaphore>,
    drain_timeout: Duration,
    write_timeout: Duration,
    draining: CancellationToken,
    closing: CancellationToken,
}

/// How the serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Drained {
    /// Connections whose requests ran at the drain's deadline, and ended with an error.
    pub cut: usize,
}

impl Server {
    /// Checks the configuration and begins to listen.
    ///
    /// # Errors
    /// [`BindError`]: an open address without a key, a bad origin, or an address that cannot be
    /// listened on.
    pub async fn bind(
        config: WebConfig,
        backend: Arc<dyn Backend>,
        management: Arc<dyn Management>,
        boards: Arc<dyn Boards>,
    ) -> Result<Self, BindError> {
        config.check()?;
        let refused = |source| BindError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let app = App::new(config, backend, management, boards);
        let config = &app.config;
        Ok(Self {
            listener,
            address,
            router: router(&app),
            http: http_builder(config),
            connections: Arc::new(Semaphore::new(config.max_connections)),
            drain_timeout: config.drain_timeout,
            write_timeout: config.write_timeout,
            draining: app.draining.clone(),
            closing: app.closing.clone(),
        })
    }

    /// The address with its real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is cancelled, then drains: no new connection, idle ones closed,
    /// running requests finish within [`WebConfig::drain_timeout`], or end with an error then; watches
    /// of the blackboard end at once.
    /// Dropping the future ends everything at once.
    pub async fn serve(self, shutdown: CancellationToken) -> Drained {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = tasks.join_next() => report(ended),
                (stream, place) = self.accept() => {
                    let serving = serve_connection(
                        self.http.clone(),
                        StallGuard::new(stream, self.write_timeout),
                        self.router.clone(),
                        shutdown.clone(),
                    );
                    tasks.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
            }
        }
        drop(self.listener);
        self.draining.cancel();
        drain(tasks, self.drain_timeout, &self.closing).await
    }

    /// The next connection, once there is a place for it.
    async fn accept(&self) -> (TcpStream, OwnedSemaphorePermit) {
        let place = Arc::clone(&self.connections)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // A token is a small write that must not wait for an acknowledgement.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "no TCP_NODELAY");
                    }
                    return (stream, place);
                }
                Err(error) => {
                    react_to_accept_error(&error);
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }
}

fn react_to_accept_error(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
}

fn http_builder(config: &WebConfig) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_header_size(config.max_header_bytes.saturating_mul(HARD_HEAD_FACTOR));
    http
}

/// Serves one connection until it ends, or until its running request has ended after the
/// shutdown began. hyper drops a handler whose client is gone, and that cancels.
async fn serve_connection(
    http: http1::Builder,
    stream: StallGuard<TcpStream>,
    router: Router,
    shutdown: CancellationToken,
) {
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

async fn drain(mut tasks: JoinSet<()>, deadline: Duration, closing: &CancellationToken) -> Drained {
    let mut cut = 0;
    if timeout(deadline, join_all(&mut tasks)).await.is_err() {
        cut = tasks.len();
        tracing::warn!(left = cut, "requests ended at the drain's deadline");
        closing.cancel();
        let _ = timeout(LAST_WORDS, join_all(&mut tasks)).await;
    }
    tasks.shutdown().await;
    Drained { cut }
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
}

/// A panic outside a handler (in a body's stream) ends its connection only.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}
