//! sendDocument: an upload beside the arguments, or the identifier of a document sent before.

use serde_json::{Value, json};

use super::answer::{Refusal, Reply};
use super::args::{Args, Upload};
use super::entities::units;
use super::formatting::formatted;
use super::record::SentDocument;
use super::sending::{place, send};
use super::state::State;
use super::world::message_id;

/// The largest file that a bot may upload, in bytes.
const LARGEST_FILE: usize = 50 * 1024 * 1024;

/// The longest caption, in UTF-16 units after parsing.
const LONGEST_CAPTION: usize = 1024;

pub(crate) fn send_document(state: &mut State, args: &Args) -> Reply {
    let caption = formatted(args, "caption", "caption_entities")?;
    let upload = upload(args).cloned();
    let sent_before = args.text("document").and_then(|id| {
        let is_it = |sent: &&SentDocument| sent.file_id == id;
        state.record.documents.iter().find(is_it).cloned()
    });
    let place = place(state, args)?;
    if units(&caption.text) > LONGEST_CAPTION {
        return Err(Refusal::bad("message caption is too long"));
    }
    let file = match (upload, sent_before) {
        (Some(file), _) => file,
        (None, Some(sent)) => Upload {
            file_name: sent.file_name,
            mime_type: sent.mime_type,
            bytes: sent.bytes,
        },
        (None, None) if args.text("document").is_none_or(|text| text.is_empty()) => {
            return Err(Refusal::bad("there is no document in the request"));
        }
        (None, None) => {
            return Err(Refusal::bad("wrong file identifier/HTTP URL specified"));
        }
    };
    if file.bytes.is_empty() {
        return Err(Refusal::bad("file must be non-empty"));
    }
    if file.bytes.len() > LARGEST_FILE {
        return Err(Refusal::new(413, "Request Entity Too Large"));
    }
    let (document, file_id) = document(state, &file);
    let chat = place.chat;
    let done = send(state, args, &place, caption, Some(&document))?;
    state.record.documents.push(SentDocument {
        chat,
        message_id: message_id(&done.result),
        file_id,
        file_name: file.file_name,
        mime_type: file.mime_type,
        bytes: file.bytes,
    });
    Ok(done)
}

/// The file that `document` names with `attach://`, or that is sent under that name itself.
fn upload(args: &Args) -> Option<&Upload> {
    let named = args.text("document").and_then(|text| {
        let name = text.strip_prefix("attach://")?.to_owned();
        args.files.get(&name)
    });
    named.or_else(|| args.files.get("document"))
}

/// A document object for a file, with its new identifier.
pub(crate) fn document(state: &mut State, file: &Upload) -> (Value, String) {
    let number = state.new_id();
    let file_id = format!("BQACAgIAAxkDAAM{number:06}ZkT5tJp3mQABv1hYJ0c2nD8sAAgQ");
    let document = json!({
        "file_id": file_id, "file_unique_id": format!("AgAD{number:06}AAjQ"),
        "file_name": file.file_name, "mime_type": file.mime_type, "file_size": file.bytes.len(),
    });
    (document, file_id)
}
