//! Texts: limits, formatting and its refusals, edits, replies, documents, commands.

use serde_json::{Value, json};

use super::client::{begin, call, end, ok, refused};
use crate::fake_telegram::{FakeTelegram, RateLimits};

fn send(fake: &FakeTelegram, chat: i64, text: &str, mode: &str) -> Value {
    let body = json!({ "chat_id": chat, "text": text, "parse_mode": mode });
    call(fake, "sendMessage", &body)
}

#[test]
fn a_text_has_at_most_4096_utf16_units_after_parsing() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.private(fake.user("Ann"));
    let fits = format!("<b>{}</b>", "😀".repeat(2048));
    assert_eq!(send(&fake, ann, &fits, "HTML")["ok"], true);
    let long = format!("{}a", "😀".repeat(2048));
    let answer = send(&fake, ann, &long, "");
    assert_eq!(answer["description"], "Bad Request: message is too long");
    let empty = send(&fake, ann, "", "");
    assert_eq!(empty["description"], "Bad Request: message text is empty");
    assert_eq!(
        send(&fake, 4711, "x", "")["description"],
        "Bad Request: chat not found"
    );
}

#[test]
fn html_becomes_entities_and_broken_html_is_refused() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.private(fake.user("Ann"));
    let text = "😀 <b>bold <i>both</i></b> &lt;x&gt; <pre><code class=\"language-rust\">let a;</code>\
                </pre><a href=\"https://example.org/a?b=1&amp;c=2\">link</a>";
    let sent = &send(&fake, ann, text, "HTML")["result"];
    assert_eq!(sent["text"], "😀 bold both <x> let a;link");
    assert_eq!(
        sent["entities"],
        json!([
            { "type": "bold", "offset": 3, "length": 9 },
            { "type": "italic", "offset": 8, "length": 4 },
            { "type": "pre", "offset": 17, "length": 6, "language": "rust" },
            { "type": "text_link", "offset": 23, "length": 4,
              "url": "https://example.org/a?b=1&c=2" },
        ])
    );
    let cases = [
        (
            "<b>x",
            "Can't find end tag corresponding to start tag \"b\"",
        ),
        (
            "a <foo>x</foo>",
            "Unsupported start tag \"foo\" at byte offset 2",
        ),
        (
            "<b>x</i>",
            "Unmatched end tag at byte offset 4, expected \"</b>\", found \"</i>\"",
        ),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("1 < 2", "Unsupported start tag \"\" at byte offset 2"),
        ("<b", "Unclosed start tag at byte offset 0"),
    ];
    for (text, error) in cases {
        let answer = send(&fake, ann, text, "HTML");
        let error = format!("Bad Request: can't parse entities: {error}");
        assert_eq!(answer["description"], error.as_str(), "{text}");
    }
}

#[test]
fn markdown_v2_becomes_entities_and_unescaped_characters_are_refused() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.private(fake.user("Ann"));
    let text = "*bold _both_* __under__ `a.b` ||hid|| [site](https://example.org/x) 1\\.0\n>quote";
    let sent = &send(&fake, ann, text, "MarkdownV2")["result"];
    assert_eq!(sent["text"], "bold both under a.b hid site 1.0\nquote");
    let kinds: Vec<&str> = sent["entities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entity| entity["type"].as_str().unwrap())
        .collect();
    let expected = [
        "bold",
        "italic",
        "underline",
        "code",
        "spoiler",
        "text_link",
        "blockquote",
    ];
    assert_eq!(kinds, expected);
    let cases = [
        (
            "1.0",
            "Character '.' is reserved and must be escaped with the preceding '\\'",
        ),
        (
            "🏟 🏟_abacaba",
            "Can't find end of Italic entity at byte offset 9",
        ),
        ("🏟 🏟`", "Can't find end of Code entity at byte offset 9"),
        (
            "a-b",
            "Character '-' is reserved and must be escaped with the preceding '\\'",
        ),
    ];
    for (text, error) in cases {
        let answer = send(&fake, ann, text, "MarkdownV2");
        let error = format!("Bad Request: can't parse entities: {error}");
        assert_eq!(answer["description"], error.as_str(), "{text}");
    }
}

#[test]
fn an_edit_must_change_something_and_only_the_bots_own_messages() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.private(fake.user("Ann"));
    let theirs = fake.say(ann, ann, "hello");
    let own = ok(
        &fake,
        "sendMessage",
        &json!({ "chat_id": ann, "text": "one" }),
    );
    let edit = |id: &Value, text: &str| json!({ "chat_id": ann, "message_id": id, "text": text });
    let id = &own["message_id"];
    let same = refused(&fake, "editMessageText", &edit(id, "one"));
    assert_eq!(
        same,
        "Bad Request: message is not modified: specified new message content and reply markup are \
         exactly the same as a current content and reply markup of the message"
    );
    let edited = ok(&fake, "editMessageText", &edit(id, "two @somebody"));
    assert_eq!(edited["text"], "two @somebody");
    let other = refused(&fake, "editMessageText", &edit(&json!(theirs), "x"));
    assert_eq!(other, "Bad Request: message can't be edited");
    let none = refused(&fake, "editMessageText", &edit(&json!(9999), "x"));
    assert_eq!(none, "Bad Request: message to edit not found");
    let sent = fake.sent();
    assert_eq!(sent[0].edits.len(), 1);
    assert!(sent[0].mentions);
}

#[test]
fn an_answer_needs_its_message_unless_it_may_go_without() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.private(fake.user("Ann"));
    let to = fake.say(ann, ann, "hello");
    let body = |to: i64, lenient: bool| {
        let reply = json!({ "message_id": to, "allow_sending_without_reply": lenient });
        json!({ "chat_id": ann, "text": "hi", "reply_parameters": reply })
    };
    let sent = ok(&fake, "sendMessage", &body(to, false));
    assert_eq!(sent["reply_to_message"]["text"], "hello");
    let refusal = refused(&fake, "sendMessage", &body(9999, false));
    assert_eq!(refusal, "Bad Request: message to be replied not found");
    let sent = ok(&fake, "sendMessage", &body(9999, true));
    assert!(sent.get("reply_to_message").is_none());
}

#[test]
fn more_messages_than_the_limit_are_told_when_to_come_again() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.private(fake.user("Ann"));
    fake.limit(RateLimits {
        per_chat_per_second: Some(1),
        ..RateLimits::default()
    });
    assert_eq!(send(&fake, ann, "one", "")["ok"], true);
    let answer = send(&fake, ann, "two", "");
    assert_eq!(answer["error_code"], 429);
    assert!(answer["parameters"]["retry_after"].as_u64().unwrap() >= 1);
}

#[test]
fn a_document_comes_as_multipart_and_its_bytes_can_be_read() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.private(fake.user("Ann"));
    let body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"chat_id\"\r\n\r\n{ann}\r\n--b\r\n\
         Content-Disposition: form-data; name=\"document\"\r\n\r\nattach://f\r\n--b\r\n\
         Content-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\
         Content-Type: text/plain\r\n\r\ncontents\r\n--b--\r\n"
    );
    let kind = "multipart/form-data; boundary=b";
    let (status, answer) = end(begin(&fake, "sendDocument", kind, body.as_bytes())).unwrap();
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["result"]["document"]["file_size"], 8);
    let documents = fake.documents();
    assert_eq!(documents[0].bytes.as_ref(), b"contents");
    assert_eq!(documents[0].file_name, "a.txt");
}

#[test]
fn a_form_is_read_like_json() {
    let fake = FakeTelegram::start().unwrap();
    let ann = fake.private(fake.user("Ann"));
    let body = format!("chat_id={ann}&text=a+%26+%F0%9F%98%80&disable_notification=true");
    let kind = "application/x-www-form-urlencoded";
    end(begin(&fake, "SENDMESSAGE", kind, body.as_bytes())).unwrap();
    let sent = fake.sent();
    assert_eq!(sent[0].text, "a & 😀");
    assert!(sent[0].disable_notification);
}

#[test]
fn commands_are_kept_by_scope_and_checked() {
    let fake = FakeTelegram::start().unwrap();
    let command = |name: &str| json!([{ "command": name, "description": "Shows help" }]);
    ok(
        &fake,
        "setMyCommands",
        &json!({ "commands": command("help") }),
    );
    assert_eq!(ok(&fake, "getMyCommands", &json!({})), command("help"));
    let group = json!({ "scope": { "type": "all_group_chats" } });
    assert_eq!(ok(&fake, "getMyCommands", &group), json!([]));
    let wrong = refused(
        &fake,
        "setMyCommands",
        &json!({ "commands": command("Help me") }),
    );
    assert_eq!(wrong, "Bad Request: BOT_COMMAND_INVALID");
}
