//! A network between a client and a server, which can be broken in every way that networks break.
//!
//! Invariant: bytes are late, lost with their connection, or right; never changed, never another connection's. Its threads end
//! with the value. Knows no protocol.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use parking_lot::{Condvar, Mutex};

/// What the network does to bytes and to new connections; a reply is delivered as the weather was when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Connections end, new ones are ended at once.
    Cut,
    /// The same with a reset instead of an end.
    Reset,
    /// Connections are taken in; what they say is swallowed, also after the weather has changed.
    BlackHole,
    /// Replies come a byte each second.
    Trickle,
    /// Every reply comes so much later.
    Late(Duration),
    /// So many of a hundred replies come late, by something between the two, in milliseconds.
    SomeLate(u8, u64, u64),
    /// Replies come in time, each byte by itself.
    Split,
}

#[derive(Debug)]
struct Sky {
    weather: Weather,
    target: SocketAddr,
    /// Both ends of every connection.
    open: Vec<(TcpStream, TcpStream)>,
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    sky: Mutex<Sky>,
    changed: Condvar,
}

/// A port of its own that leads to a server.
#[derive(Debug)]
pub(crate) struct Proxy {
    at: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens, in fair weather.
    ///
    /// # Errors
    /// There is no port.
    pub(crate) fn to(port: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let at = listener.local_addr()?;
        let sky = Sky {
            weather: Weather::Fair,
            target: ([127, 0, 0, 1], port).into(),
            open: Vec::new(),
            ended: false,
        };
        let shared = Arc::new(Shared {
            sky: Mutex::new(sky),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let listener = std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || listen(&listener, &own))
            .context("a thread for the proxy")?;
        Ok(Self {
            at,
            shared,
            listener: Some(listener),
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.at.port()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.at)
    }

    /// Changes the weather for what is open and for what comes.
    pub(crate) fn turn(&self, weather: Weather) {
        let mut sky = self.shared.sky.lock();
        sky.weather = weather;
        if matches!(weather, Weather::Cut | Weather::Reset) {
            sky.cut();
        }
        self.shared.changed.notify_all();
    }

    /// Leads to another server from now on; what is open ends.
    pub(crate) fn lead_to(&self, port: u16) {
        let mut sky = self.shared.sky.lock();
        sky.target = ([127, 0, 0, 1], port).into();
        sky.cut();
        sky.weather = Weather::Fair;
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut sky = self.shared.sky.lock();
            sky.ended = true;
            sky.cut();
            self.shared.changed.notify_all();
        }
        // Wakes the listener.
        drop(TcpStream::connect(self.at));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Sky {
    fn cut(&mut self) {
        let reset = self.weather == Weather::Reset;
        for (client, server) in self.open.drain(..) {
            end(&client, reset);
            end(&server, false);
        }
    }
}

fn end(stream: &TcpStream, reset: bool) {
    if reset {
        // Nothing lingers: a close is a reset. The copying threads hold the socket open until they see its end.
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        let _ = stream.shutdown(Shutdown::Read);
    } else {
        let _ = stream.shutdown(Shutdown::Both);
    }
}

fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut copies = Vec::new();
    while let Ok((client, _)) = listener.accept() {
        let mut sky = shared.sky.lock();
        if sky.ended {
            break;
        }
        if matches!(sky.weather, Weather::Cut | Weather::Reset) {
            end(&client, sky.weather == Weather::Reset);
            continue;
        }
        // A server that is down is a connection that ends.
        if let Ok(threads) = open(&client, &mut sky, shared) {
            copies.extend(threads);
        }
        copies.retain(|thread: &JoinHandle<()>| !thread.is_finished());
    }
    for thread in copies {
        let _ = thread.join();
    }
}

fn open(
    client: &TcpStream,
    sky: &mut Sky,
    shared: &Arc<Shared>,
) -> std::io::Result<[JoinHandle<()>; 2]> {
    let server = TcpStream::connect(sky.target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    sky.open.push((client.try_clone()?, server.try_clone()?));
    let up = (client.try_clone()?, server.try_clone()?);
    let down = (server, client.try_clone()?);
    let (asking, answering) = (Arc::clone(shared), Arc::clone(shared));
    let asked = std::thread::Builder::new().spawn(move || requests(up, &asking))?;
    let answered = std::thread::Builder::new().spawn(move || replies(down, &answering))?;
    Ok([asked, answered])
}

/// Copies what a client asks.
fn requests((mut from, mut to): (TcpStream, TcpStream), shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    let mut swallowed = false;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        swallowed |= shared.sky.lock().weather == Weather::BlackHole;
        let whole = buffer.get(..count).unwrap_or_default();
        if !swallowed && to.write_all(whole).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// Copies what a server answers, as the weather is.
fn replies((mut from, mut to): (TcpStream, TcpStream), shared: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    let mut swallowed = false;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let weather = shared.sky.lock().weather;
        swallowed |= weather == Weather::BlackHole;
        let whole = buffer.get(..count).unwrap_or_default();
        if !swallowed && deliver(&mut to, whole, weather, shared).is_err() {
            break;
        }
    }
    // An end in good order would come before the reset.
    if shared.sky.lock().weather != Weather::Reset {
        let _ = to.shutdown(Shutdown::Write);
    }
    let _ = from.shutdown(Shutdown::Both);
}

fn deliver(
    to: &mut TcpStream,
    bytes: &[u8],
    weather: Weather,
    shared: &Shared,
) -> std::io::Result<()> {
    match weather {
        Weather::Late(time) => wait(shared, time)?,
        Weather::SomeLate(percent, from, until) if fastrand::u8(..100) < percent => {
            wait(shared, Duration::from_millis(fastrand::u64(from..until)))?;
        }
        Weather::Trickle | Weather::Split => {
            for byte in bytes {
                to.write_all(&[*byte])?;
                if weather == Weather::Trickle {
                    wait(shared, Duration::from_secs(1))?;
                }
            }
            return Ok(());
        }
        _ => {}
    }
    to.write_all(bytes)
}

/// Waits, whatever becomes of the weather: what is on its way is late also when it is fair again.
fn wait(shared: &Shared, time: Duration) -> std::io::Result<()> {
    let until = Instant::now() + time;
    let mut sky = shared.sky.lock();
    while !sky.ended && Instant::now() < until {
        shared.changed.wait_until(&mut sky, until);
    }
    if sky.ended {
        return Err(std::io::ErrorKind::ConnectionAborted.into());
    }
    Ok(())
}
