//! The Redis that is measured on, and what it says of its own work.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;

/// How long a server of our own may take to answer.
const START: Duration = Duration::from_secs(10);

/// A Redis: somebody's, or one started for the run and ended with it.
#[derive(Debug)]
pub(crate) struct Server {
    url: String,
    own: Option<(Child, tempfile::TempDir)>,
}

impl Server {
    /// The Redis at `url`; without one, a fresh `redis-server` on a free loopback port; `None` when there is no such
    /// program.
    pub(crate) async fn start(url: Option<&str>) -> anyhow::Result<Option<Self>> {
        if let Some(url) = url {
            let url = url.to_owned();
            return Ok(Some(Self { url, own: None }));
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let dir = tempfile::tempdir()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).context("starting redis-server"),
        };
        let server = Self {
            url: format!("redis://127.0.0.1:{port}/"),
            own: Some((child, dir)),
        };
        let began = Instant::now();
        while Monitor::connect(&server.url).await.is_err() {
            anyhow::ensure!(began.elapsed() < START, "redis-server does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Some(server))
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a Redis has done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    pub(crate) cpu: Duration,
    pub(crate) commands: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl Load {
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            commands: self.commands.saturating_sub(before.commands),
            bytes_in: self.bytes_in.saturating_sub(before.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(before.bytes_out),
        }
    }
}

/// Asks a Redis what it has done. What it asks itself is counted too: two commands and about 10 kB a round.
#[derive(Debug)]
pub(crate) struct Monitor {
    connection: MultiplexedConnection,
}

impl Monitor {
    pub(crate) async fn connect(url: &str) -> anyhow::Result<Self> {
        let client = redis::Client::open(url).context("the URL of Redis")?;
        let connection = client.get_multiplexed_async_connection().await;
        let mut connection = connection.context("connecting to Redis")?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        Ok(Self { connection })
    }

    pub(crate) async fn load(&self) -> anyhow::Result<Load> {
        let mut connection = self.connection.clone();
        let mut info = redis::cmd("INFO");
        info.arg("stats").arg("cpu");
        let text: String = info.query_async(&mut connection).await?;
        let field = |name: &str| {
            let of = |line: &str| {
                Some(
                    line.strip_prefix(name)?
                        .strip_prefix(':')?
                        .trim()
                        .to_owned(),
                )
            };
            text.lines()
                .find_map(of)
                .with_context(|| format!("Redis does not tell {name}"))
        };
        let user: f64 = field("used_cpu_user")?.parse()?;
        let system: f64 = field("used_cpu_sys")?.parse()?;
        Ok(Load {
            cpu: Duration::from_secs_f64(user + system),
            commands: field("total_commands_processed")?.parse()?,
            bytes_in: field("total_net_input_bytes")?.parse()?,
            bytes_out: field("total_net_output_bytes")?.parse()?,
        })
    }
}
