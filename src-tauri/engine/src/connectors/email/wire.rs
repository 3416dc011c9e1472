//! A TCP stream that never lets the SMTP client read past the line it is waiting for.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The client keeps what it has read ahead when the connection turns to TLS. Somebody between us
/// and the server could thus append answers to the unencrypted “220 ready” that would later pass
/// for answers from inside the encrypted connection, such as “250 accepted” for a mail that nobody
/// has. This stream hands out one line at a time; whatever follows the 220 then reaches TLS, which
/// refuses it.
#[derive(Debug)]
pub(super) struct LineStream {
    inner: TcpStream,
    ahead: Vec<u8>,
}

impl LineStream {
    pub(super) fn new(inner: TcpStream) -> LineStream {
        LineStream {
            inner,
            ahead: Vec::new(),
        }
    }
}

impl AsyncRead for LineStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            let mut space = [0; 4096];
            let mut fresh = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut fresh))?;
            this.ahead.extend_from_slice(fresh.filled());
        }
        let line = this
            .ahead
            .iter()
            .position(|b| *b == b'\n')
            .map_or(this.ahead.len(), |at| at + 1);
        let part = line.min(out.remaining());
        out.put_slice(&this.ahead[..part]);
        this.ahead.drain(..part);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl AsyncTokioStream for LineStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.peer_addr()
    }
}
