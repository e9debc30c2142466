//! A real `redis-server` of a test's own, on a free loopback port.
//!
//! Invariant: the child is killed when the value is dropped. Speaks to it only through `redis-cli`
//! and a bare socket, so that it shares no code with what is tested.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fixture"
)]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long a server may take to answer its first PING.
const START: Duration = Duration::from_secs(10);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A running (or stopped) server with an empty directory of its own and no persistence.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    dir: PathBuf,
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    ///
    /// # Panics
    /// When `redis-server` is not installed or does not come up.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further command-line arguments, for example `["--requirepass", "x"]`.
    ///
    /// # Panics
    /// When `redis-server` is not installed or does not come up.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let dir =
            std::env::temp_dir().join(format!("scrollback-redis-{}-{count}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory for redis-server");
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let server = Self {
            port,
            dir,
            arguments,
            child: Mutex::new(None),
        };
        server.resume_or_spawn();
        server
    }

    /// The URL of the server, without user and password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The loopback port, the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server as `kill -9` does.
    pub fn stop(&self) {
        let child = self.child.lock().take();
        if let Some(mut child) = child {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Kills the server if it runs and starts it again on the same port, empty unless
    /// [`put_dump`](Self::put_dump) was called.
    ///
    /// # Panics
    /// When the server does not come up.
    pub fn restart(&self) {
        self.stop();
        self.resume_or_spawn();
    }

    /// Stops the process where it stands (SIGSTOP): connections stay open, nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Saves and returns the server's state.
    ///
    /// # Panics
    /// When the server cannot save.
    #[must_use]
    pub fn take_dump(&self) -> Vec<u8> {
        assert_eq!(self.cli(&["SAVE"]).trim(), "OK");
        fs::read(self.dir.join("dump.rdb")).expect("a dump")
    }

    /// Puts a state in place for the next [`restart`](Self::restart); `None` for an empty one.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn put_dump(&self, dump: Option<&[u8]>) {
        let path = self.dir.join("dump.rdb");
        match dump {
            Some(dump) => fs::write(path, dump).expect("writing a dump"),
            None => drop(fs::remove_file(path)),
        }
    }

    /// Runs one command through `redis-cli` and returns what it printed.
    ///
    /// # Panics
    /// When `redis-cli` is not installed.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .expect("redis-cli is missing; install it: apt-get install redis-server");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.lock().as_ref().map(Child::id);
        if let Some(pid) = pid {
            let status = Command::new("kill")
                .args([signal, &pid.to_string()])
                .status();
            assert!(status.is_ok_and(|s| s.success()), "kill {signal} {pid}");
        }
    }

    fn resume_or_spawn(&self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&self.dir)
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|e| {
            panic!("redis-server is missing ({e}); install it: apt-get install redis-server")
        });
        *self.child.lock() = Some(child);
        let until = Instant::now() + START;
        while !self.answers() {
            assert!(
                Instant::now() < until,
                "redis-server on port {} does not answer",
                self.port
            );
            // Nothing tells when a foreign process is ready: wait a little on a condition nobody sets.
            Condvar::new().wait_for(&mut Mutex::new(()).lock(), Duration::from_millis(5));
        }
    }

    fn answers(&self) -> bool {
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .ok();
        let mut reply = [0u8; 7];
        socket.write_all(b"PING\r\n").is_ok()
            && socket.read_exact(&mut reply).is_ok()
            && (&reply == b"+PONG\r\n" || reply.starts_with(b"-NOAUTH"))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
        fs::remove_dir_all(&self.dir).ok();
    }
}
