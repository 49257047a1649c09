//! A service as seen through a network that fails.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
};

/// What the proxy does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Open,
    /// Nothing gets through, and nobody is told.
    Stalled,
    Cut,
}

/// A TCP proxy that can be cut, stalled and restored. It ends when it is dropped.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    _runtime: Runtime,
}

/// A runtime that may be dropped inside another.
struct Runtime(Option<tokio::runtime::Runtime>);

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Proxy {
    /// A proxy in front of `target`.
    pub fn start(target: String, open: bool) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (mode, current) = watch::channel(if open { Mode::Open } else { Mode::Cut });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                // While cut, connections are accepted and closed at once, as by a balancer without a backend.
                if *current.borrow() != Mode::Cut {
                    tokio::spawn(forward(client, target.clone(), current.clone()));
                }
            }
        });
        Self { address, mode, _runtime: Runtime(Some(runtime)) }
    }

    /// Cuts every connection and refuses new ones.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Leaves every connection as it is and lets nothing through, either way, as a network that loses every packet. New ones are
    /// taken, and nothing gets through them either. What was sent meanwhile arrives after [`restore`](Self::restore).
    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stalled);
    }

    /// Lets everything through again.
    pub fn restore(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn forward(client: TcpStream, target: String, mut mode: watch::Receiver<Mode>) {
    let connected = tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(&target)).await;
    let Ok(Ok(server)) = connected else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, mode.clone()) => {}
        () = copy(from_server, to_client, mode.clone()) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn copy(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await;
        // The end of a connection is as lost as what was said on it.
        if mode.wait_for(|mode| *mode == Mode::Open).await.is_err() {
            return;
        }
        match read {
            Ok(n) if n > 0 && to.write_all(&buffer[..n]).await.is_ok() => {}
            _ => return,
        }
    }
}
