//! The console: a bot that remembers, across processes (P1, P2, P12).

use harness::{Finished, Run, data_dir, eventually, read_export, scrollback, serving};
use std::path::Path;

/// Runs a console on these lines; expects an orderly end.
fn console(data: &Path, lines: &str) -> anyhow::Result<Finished> {
    Run::to_end(scrollback(data, ["console"])?, lines.as_bytes())?.expect(0)
}

#[test]
fn a_cat_told_of_is_remembered_at_once_and_in_a_second_process() -> anyhow::Result<()> {
    let data = data_dir()?;
    let first = console(
        data.path(),
        "my cat is called Mog\nwhat is my cat called?\n",
    )?;
    assert!(first.stdout.contains("Mog"), "{first:?}");
    let second = console(data.path(), "what is my cat called?\n")?;
    assert!(second.stdout.contains("Mog"), "{second:?}");
    Ok(())
}

#[test]
fn without_a_subcommand_it_is_the_console() -> anyhow::Result<()> {
    let data = data_dir()?;
    let none: [&str; 0] = [];
    let run = Run::to_end(
        scrollback(data.path(), none)?,
        b"my dog is called Rex\nwhat is my dog called?\n",
    )?
    .expect(0)?;
    assert!(run.stdout.contains("Rex"), "{run:?}");
    Ok(())
}

const FACTS: [(&str, &str, &str); 20] = [
    (
        "my sister lives in Lisbon",
        "where does my sister live?",
        "Lisbon",
    ),
    (
        "the printer on the third floor is a Brother",
        "which printer is on the third floor?",
        "Brother",
    ),
    (
        "our wedding anniversary is the ninth of June",
        "when is our wedding anniversary?",
        "June",
    ),
    (
        "the wifi password at the cabin is marmalade",
        "what is the wifi password at the cabin?",
        "marmalade",
    ),
    (
        "grandfather kept bees in Slovenia",
        "what did grandfather keep?",
        "bees",
    ),
    (
        "my favourite colour is turquoise",
        "what is my favourite colour?",
        "turquoise",
    ),
    (
        "the dentist is called Abernathy",
        "who is the dentist?",
        "Abernathy",
    ),
    (
        "Tom borrowed the ladder in spring",
        "who borrowed the ladder?",
        "Tom",
    ),
    (
        "the spare key hangs behind the boiler",
        "where does the spare key hang?",
        "boiler",
    ),
    (
        "our car needs unleaded petrol",
        "what petrol does our car need?",
        "unleaded",
    ),
    (
        "the plumber charges eighty pounds",
        "what does the plumber charge?",
        "eighty",
    ),
    (
        "my passport expires in 2031",
        "when does my passport expire?",
        "2031",
    ),
    (
        "Nadia is allergic to peanuts",
        "what is Nadia allergic to?",
        "peanuts",
    ),
    (
        "the train to Vienna leaves from platform seven",
        "which platform does the Vienna train leave from?",
        "seven",
    ),
    (
        "the recipe uses smoked paprika",
        "what does the recipe use?",
        "paprika",
    ),
    (
        "my guitar is tuned to open D",
        "how is my guitar tuned?",
        "open D",
    ),
    (
        "the library book is due on Thursday",
        "when is the library book due?",
        "Thursday",
    ),
    (
        "the server room code is 4471",
        "what is the server room code?",
        "4471",
    ),
    (
        "Henrik collects Soviet stamps",
        "what does Henrik collect?",
        "stamps",
    ),
    (
        "the tortoise hibernates in the shed",
        "where does the tortoise hibernate?",
        "shed",
    ),
];

#[test]
fn of_twenty_facts_only_the_one_asked_for_is_told() -> anyhow::Result<()> {
    let data = data_dir()?;
    let told: String = FACTS
        .iter()
        .map(|(fact, _, _)| format!("{fact}\n"))
        .collect();
    console(data.path(), &told)?;
    for (at, (_, question, answer)) in FACTS.iter().enumerate() {
        let reply = console(data.path(), &format!("{question}\n"))?.stdout;
        assert!(reply.contains(answer), "{question} {reply}");
        for (_, other, wrong) in FACTS
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != at)
            .map(|(_, fact)| fact)
        {
            assert!(
                !reply.contains(wrong),
                "{question} told also {wrong} ({other}): {reply}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_console_killed_after_its_reply_has_kept_what_was_said() -> anyhow::Result<()> {
    let data = data_dir()?;
    let mut run = Run::start(scrollback(data.path(), ["console", "--flush-every", "1h"])?)?;
    serving(data.path())?;
    run.write(b"my boat is called Argo\n")?;
    eventually("the message is appended", || {
        let appended = harness::counter(data.path(), "appended")?;
        Ok(appended.filter(|appended| *appended >= 1))
    })?;
    run.kill_9()?;
    let after = console(data.path(), "what is my boat called?\n")?;
    assert!(after.stdout.contains("Argo"), "{after:?}");
    Ok(())
}

#[test]
fn sigterm_ends_it_in_order_with_all_durable() -> anyhow::Result<()> {
    let data = data_dir()?;
    let mut run = Run::start(scrollback(data.path(), ["console", "--flush-every", "1h"])?)?;
    serving(data.path())?;
    run.write(b"my goat is called Bo\n")?;
    eventually("the message is appended", || {
        Ok(harness::counter(data.path(), "appended")?.filter(|appended| *appended >= 1))
    })?;
    run.signal("TERM")?;
    let ended = run.ended()?.expect(0)?;
    assert_eq!(ended.stderr, "");
    assert!(!data.path().join("control.sock").exists());
    let export = Run::to_end(scrollback(data.path(), ["export", "--all"])?, b"")?.expect(0)?;
    let texts: Vec<String> = read_export(&export.stdout)?
        .into_iter()
        .map(|row| row.text)
        .collect();
    assert_eq!(
        texts.first().map(String::as_str),
        Some("my goat is called Bo")
    );
    Ok(())
}

#[test]
fn a_line_that_is_too_large_is_refused_and_the_next_one_is_answered() -> anyhow::Result<()> {
    let data = data_dir()?;
    let lines = format!(
        "my cat is called Mog\n{}\nwhat is my cat called?\n",
        "x".repeat(70_000)
    );
    let run = Run::to_end(scrollback(data.path(), ["console"])?, lines.as_bytes())?.expect(1)?;
    assert!(run.stdout.contains("Mog"), "{}", run.stdout);
    assert!(
        run.stderr.contains("too large") && run.stderr.contains("65536"),
        "{}",
        run.stderr
    );
    Ok(())
}
