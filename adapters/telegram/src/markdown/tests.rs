//! Formatting is whole and loses nothing, whatever the text and wherever it is cut off.

use proptest::prelude::*;

use super::*;

fn html(text: &str) -> String {
    render(text).unwrap_or_else(|| format!("plain:{text}"))
}

/// What a reader sees of a text.
fn visible(text: &str) -> String {
    let shown = pieces(text).into_iter().filter(|p| p.style != Style::Mark);
    shown.map(|p| p.text).collect()
}

/// Reads HTML as Telegram does: tags must be known and nest; returns the text between them.
fn parse(html: &str) -> Result<String, String> {
    let (mut text, mut open, mut rest) = (String::new(), Vec::new(), html);
    while let Some((before, tail)) = rest.split_once('<') {
        text.push_str(before);
        let (tag, after) = tail.split_once('>').ok_or("a tag without an end")?;
        match tag.strip_prefix('/') {
            Some(name) if open.pop() == Some(name) => {}
            Some(name) => return Err(format!("</{name}> closes nothing")),
            None => {
                let name = tag.split(' ').next().unwrap_or_default();
                if !["b", "code", "pre"].contains(&name) {
                    return Err(format!("unknown <{tag}>"));
                }
                open.push(name);
            }
        }
        rest = after;
    }
    text.push_str(rest);
    if let Some(tag) = open.last() {
        return Err(format!("<{tag}> stays open"));
    }
    Ok(text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&"))
}

#[test]
fn what_models_write_is_formatted() {
    for (text, shown) in [
        ("a **b** c", "a <b>b</b> c"),
        ("use `a<b>` & go", "use <code>a&lt;b&gt;</code> &amp; go"),
        ("``a`b``", "<code>a`b</code>"),
        ("**see `x` now**", "<b>see </b><code>x</code><b> now</b>"),
        (
            "so:\n```rust\nfn f() {}\n\n```\ndone",
            "so:\n<pre><code class=\"language-rust\">fn f() {}\n</code></pre>\ndone",
        ),
        ("```\n1 < 2\n```", "<pre>1 &lt; 2</pre>"),
        (
            "~~~c++ main.cc\nx\n~~~\n",
            "<pre><code class=\"language-c++\">x</code></pre>\n",
        ),
        (
            "````md\n```\nx\n```\n````",
            "<pre><code class=\"language-md\">```\nx\n```</code></pre>",
        ),
        ("这是**粗体**文字", "这是<b>粗体</b>文字"),
    ] {
        assert_eq!(html(text), shown, "{text}");
    }
}

#[test]
fn what_is_no_formatting_stays_as_typed() {
    for text in [
        "",
        "plain",
        "2 ** 3 ** 4",
        "2**3**4",
        "a * b * c",
        "**open",
        "** x **",
        "` `",
        "a ` b",
        "__init__",
        "# Title\n- item",
        "***x***",
        "```",
        "****",
        "<b>x</b>",
        "a\\*b",
    ] {
        assert_eq!(render(text), None, "{text}");
        let marks = pieces(text).iter().any(|p| p.style == Style::Mark);
        assert!(!marks || text == "```", "{text}");
    }
}

#[test]
fn a_reply_that_is_cut_off_anywhere_is_whole() {
    let text = "Here **you** go:\n\n```py\nprint('`a`')  # <x>\n```\nand `inline` **bold `c`**.\n";
    for (at, _) in text.char_indices() {
        let part = text.get(..at).unwrap();
        if let Some(html) = render(part) {
            assert_eq!(parse(&html).unwrap(), visible(part), "{part}");
        }
    }
    let open = render("x\n```py\nprint(1)").unwrap();
    assert_eq!(
        open,
        "x\n<pre><code class=\"language-py\">print(1)</code></pre>"
    );
}

#[test]
fn more_formatting_than_telegram_shows_is_sent_plain() {
    assert!(render(&"`x` ".repeat(100)).is_some());
    assert!(render(&"`x` ".repeat(101)).is_none());
}

#[test]
fn a_text_made_to_be_searched_through_again_and_again_is_read_in_no_time() {
    let runs: String = (1..120).map(|n| format!("{}x", "`".repeat(n))).collect();
    let text = format!("{}{runs}", "**a".repeat(8_000));
    let start = std::time::Instant::now();
    let joined: String = pieces(&text).into_iter().map(|p| p.text).collect();
    assert_eq!(joined, text);
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn html_is_balanced_and_shows_the_text_without_its_marks(
        text in "([`*~]{1,4}|[a-c<>&\"' ]|\n|é|😀|rust|```rust\n|\n```\n){0,60}",
    ) {
        let joined: String = pieces(&text).into_iter().map(|p| p.text).collect();
        prop_assert_eq!(&joined, &text);
        if let Some(html) = render(&text) {
            prop_assert_eq!(parse(&html).unwrap(), visible(&text));
        }
    }

    #[test]
    fn any_text_is_taken(text in any::<String>()) {
        let joined: String = pieces(&text).into_iter().map(|p| p.text).collect();
        prop_assert_eq!(&joined, &text);
        if !text.contains(['`', '*', '~']) {
            prop_assert_eq!(render(&text), None);
        }
    }
}
