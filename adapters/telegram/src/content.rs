//! What a message says and carries: text, entities, files by reference.
//!
//! Invariant: pure; `None` for service messages, which nobody said.

use scrollback::Attachment;
use teloxide::types::{
    FileMeta, MediaKind, Message, MessageCommon, MessageDice, MessageEntity, MessageEntityKind,
    MessageKind, PhotoSize,
};

/// What a message says and carries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// The text or caption as typed, or a short text in brackets for what has neither.
    pub(crate) text: String,
    /// What of the text is a mention or a command.
    pub(crate) marks: Vec<Mark>,
    /// Files, by reference.
    pub(crate) files: Vec<Attachment>,
}

/// Part of a text that names somebody or is a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// `@name`, without the `@`.
    Mention(String),
    /// A person by id.
    Person(u64),
    /// A command: whether the text starts with it, and the bot that it names.
    Command { first: bool, bot: Option<String> },
}

/// Reads a message's content.
pub(crate) fn read(message: &Message) -> Option<Content> {
    match &message.kind {
        MessageKind::Common(common) => common_content(common),
        MessageKind::Dice(MessageDice { dice }) => Some(plain(format!("[dice: {}]", dice.value))),
        _ => None,
    }
}

fn common_content(common: &MessageCommon) -> Option<Content> {
    let content = match &common.media_kind {
        MediaKind::Text(m) => captioned(Some(&m.text), &m.entities, None),
        MediaKind::Photo(m) => {
            let largest = m
                .photo
                .iter()
                .max_by_key(|p| (p.width, p.height))
                .map(photo);
            captioned(m.caption.as_ref(), &m.caption_entities, largest)
        }
        MediaKind::Document(m) => {
            let d = &m.document;
            let file = file(&d.file, text(d.mime_type.as_ref()), d.file_name.clone());
            captioned(m.caption.as_ref(), &m.caption_entities, Some(file))
        }
        MediaKind::Video(m) => {
            let v = &m.video;
            let file = file(&v.file, text(v.mime_type.as_ref()), v.file_name.clone());
            captioned(m.caption.as_ref(), &m.caption_entities, Some(file))
        }
        MediaKind::Animation(m) => {
            let a = &m.animation;
            let file = file(&a.file, text(a.mime_type.as_ref()), a.file_name.clone());
            captioned(m.caption.as_ref(), &m.caption_entities, Some(file))
        }
        MediaKind::Audio(m) => {
            let a = &m.audio;
            let name = a.file_name.clone().or_else(|| a.title.clone());
            let file = file(&a.file, text(a.mime_type.as_ref()), name);
            captioned(m.caption.as_ref(), &m.caption_entities, Some(file))
        }
        MediaKind::Voice(m) => {
            let file = file(&m.voice.file, text(m.voice.mime_type.as_ref()), None);
            captioned(m.caption.as_ref(), &m.caption_entities, Some(file))
        }
        other => return uncaptioned(other),
    };
    Some(content)
}

/// What carries no caption.
fn uncaptioned(media: &MediaKind) -> Option<Content> {
    let content = match media {
        MediaKind::VideoNote(m) => captioned(
            None,
            &[],
            Some(file(&m.video_note.file, Some("video/mp4".into()), None)),
        ),
        MediaKind::Sticker(m) => {
            let picture = file(&m.sticker.file, None, m.sticker.set_name.clone());
            captioned(m.sticker.emoji.as_ref(), &[], Some(picture))
        }
        MediaKind::Location(m) => {
            let at = &m.location;
            plain(format!(
                "[location: {:.5}, {:.5}]",
                at.latitude, at.longitude
            ))
        }
        MediaKind::Venue(m) => plain(format!("[place: {}, {}]", m.venue.title, m.venue.address)),
        MediaKind::Contact(m) => {
            let last = m.contact.last_name.as_deref().unwrap_or_default();
            plain(format!(
                "[contact: {}]",
                format!("{} {last}", m.contact.first_name).trim()
            ))
        }
        MediaKind::Poll(m) => {
            let options: Vec<&str> = m.poll.options.iter().map(|o| o.text.as_str()).collect();
            plain(format!(
                "[poll: {} – {}]",
                m.poll.question,
                options.join(" / ")
            ))
        }
        MediaKind::Checklist(m) => plain(format!("[checklist: {}]", m.checklist.title)),
        MediaKind::Game(m) => plain(format!("[game: {}]", m.game.title)),
        MediaKind::Story(_) => plain("[story]".into()),
        MediaKind::PaidMedia(_) => plain("[paid media]".into()),
        _ => return None,
    };
    Some(content)
}

fn captioned(
    text: Option<&String>,
    entities: &[MessageEntity],
    file: Option<Attachment>,
) -> Content {
    let text = text.cloned().unwrap_or_default();
    Content {
        marks: entities.iter().filter_map(|e| mark(&text, e)).collect(),
        text,
        files: file.into_iter().collect(),
    }
}

fn plain(text: String) -> Content {
    Content {
        text,
        ..Content::default()
    }
}

fn mark(text: &str, entity: &MessageEntity) -> Option<Mark> {
    match &entity.kind {
        MessageEntityKind::Mention => {
            let name = part(text, entity)?.strip_prefix('@')?.to_owned();
            Some(Mark::Mention(name))
        }
        MessageEntityKind::TextMention { user } => Some(Mark::Person(user.id.0)),
        MessageEntityKind::BotCommand => {
            let command = part(text, entity)?;
            Some(Mark::Command {
                first: entity.offset == 0,
                bot: command.split_once('@').map(|(_, bot)| bot.to_owned()),
            })
        }
        _ => None,
    }
}

/// What an entity covers; `None` when it does not fit the text.
fn part<'a>(text: &'a str, entity: &MessageEntity) -> Option<&'a str> {
    let end = entity.offset.checked_add(entity.length)?;
    let (mut units, mut from, mut to) = (0, None, None);
    for (at, c) in text.char_indices() {
        from = from.or((units == entity.offset).then_some(at));
        to = to.or((units == end).then_some(at));
        units += c.len_utf16();
    }
    to = to.or((units == end).then_some(text.len()));
    text.get(from?..to?)
}

fn photo(size: &PhotoSize) -> Attachment {
    // Telegram turns every photo into JPEG.
    file(&size.file, Some("image/jpeg".into()), None)
}

fn file(meta: &FileMeta, media_type: Option<String>, name: Option<String>) -> Attachment {
    Attachment {
        reference: meta.id.0.clone(),
        media_type,
        name,
        // Telegram leaves the size out where it does not know it; teloxide says u32::MAX then.
        size: (meta.size != u32::MAX).then_some(u64::from(meta.size)),
    }
}

fn text(mime: Option<&impl ToString>) -> Option<String> {
    mime.map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn content(mut body: Value) -> Option<Content> {
        let head = json!({
            "message_id": 3, "date": 1_700_000_000, "chat": { "id": 1, "type": "private" },
            "from": { "id": 1, "is_bot": false, "first_name": "Ann" },
        });
        let fields = body.as_object_mut().unwrap();
        fields.extend(head.as_object().unwrap().clone());
        read(&serde_json::from_value(body).unwrap())
    }

    fn said(body: Value) -> String {
        content(body).unwrap().text
    }

    #[test]
    fn files_are_kept_by_reference() {
        let photo = content(json!({ "caption": "look", "photo": [
            { "file_id": "s", "file_unique_id": "u1", "width": 90, "height": 60, "file_size": 1000 },
            { "file_id": "l", "file_unique_id": "u2", "width": 900, "height": 600, "file_size": 90_000 },
        ]}));
        let photo = photo.unwrap();
        assert_eq!(photo.text, "look");
        let [file] = photo.files.as_slice() else {
            panic!("{photo:?}")
        };
        assert_eq!((file.reference.as_str(), file.size), ("l", Some(90_000)));
        let document = content(json!({ "document": {
            "file_id": "d", "file_unique_id": "u", "file_name": "a.pdf", "mime_type": "application/pdf",
        }}));
        let document = document.unwrap();
        let [file] = document.files.as_slice() else {
            panic!("{document:?}")
        };
        assert_eq!(file.name.as_deref(), Some("a.pdf"));
        assert_eq!(
            (file.media_type.as_deref(), file.size),
            (Some("application/pdf"), None)
        );
        assert_eq!(document.text, "");
    }

    #[test]
    fn what_is_no_text_is_told_in_a_few_words() {
        let sticker = json!({ "sticker": {
            "file_id": "k", "file_unique_id": "u", "type": "regular", "width": 512, "height": 512,
            "is_animated": false, "is_video": false, "emoji": "🐱", "set_name": "cats",
        }});
        assert_eq!(said(sticker), "🐱");
        let at = json!({ "latitude": 52.5, "longitude": 13.4 });
        assert_eq!(
            said(json!({ "location": at })),
            "[location: 52.50000, 13.40000]"
        );
        let contact = json!({ "phone_number": "+49", "first_name": "Bo", "last_name": "Li" });
        assert_eq!(said(json!({ "contact": contact })), "[contact: Bo Li]");
        let poll = json!({
            "id": "1", "question": "tea?", "options": [
                { "text": "yes", "voter_count": 0 }, { "text": "no", "voter_count": 0 },
            ], "total_voter_count": 0, "is_closed": false, "is_anonymous": true, "type": "regular",
            "allows_multiple_answers": false,
        });
        assert_eq!(said(json!({ "poll": poll })), "[poll: tea? – yes / no]");
        let dice = json!({ "emoji": "🎲", "value": 4 });
        assert_eq!(said(json!({ "dice": dice })), "[dice: 4]");
    }

    #[test]
    fn service_messages_were_said_by_nobody() {
        let ann = json!({ "id": 1, "is_bot": false, "first_name": "Ann" });
        for body in [
            json!({ "new_chat_members": [ann] }),
            json!({ "left_chat_member": ann }),
            json!({ "new_chat_title": "x" }),
            json!({ "forum_topic_created": { "name": "t", "icon_color": 7_322_096 } }),
            json!({ "migrate_to_chat_id": -1002 }),
            json!({}),
        ] {
            assert_eq!(content(body.clone()), None, "{body}");
        }
    }

    #[test]
    fn entities_count_in_utf16_and_may_be_nonsense() {
        let marks = |text: &str, kind: &str, offset: usize, length: usize| {
            let entities = json!([{ "type": kind, "offset": offset, "length": length }]);
            content(json!({ "text": text, "entities": entities }))
                .unwrap()
                .marks
        };
        assert_eq!(
            marks("😀 @bob!", "mention", 3, 4),
            [Mark::Mention("bob".into())]
        );
        for (offset, length) in [(1, 4), (3, 400), (usize::MAX, 2), (99, 1)] {
            assert!(marks("😀 @bob!", "mention", offset, length).is_empty());
        }
        let command = |first, bot: Option<&str>| Mark::Command {
            first,
            bot: bot.map(Into::into),
        };
        assert_eq!(
            marks("/help@Bob x", "bot_command", 0, 9),
            [command(true, Some("Bob"))]
        );
        assert_eq!(
            marks("a /help", "bot_command", 2, 5),
            [command(false, None)]
        );
    }
}
