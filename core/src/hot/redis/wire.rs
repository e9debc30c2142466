//! The bytes between here and a server: a plain socket of our own, whose reads end when they are told to, or, for TLS,
//! the redis crate's connection, whose reads take as long as its time-out says.
//!
//! Invariant: a read that ended too early goes on with the next one where it stopped. Knows no commands.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use redis::{Client, Connection, ConnectionAddr, Parser, RedisResult, Value};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A way to a server.
pub(super) enum Wire {
    Plain(Socket, Box<Parser>),
    Tls(Box<Connection>),
}

/// A socket of our own.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    /// Connects; writing and, over TLS, reading take no longer than `deadline` from then on.
    pub(super) fn open(client: &Client, deadline: Duration) -> RedisResult<Self> {
        let socket = match client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) => Socket::Tcp(connect(host, *port, deadline)?),
            ConnectionAddr::Unix(path) => Socket::Unix(UnixStream::connect(path)?),
            _ => {
                let connection = client.get_connection_with_timeout(deadline)?;
                connection.set_read_timeout(Some(deadline))?;
                connection.set_write_timeout(Some(deadline))?;
                return Ok(Self::Tls(Box::new(connection)));
            }
        };
        match &socket {
            Socket::Tcp(tcp) => tcp.set_write_timeout(Some(deadline))?,
            Socket::Unix(unix) => unix.set_write_timeout(Some(deadline))?,
        }
        Ok(Self::Plain(socket, Box::default()))
    }

    /// Writes all of `bytes`.
    pub(super) fn send(&mut self, bytes: &[u8]) -> RedisResult<()> {
        match self {
            Self::Plain(Socket::Tcp(tcp), _) => Ok(tcp.write_all(bytes)?),
            Self::Plain(Socket::Unix(unix), _) => Ok(unix.write_all(bytes)?),
            Self::Tls(connection) => connection.send_packed_command(bytes),
        }
    }

    /// Reads one reply. On a plain socket, gives up at `until`; the next call goes on with the same reply.
    pub(super) fn receive(&mut self, until: Instant) -> RedisResult<Value> {
        match self {
            Self::Plain(socket, parser) => parser.parse_value(Until { socket, until }),
            Self::Tls(connection) => connection.recv_response(),
        }
    }

    /// True when a read ends at the time it is given.
    pub(super) const fn is_punctual(&self) -> bool {
        matches!(self, Self::Plain(..))
    }
}

fn connect(host: &str, port: u16, deadline: Duration) -> io::Result<TcpStream> {
    let mut failed = None;
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, deadline) {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                return Ok(tcp);
            }
            Err(e) => failed = Some(e),
        }
    }
    Err(failed.unwrap_or_else(|| io::Error::new(ErrorKind::NotFound, "the host has no address")))
}

/// Reads that end at a time.
struct Until<'a> {
    socket: &'a mut Socket,
    until: Instant,
}

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let socket = match &*self.socket {
            Socket::Tcp(tcp) => tcp.as_fd(),
            Socket::Unix(unix) => unix.as_fd(),
        };
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Also when bytes keep coming: they are read by who has the time.
                return Err(ErrorKind::WouldBlock.into());
            }
            let time = Timespec::try_from(left).map_err(|_| ErrorKind::InvalidInput)?;
            match poll(
                &mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)],
                Some(&time),
            ) {
                Ok(0) => return Err(ErrorKind::WouldBlock.into()),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        match self.socket {
            Socket::Tcp(tcp) => tcp.read(buffer),
            Socket::Unix(unix) => unix.read(buffer),
        }
    }
}
