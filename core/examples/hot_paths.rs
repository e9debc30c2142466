//! Hot paths, one at a time, for an instruction counter: `hot_paths NAME COUNT` runs one of them COUNT times in a function
//! called `counted`. `core/benches/guard` compares what callgrind counts there with the committed baseline.
#![expect(clippy::print_stdout, reason = "an example that shows figures")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use scrollback::{Author, Cache, Learned, Message, Pinned, Session, SessionKey, SledConfig};
use tokio::runtime::Runtime;

/// Before anything is counted: the session is loaded, its maps have grown.
const WARM_UP: u64 = 300;

fn said(n: u64) -> Message {
    let text = "a".repeat(120);
    Message::user(Author::new("bench", n % 3), text)
        .id(1_455_000_000_000_000_000 + n)
        .at_ms(1_767_225_600_000 + n)
}

fn key(n: u64) -> SessionKey {
    SessionKey::new("bench", 1).space(7).channel(n)
}

async fn append(session: &Session, n: u64) -> scrollback::Result<()> {
    let turn = session.append(said(n)).await?;
    black_box(turn.context().messages.len());
    Ok(())
}

async fn append_pair(session: &Session, n: u64) -> scrollback::Result<()> {
    let turn = session.append_all([said(2 * n), said(2 * n + 1)]).await?;
    black_box(turn.context().messages.len());
    Ok(())
}

async fn context(session: &Session) -> scrollback::Result<()> {
    black_box(session.context_cached().await?.messages.len());
    Ok(())
}

/// What is counted; never inlined, so that it can be named.
#[inline(never)]
fn counted(path: &str, runtime: &Runtime, cache: &Cache, count: u64) -> anyhow::Result<()> {
    let session = cache.session(key(0));
    for n in WARM_UP..WARM_UP + count {
        match path {
            "append" | "append_pinned" | "append_learned" => {
                runtime.block_on(append(&session, n))?;
            }
            "append_pair" => runtime.block_on(append_pair(&session, n))?,
            "context" => runtime.block_on(context(&session))?,
            "session" => drop(black_box(cache.session(key(n % 10)))),
            _ => anyhow::bail!(
                "unknown path {path}: append, append_pinned, append_learned, append_pair, context, session"
            ),
        }
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "append".to_owned());
    let count = arguments.next().map_or(Ok(1000), |n| n.parse())?;
    let data = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let cache = runtime.block_on(async {
        let builder = Cache::builder()
            .store(SledConfig::new(data.path()))
            .flush_every(Duration::from_secs(3600));
        // What a time-to-live policy costs: `append` has the default one, Economic.
        let builder = match path.as_str() {
            "append_pinned" => builder.ttl(Pinned),
            "append_learned" => builder.ttl(Learned::new(Duration::from_secs(86_400))?),
            _ => builder,
        };
        let cache = builder.build().await?;
        let session = cache.session(key(0));
        for n in 0..WARM_UP {
            append(&session, n).await?;
        }
        anyhow::Ok(cache)
    })?;
    let began = Instant::now();
    counted(&path, &runtime, &cache, count)?;
    let each = began.elapsed().as_nanos() / u128::from(count.max(1));
    println!("{path}: {each} ns each");
    // A flush at the end would only disturb a profile.
    data.close()?;
    std::process::exit(0)
}
