//! One connection to the gateway: frames in, frames out, until either side has enough.

use std::io::Write as _;
use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use flate2::write::ZlibEncoder;
use flate2::{Compress, Compression, FlushCompress};
use tokio::sync::Notify;

use super::Out;
use crate::fake_discord::net::Cut;
use crate::fake_discord::record::Asked;
use crate::fake_discord::state::Shared;

/// Serves one connection to its end.
pub(crate) async fn serve(
    mut socket: WebSocket,
    shared: Arc<Shared>,
    cut: Arc<Cut>,
    stream: bool,
    version: Option<&str>,
) {
    let (id, notify) = shared.with(|state| state.gateway.open(cut));
    if version.is_some_and(|version| version != "10") {
        shared.with(|state| state.gateway.close(id, 4012));
    }
    let deflate = stream.then(|| Compress::new(Compression::fast(), true));
    let code = talk(&mut socket, &shared, id, &notify, deflate).await;
    shared.with(|state| {
        state.record.asked(id, Asked::Closed(code));
        state.gateway.gone(id, code);
    });
}

async fn talk(
    socket: &mut WebSocket,
    shared: &Shared,
    id: u64,
    notify: &Notify,
    mut deflate: Option<Compress>,
) -> Option<u16> {
    loop {
        let (orders, wake) = shared.with(|state| state.gateway.take(id));
        for order in orders {
            let last = matches!(order, Out::Close(..));
            let frame = frame(order, deflate.as_mut());
            if socket.send(frame).await.is_err() || last {
                return None;
            }
        }
        tokio::select! {
            got = socket.recv() => match got {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
                Some(Ok(message)) => shared.with(|state| state.receive(id, &message)),
                Some(Err(_)) | None => return None,
            },
            () = notify.notified() => {}
            () = tokio::time::sleep_until(wake.into()) => {
                shared.with(|state| state.gateway.check_beat(id));
            }
        }
    }
}

fn frame(order: Out, deflate: Option<&mut Compress>) -> Message {
    match order {
        Out::Close(code, reason) => Message::Close(Some(CloseFrame {
            code,
            reason: reason.into(),
        })),
        Out::Frame { text, zlib } => {
            let packed = match deflate {
                Some(deflate) => streamed(&text, deflate),
                None => zlib.then(|| alone(&text)).flatten(),
            };
            packed.map_or_else(
                || Message::Text(text.into()),
                |bytes| Message::Binary(bytes.into()),
            )
        }
    }
}

/// A payload as a zlib stream of its own.
fn alone(text: &str) -> Option<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok()
}

/// A payload as the next part of the connection's stream, which ends with a flush.
fn streamed(text: &str, deflate: &mut Compress) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + 128);
    let mut left = text.as_bytes();
    loop {
        let before = deflate.total_in();
        deflate
            .compress_vec(left, &mut out, FlushCompress::Sync)
            .ok()?;
        let taken = usize::try_from(deflate.total_in() - before).ok()?;
        left = left.get(taken..)?;
        if left.is_empty() && out.len() < out.capacity() {
            return Some(out);
        }
        out.reserve(text.len() + 128);
    }
}
