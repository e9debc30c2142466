//! Shows a reply while it comes into being: edits at a bounded pace, then the final text.
//!
//! Invariants: between two rounds of calls at least the pace passes (the final one excepted); what is
//! shown at the end is exactly the text that is returned; the text, the silence between two pieces and
//! the whole time are bounded.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep_until};

use crate::deliver::{Sent, once, parts, persist};
use crate::outbox::{Audience, Outbox, Part, SendError};
use crate::responder::{Pieces, RespondError};

/// What is put where a reply was cut off.
const CUT_OFF: &str = " […]";

/// The bounds of a streamed reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time between two edits (default 1 s: what Telegram and Discord allow one chat).
    pub every: Duration,
    /// The longest silence between two pieces (default 60 s).
    pub silence: Duration,
    /// The longest time in all (default 10 minutes).
    pub whole: Duration,
    /// The longest reply in bytes; the rest is cut off (default 32 KiB: half of what the cache takes).
    pub max_bytes: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(1),
            silence: Duration::from_secs(60),
            whole: Duration::from_secs(600),
            max_bytes: 32 << 10,
        }
    }
}

/// A reply that was shown.
#[derive(Debug, Default)]
pub struct Shown {
    /// The messages as they say it at the end, in order.
    pub sent: Vec<Sent>,
    /// Why the reply ended early, when it did.
    pub broken: Option<RespondError>,
    /// Why the rest of the final text is not shown.
    pub failed: Option<SendError>,
}

/// Shows a stream of pieces to everyone and returns what was shown.
pub async fn show(pieces: Pieces, outbox: &dyn Outbox, pace: Pace) -> Shown {
    let mut screen = Screen::new(outbox);
    let (text, broken) = read(pieces, &mut screen, pace).await;
    let failed = screen.finish(&text).await.err();
    Shown {
        sent: screen.shown,
        broken,
        failed,
    }
}

/// Reads the pieces to their end, showing the growing text.
async fn read(
    mut pieces: Pieces,
    screen: &mut Screen<'_>,
    pace: Pace,
) -> (String, Option<RespondError>) {
    let start = Instant::now();
    let every = pace.every.max(screen.outbox.pace());
    let (mut text, mut due, mut heard) = (String::new(), start, start);
    let broken = loop {
        let patience = (heard + pace.silence).min(start + pace.whole);
        tokio::select! {
            // The edit first: a stream that is always ready must not starve it.
            biased;
            () = sleep_until(due), if screen.wants(&text) => {
                let told = screen.update(&text).await;
                due = Instant::now() + every.max(told.unwrap_or_default());
                // Time spent on the platform is not the responder's silence.
                heard = Instant::now();
            }
            piece = pieces.next() => match piece {
                Some(Ok(piece)) => {
                    text.push_str(&piece);
                    heard = Instant::now();
                    if text.len() > pace.max_bytes {
                        text.truncate(text.floor_char_boundary(pace.max_bytes));
                        text.push_str(CUT_OFF);
                        break None;
                    }
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            },
            () = sleep_until(patience) => break Some(RespondError::Later { after: None }),
        }
    };
    if broken.is_some() && !text.trim().is_empty() {
        text.push_str(CUT_OFF);
    }
    (text, broken)
}

/// What stands on the platform now.
struct Screen<'a> {
    outbox: &'a dyn Outbox,
    shown: Vec<Sent>,
    /// The text of the last round.
    last: String,
}

impl<'a> Screen<'a> {
    fn new(outbox: &'a dyn Outbox) -> Self {
        Self {
            outbox,
            shown: Vec::new(),
            last: String::new(),
        }
    }

    /// True when showing the text now would change something.
    fn wants(&self, text: &str) -> bool {
        self.outbox.edits() && !text.trim().is_empty() && text != self.last
    }

    /// Shows a growing text as far as the platform takes it now; the next round makes up for the rest.
    /// Returns how long the platform wants to be left alone, if it told.
    async fn update(&mut self, text: &str) -> Option<Duration> {
        text.clone_into(&mut self.last);
        for (n, part) in parts(text, self.outbox).into_iter().enumerate() {
            if let Err(error) = self.put(n, part, false).await {
                tracing::debug!(%error, "a part of a growing reply was not shown");
                return match error {
                    SendError::Later { after } => after,
                    _ => None,
                };
            }
        }
        None
    }

    /// Shows the final text.
    async fn finish(&mut self, text: &str) -> Result<(), SendError> {
        let parts = parts(text, self.outbox);
        let count = parts.len();
        for (n, part) in parts.into_iter().enumerate() {
            self.put(n, part, true).await?;
        }
        // A later fence can pull a cut forward, so that fewer messages are needed than before.
        for n in count..self.shown.len() {
            self.put(n, "…".into(), true).await?;
        }
        self.shown.truncate(count);
        Ok(())
    }

    /// Makes the `n`th message say `part`.
    async fn put(&mut self, n: usize, part: String, last: bool) -> Result<(), SendError> {
        let outbox = self.outbox;
        let send = || {
            outbox.send(Part {
                text: &part,
                audience: Audience::Everyone,
                nth: u32::try_from(n).unwrap_or(u32::MAX),
            })
        };
        match self.shown.get_mut(n) {
            Some(shown) if shown.text == part => {}
            Some(Sent { text, id: Some(id) }) => {
                let edit = || outbox.edit(id, &part);
                if last {
                    persist(edit).await?
                } else {
                    once(edit()).await?
                }
                *text = part;
            }
            // Without an id it cannot be edited; a new message is better than a lost end.
            Some(Sent { text, id }) => {
                *id = persist(send).await?;
                *text = part;
            }
            None => {
                let id = if last {
                    persist(send).await?
                } else {
                    once(send()).await?
                };
                self.shown.push(Sent { text: part, id });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;
    use crate::fake::FakeOutbox;

    fn text(shown: &Shown) -> String {
        shown.sent.iter().map(|s| s.text.as_str()).collect()
    }

    /// `n` pieces, one every `gap`.
    fn every(gap: Duration, n: usize, piece: &'static str) -> Pieces {
        stream::unfold(0, move |i| async move {
            tokio::time::sleep(gap).await;
            (i < n).then(|| (Ok(piece.to_owned()), i + 1))
        })
        .boxed()
    }

    #[tokio::test(start_paused = true)]
    async fn edits_keep_the_pace_and_the_last_one_is_whole() {
        let outbox = FakeOutbox::new(2000);
        let pieces = every(Duration::from_millis(100), 55, "word ");
        let shown = show(pieces, &outbox, Pace::default()).await;
        assert_eq!(text(&shown), "word ".repeat(55));
        assert_eq!(outbox.texts(), [text(&shown)]);
        assert_eq!(shown.sent[0].id.as_deref(), Some("1"));
        let times = outbox.times();
        assert_eq!(times.len(), 7, "one send, five edits, the last one");
        let gaps: Vec<_> = times.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(
            gaps[..5].iter().all(|g| *g >= Duration::from_secs(1)),
            "{gaps:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_always_ready_is_shown_whole() {
        let outbox = FakeOutbox::new(50);
        let pieces = stream::iter((0..200).map(|n| Ok(format!("{n} ")))).boxed();
        let shown = show(pieces, &outbox, Pace::default()).await;
        assert_eq!(outbox.texts().concat(), text(&shown));
        assert!(shown.broken.is_none() && outbox.texts().len() > 10);
    }

    #[tokio::test(start_paused = true)]
    async fn without_edits_the_reply_comes_once() {
        let outbox = FakeOutbox::new(2000).without_edits();
        show(
            every(Duration::from_secs(2), 5, "a "),
            &outbox,
            Pace::default(),
        )
        .await;
        assert_eq!(outbox.log().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_edit_is_made_up_for() {
        let outbox = FakeOutbox::new(20);
        outbox.later(2);
        let shown = show(
            every(Duration::from_millis(700), 9, "abcdef "),
            &outbox,
            Pace::default(),
        );
        assert_eq!(text(&shown.await), outbox.texts().concat());
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_or_silent_stream_keeps_what_came() {
        let broken = stream::iter([Ok("half".into()), Err(RespondError::failed("gone"))]);
        let silent = stream::iter([Ok("half".into())]).chain(stream::pending());
        for pieces in [broken.boxed(), silent.boxed()] {
            let outbox = FakeOutbox::new(2000);
            let shown = show(pieces, &outbox, Pace::default()).await;
            assert_eq!(outbox.texts(), ["half […]"]);
            assert!(shown.broken.is_some() && text(&shown) == "half […]");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_stream_is_cut_off() {
        let outbox = FakeOutbox::new(2000);
        let endless = stream::repeat_with(|| Ok("é".repeat(100))).boxed();
        let shown = show(endless, &outbox, Pace::default()).await;
        assert!(text(&shown).len() <= Pace::default().max_bytes + CUT_OFF.len());
        assert_eq!(outbox.texts().concat(), text(&shown));
        let trickle = every(Duration::from_secs(30), 1000, "x");
        let shown = show(trickle, &FakeOutbox::new(2000), Pace::default()).await;
        assert!(shown.broken.is_some() && text(&shown).len() < 50);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_stream_shows_nothing() {
        let outbox = FakeOutbox::new(2000);
        let pieces = stream::iter([Ok(String::new()), Ok(" \n".into())]).boxed();
        show(pieces, &outbox, Pace::default()).await;
        assert!(outbox.log().is_empty());
    }
}
