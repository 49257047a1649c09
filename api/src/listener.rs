//! The listening socket.

use std::{io, net::SocketAddr};

use poem::{
    http::uri::Scheme,
    listener::Acceptor,
    web::{LocalAddr, RemoteAddr},
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that the kernel completes while we are busy: a burst of thousands must not see refused connections.
const BACKLOG: u32 = 4096;

/// Accepts TCP connections with Nagle's algorithm off: it would hold a small event back until the one before is
/// acknowledged, up to 40 ms later.
pub struct NoDelay {
    listener: TcpListener,
    local: LocalAddr,
}

impl NoDelay {
    /// Binds; port 0 takes a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart takes the port over from connections that still linger.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let local = LocalAddr(listener.local_addr()?.into());
        Ok(Self { listener, local })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Acceptor for NoDelay {
    type Io = TcpStream;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![self.local.clone()]
    }

    async fn accept(&mut self) -> io::Result<(TcpStream, LocalAddr, RemoteAddr, Scheme)> {
        let (stream, peer) = self.listener.accept().await?;
        // A connection that is gone already fails here; its first read says so again.
        let _ = stream.set_nodelay(true);
        Ok((stream, self.local.clone(), RemoteAddr(peer.into()), Scheme::HTTP))
    }
}
