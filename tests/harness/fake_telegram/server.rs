//! The HTTP side: a runtime on its own thread, calls in, answers out, failures on demand.
//!
//! Clients connect to a front that passes bytes on to axum; the front is what cuts connections, so
//! that a cut is a reset on the wire and not an orderly answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State as Extracted};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use super::answer::{Refusal, Reply};
use super::args::Args;
use super::faults::Failure;
use super::record::Call;
use super::state::{Shared, State};
use super::{chats, commands, documents, editing, sending, updates, webhook};

/// How long the runtime waits for its tasks when the server ends.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Cuts single connections by the address under which the inner server sees them.
type Cutters = Arc<Mutex<BTreeMap<SocketAddr, oneshot::Sender<()>>>>;

#[derive(Clone)]
struct Inner {
    shared: Arc<Shared>,
    cutters: Cutters,
}

/// Runs the server until `stop` is dropped; sends its address when it listens.
pub(crate) fn run(
    shared: &Arc<Shared>,
    stop: oneshot::Receiver<()>,
    ready: &std::sync::mpsc::Sender<anyhow::Result<SocketAddr>>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("fake-telegram")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(error.into()));
            return;
        }
    };
    runtime.block_on(async {
        match listen(shared).await {
            Ok(address) => {
                let _ = ready.send(Ok(address));
                let _ = stop.await;
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    });
    runtime.shutdown_timeout(LAST_MOMENT);
}

async fn listen(shared: &Arc<Shared>) -> anyhow::Result<SocketAddr> {
    let front = TcpListener::bind("127.0.0.1:0")
        .await
        .context("no free port")?;
    let back = TcpListener::bind("127.0.0.1:0")
        .await
        .context("no free port")?;
    let address = front.local_addr()?;
    let target = back.local_addr()?;
    let cutters = Cutters::default();
    let inner = Inner {
        shared: Arc::clone(shared),
        cutters: Arc::clone(&cutters),
    };
    let router = Router::new()
        .fallback(handle)
        .layer(DefaultBodyLimit::disable())
        .with_state(inner)
        .into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(back, router).into_future());
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        while let Ok((client, _)) = front.accept().await {
            if shared.look(|state| state.offline) {
                reset(client);
            } else {
                let cuts = shared.cuts();
                tokio::spawn(pass(client, target, cuts, Arc::clone(&cutters)));
            }
        }
    });
    Ok(address)
}

/// Closes a connection with a reset rather than in good order.
fn reset(client: TcpStream) {
    let _ = client.set_zero_linger();
    drop(client);
}

/// Passes bytes both ways until one side ends or the connection is to be cut.
async fn pass(
    mut client: TcpStream,
    target: SocketAddr,
    mut cuts: watch::Receiver<u64>,
    cutters: Cutters,
) {
    let Ok(mut server) = TcpStream::connect(target).await else {
        return reset(client);
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let Ok(own) = server.local_addr() else {
        return reset(client);
    };
    let (cutter, cut) = oneshot::channel();
    cutters.lock().insert(own, cutter);
    let ended = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => true,
        _ = cuts.changed() => false,
        _ = cut => false,
    };
    cutters.lock().remove(&own);
    if !ended {
        reset(client);
    }
}

/// One HTTP request.
async fn handle(
    Extracted(inner): Extracted<Inner>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let shared = &inner.shared;
    let path = request.uri().path().to_owned();
    let (method, token_fits) = match split(&path) {
        Some((token, method)) => (
            method.to_owned(),
            shared.look(|state| state.token == token && !state.revoked),
        ),
        None => return answered(Err(Refusal::not_found())),
    };
    if !token_fits {
        return answered(Err(Refusal::unauthorized()));
    }
    let args = match Args::read(request).await {
        Ok(args) => args,
        Err(refusal) => return answered(Err(refusal)),
    };
    let name = method.to_ascii_lowercase();
    let (failure, delay, logged_out) = shared.with(|state| {
        state.record.calls.push(Call {
            method: method.clone(),
            at: Timestamp::now(),
            body: shown(&args),
        });
        (
            state.faults.take(&name),
            state.faults.delays.get(&name).copied(),
            state.logged_out,
        )
    });
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    if logged_out {
        return answered(Err(Refusal::new(400, "Logged out")));
    }
    match failure {
        None => answered(carry_out(shared, &name, args).await),
        Some(failure) => fail(&inner, peer, failure, &name, args).await,
    }
}

/// The token and the method of `/bot<token>/<method>`.
fn split(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/bot")?
        .split_once('/')
        .filter(|(_, method)| !method.is_empty())
}

/// The arguments for the record; files stand as their names and sizes.
fn shown(args: &Args) -> Value {
    let mut values = args.values.clone();
    for (name, file) in &args.files {
        let file = json!({ "file_name": file.file_name, "size": file.bytes.len() });
        values.insert(name.clone(), file);
    }
    Value::Object(values)
}

async fn fail(
    inner: &Inner,
    peer: SocketAddr,
    failure: Failure,
    method: &str,
    args: Args,
) -> Response {
    match failure {
        Failure::TooManyRequests(seconds) => answered(Err(Refusal::too_many(seconds))),
        Failure::Refused(code, description) => answered(Err(Refusal::new(code, description))),
        Failure::Html(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            let page = format!(
                "<html>\r\n<head><title>{status}</title></head>\r\n<body>\r\n<center><h1>{status}\
                 </h1></center>\r\n<hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>\r\n"
            );
            (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
        }
        Failure::Garbage => {
            let head = [(header::CONTENT_TYPE, "application/json")];
            (StatusCode::OK, head, "{\"ok\":true,\"resu").into_response()
        }
        Failure::Hang => std::future::pending().await,
        Failure::LostRequest => cut(inner, peer).await,
        Failure::LostReply => {
            let _ = carry_out(&inner.shared, method, args).await;
            cut(inner, peer).await
        }
    }
}

/// Resets this connection; no answer goes out.
async fn cut(inner: &Inner, peer: SocketAddr) -> Response {
    let cutter = inner.cutters.lock().remove(&peer);
    if let Some(cutter) = cutter {
        let _ = cutter.send(());
    }
    std::future::pending().await
}

fn answered(reply: Reply) -> Response {
    let (status, body) = match reply {
        Ok(done) => (200, done.body()),
        Err(refusal) => (refusal.code, refusal.body()),
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Carries a call out; the method's name may be in any case.
pub(crate) async fn carry_out(shared: &Arc<Shared>, method: &str, args: Args) -> Reply {
    let method = method.to_ascii_lowercase();
    match method.as_str() {
        "getupdates" => updates::get_updates(shared, &args).await,
        "setwebhook" => webhook::set(shared, &args),
        _ => {
            let Some(carry) = method_of(&method) else {
                return Err(Refusal::not_found());
            };
            shared.with(|state| carry(state, &args))
        }
    }
}

type Method = fn(&mut State, &Args) -> Reply;

fn method_of(name: &str) -> Option<Method> {
    Some(match name {
        "getme" => |state, _| Ok(state.bot.me().into()),
        "close" => chats::close,
        "logout" => chats::log_out,
        "deletewebhook" => webhook::delete,
        "getwebhookinfo" => |state, _| Ok(webhook::info(state).into()),
        "sendmessage" => sending::send_message,
        "sendchataction" => sending::send_chat_action,
        "senddocument" => documents::send_document,
        "editmessagetext" => editing::edit_message_text,
        "deletemessage" => editing::delete_message,
        "setmycommands" => commands::set,
        "getmycommands" => commands::get,
        "deletemycommands" => commands::delete,
        "getchat" => chats::get_chat,
        "getchatmember" => chats::get_chat_member,
        "getchatadministrators" => chats::get_chat_administrators,
        "leavechat" => chats::leave_chat,
        "getbusinessconnection" => chats::get_business_connection,
        _ => return None,
    })
}
