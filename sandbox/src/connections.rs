//! Connections that a handler can cut, and whose end it can see.
//!
//! The honest way to lose an answer is to close the socket it was to go through. And a request that hangs must end when
//! its client goes: poem 3.1 goes on with the handlers of a connection that has ended.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use http::uri::Scheme;
use poem::Addr;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Default)]
struct Switch {
    cut: AtomicBool,
    reader: AtomicWaker,
    gone: CancellationToken,
}

/// The open connections by the client's address.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<Mutex<HashMap<SocketAddr, Arc<Switch>>>>);

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Switch>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, client: &Addr) -> Option<Arc<Switch>> {
        let Addr::SocketAddr(client) = client else { return None };
        self.lock().get(client).cloned()
    }

    /// Fires when the connection from `client` has ended.
    pub(crate) fn gone(&self, client: &Addr) -> CancellationToken {
        self.get(client).map_or_else(
            || {
                let gone = CancellationToken::new();
                gone.cancel();
                gone
            },
            |switch| switch.gone.clone(),
        )
    }

    /// Closes the connection from `client`: not another byte goes out on it.
    pub(crate) fn cut(&self, client: &Addr) {
        if let Some(switch) = self.get(client) {
            switch.cut.store(true, Ordering::Release);
            switch.reader.wake();
        }
    }
}

/// Accepts connections that can be cut.
pub(crate) struct CuttableAcceptor {
    listener: TcpListener,
    address: SocketAddr,
    connections: Connections,
}

impl CuttableAcceptor {
    pub(crate) fn new(listener: TcpListener, connections: Connections) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { listener, address, connections })
    }
}

impl Acceptor for CuttableAcceptor {
    type Io = Cuttable;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![LocalAddr(self.address.into())]
    }

    async fn accept(&mut self) -> io::Result<(Cuttable, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, client) = self.listener.accept().await?;
        // Answers are small and each is waited for.
        stream.set_nodelay(true)?;
        let switch = Arc::new(Switch::default());
        self.connections.lock().insert(client, Arc::clone(&switch));
        let io = Cuttable { stream, client, switch, connections: self.connections.clone() };
        Ok((io, LocalAddr(self.address.into()), RemoteAddr(client.into()), Scheme::HTTP))
    }
}

/// A connection with a switch.
pub(crate) struct Cuttable {
    stream: TcpStream,
    client: SocketAddr,
    switch: Arc<Switch>,
    connections: Connections,
}

impl Drop for Cuttable {
    fn drop(&mut self) {
        self.switch.gone.cancel();
        let mut open = self.connections.lock();
        // The client's port may be in use again by a connection accepted before this one was dropped.
        if open.get(&self.client).is_some_and(|switch| Arc::ptr_eq(switch, &self.switch)) {
            open.remove(&self.client);
        }
    }
}

fn cut_off() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

impl AsyncRead for Cuttable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Registered before the look, or a cut between the two would wake nobody.
        self.switch.reader.register(cx.waker());
        if self.switch.cut.load(Ordering::Acquire) {
            return Poll::Ready(Err(cut_off()));
        }
        let (free, before) = (buf.remaining(), buf.filled().len());
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        let ended = match &result {
            Poll::Ready(Ok(())) => free > 0 && buf.filled().len() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if ended {
            self.switch.gone.cancel();
        }
        result
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.switch.cut.load(Ordering::Acquire) {
            return Poll::Ready(Err(cut_off()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.switch.cut.load(Ordering::Acquire) {
            return Poll::Ready(Err(cut_off()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
