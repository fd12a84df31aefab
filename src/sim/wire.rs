//! One connection as lines and bytes, in clear or under TLS, with the manners that faults ask for.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::words::Protocol;

use super::fault::Manner;
use super::journal::Ending;
use super::script::Script;

/// What a step of a dialogue gives, or how the connection ended instead.
pub(crate) type SimResult<T> = Result<T, Ending>;

pub(crate) struct SimWire {
    stream: Stream,
    /// What was read and not yet used.
    input: Vec<u8>,
    /// What waits for more under [`Manner::Packed`].
    held: Vec<u8>,
    script: Arc<Script>,
    protocol: Protocol,
}

impl SimWire {
    /// Room for a login of any length that is legal, and no more.
    const LINE_LIMIT: usize = 64 << 10;
    /// What a peer may send ahead while we do something else.
    const INPUT_LIMIT: usize = 1 << 20;

    pub(crate) fn new(stream: TcpStream, script: Arc<Script>, protocol: Protocol) -> Self {
        // Otherwise every split reply costs the peer 40 ms of Nagle and delayed ACK.
        let _ = stream.set_nodelay(true);
        Self {
            stream: Stream::Plain(stream),
            input: Vec::new(),
            held: Vec::new(),
            script,
            protocol,
        }
    }

    /// Makes the TLS handshake. Bytes that came ahead of it in clear end the connection, as they
    /// would act after it (command injection).
    pub(crate) async fn secure(self, acceptor: &TlsAcceptor) -> SimResult<Self> {
        let Stream::Plain(stream) = self.stream else { return Err(Ending::Simulator) };
        if !self.input.is_empty() {
            return Err(Ending::Simulator);
        }
        let stream = acceptor.accept(stream).await.map_err(|_| Ending::Handshake)?;
        Ok(Self { stream: Stream::Tls(Box::new(stream)), ..self })
    }

    /// The next line without its end, which may be CRLF or LF.
    pub(crate) async fn read_line(&mut self) -> SimResult<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.input[searched..]) {
                let mut line: Vec<u8> = self.input.drain(..=searched + at).collect();
                line.pop();
                line.pop_if(|last| *last == b'\r');
                return Ok(line);
            }
            searched = self.input.len();
            if searched > Self::LINE_LIMIT {
                return Err(Ending::Simulator);
            }
            self.fill().await?;
        }
    }

    /// What was read and not yet used; the user takes it out.
    pub(crate) fn input(&mut self) -> &mut Vec<u8> {
        &mut self.input
    }

    /// Reads more, after what waits was sent.
    pub(crate) async fn fill(&mut self) -> SimResult<()> {
        self.flush().await?;
        self.read_more().await
    }

    /// Sends reply lines; the last line end is added.
    pub(crate) async fn reply(&mut self, text: &[u8]) -> SimResult<()> {
        let mut bytes = [text, b"\r\n"].concat();
        if self.has(Manner::BareLf) {
            bytes.retain(|byte| *byte != b'\r');
        }
        if self.has(Manner::LineByLine) {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                self.send(line).await?;
            }
            return Ok(());
        }
        let more_to_answer = self.protocol == Protocol::Pop3 && bytes.starts_with(b"+OK")
            || self.input.contains(&b'\n');
        if self.has(Manner::Packed) && more_to_answer {
            self.held.extend_from_slice(&bytes);
            return Ok(());
        }
        self.send(&bytes).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> SimResult<()> {
        self.flush().await?;
        if let Some(pace) = self.script.pace(self.protocol) {
            for byte in bytes {
                self.write(&[*byte]).await?;
                tokio::time::sleep(pace).await;
            }
        } else if self.has(Manner::OneByte) {
            for byte in bytes {
                self.write(&[*byte]).await?;
            }
        } else if self.has(Manner::SplitCrlf) {
            for part in bytes.split_inclusive(|byte| *byte == b'\r') {
                self.write(part).await?;
            }
        } else {
            self.write(bytes).await?;
        }
        Ok(())
    }

    /// Waits; a peer that leaves in the meantime is noticed.
    pub(crate) async fn pause(&mut self, delay: Duration) -> SimResult<()> {
        self.flush().await?;
        let end = tokio::time::sleep(delay);
        tokio::pin!(end);
        loop {
            if self.input.len() >= Self::INPUT_LIMIT {
                end.await;
                return Ok(());
            }
            tokio::select! {
                () = &mut end => return Ok(()),
                more = self.read_more() => more?,
            }
        }
    }

    /// Says nothing any more, and waits until the peer has left.
    pub(crate) async fn stall(&mut self) -> Ending {
        loop {
            self.input.clear();
            if let Err(ending) = self.read_more().await {
                return ending;
            }
        }
    }

    /// Ends in order: close_notify, FIN.
    pub(crate) async fn close(&mut self) {
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }

    /// FIN without close_notify. The peer's bytes that we have not read make the kernel send RST,
    /// so what is there is read first.
    pub(crate) fn cut(&mut self) {
        let _ = socket2::SockRef::from(self.stream.tcp()).shutdown(std::net::Shutdown::Write);
        let mut sink = [0; 16 << 10];
        while matches!(self.stream.tcp().try_read(&mut sink), Ok(1..)) {}
    }

    /// Makes the coming drop send RST.
    pub(crate) fn reset(&mut self) {
        let _ = socket2::SockRef::from(self.stream.tcp()).set_linger(Some(Duration::ZERO));
    }

    async fn flush(&mut self) -> SimResult<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        self.write(&held).await
    }

    async fn write(&mut self, bytes: &[u8]) -> SimResult<()> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| ending_of(&error))
    }

    async fn read_more(&mut self) -> SimResult<()> {
        self.input.reserve(32 << 10);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => {
                self.close().await;
                Err(if self.stream.is_tls() { Ending::CloseNotify } else { Ending::Eof })
            }
            Ok(_) => Ok(()),
            Err(error) => Err(ending_of(&error)),
        }
    }

    fn has(&self, manner: Manner) -> bool {
        self.script.has(self.protocol, manner)
    }
}

/// rustls reports FIN without close_notify as an unexpected end.
fn ending_of(error: &io::Error) -> Ending {
    if error.kind() == io::ErrorKind::UnexpectedEof { Ending::Eof } else { Ending::Reset }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
