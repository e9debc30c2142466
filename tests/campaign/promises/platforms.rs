//! P9: redelivery changes nothing, and nothing is confirmed to a platform before it is journaled: the binary against servers
//! that speak the platforms' APIs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use harness::{FakeDiscord, FakeTelegram, Run, counter, eventually, scrollback, serving};

use crate::child::bot_reader::{BotRead, BotReaderSpec};
use crate::child::cache::CacheSpec;
use crate::process::{Process, pause};
use crate::trial::{Outcome, Round, Trial};

mod crowd;

use crowd::{Crowd, Discords, Telegrams};

pub(super) const TRIALS: &[Trial] = &[
    Trial {
        promise: "P9",
        fault: "Telegram: 10,000 updates a round, 10 % twice, cuts, 5 kill -9",
        ci: 2,
        full: 40,
        least: 1_000,
        alone: false,
        run: telegram,
    },
    Trial {
        promise: "P9",
        fault: "Discord: 10,000 events a round, 10 % twice, reordered, cuts, 5 kill -9",
        ci: 2,
        full: 40,
        least: 1_000,
        alone: false,
        run: discord,
    },
];

/// Messages of a round, the channels over which they are spread, and the private chats in which they are questions.
const MESSAGES: usize = 10_000;
const CHANNELS: usize = 100;
const PRIVATE: usize = 10;
/// Every this-many-th message is a question.
const QUESTION_EVERY: usize = 300;
/// Kills of a round: 40 rounds make the campaign's 200.
const KILLS: usize = 5;
/// Said between two of a round's kills.
const PART: usize = MESSAGES / KILLS;
/// How far a message may stand from its place where a platform's events overtake each other.
const OVERTAKEN: usize = 3;

fn telegram(round: &Round) -> anyhow::Result<Outcome> {
    let fake = FakeTelegram::start()?;
    let crowd = Telegrams::new(&fake, round.seed);
    crowded(round, &crowd)
}

fn discord(round: &Round) -> anyhow::Result<Outcome> {
    let fake = FakeDiscord::start()?;
    let crowd = Discords::new(&fake, round.seed);
    crowded(round, &crowd)
}

/// What was said: by channel, ids and texts in order.
type Said = BTreeMap<String, Vec<(String, String)>>;

/// Says everything, with cuts and kills in the middle, until all is kept.
fn crowded(round: &Round, crowd: &dyn Crowd) -> anyhow::Result<Outcome> {
    let (mut rng, data) = (round.rng(), round.data());
    let mut outcome = Outcome::default();
    let mut run = started(crowd, &data)?;
    crowd.arrived()?;
    let mut said = greeted(crowd, &data)?;
    // What the last life left, and how many messages that was.
    let mut left = BotRead::default();
    for part in 0..KILLS {
        let (cut, kill) = (rng.usize(..PART), rng.usize(PART / 10..PART));
        for at in 0..PART {
            if at == cut {
                crowd.cut();
            }
            if at == kill {
                in_the_middle(&data)?;
                pause(Duration::from_millis(rng.u64(..30)));
                run.kill_9()?;
                let began = Instant::now();
                left = read(&data, false)?;
                outcome.figures.push(("read ms", millis(began.elapsed())));
                outcome.violations.extend(crowd.confirmed_and_lost(&left));
                let began = Instant::now();
                run = started(crowd, &data)?;
                outcome.figures.push(("start ms", millis(began.elapsed())));
            }
            say(crowd, &mut rng, part * PART + at, &mut said);
        }
    }
    let began = Instant::now();
    let all = taken_in(&data, &left);
    outcome
        .figures
        .push(("last life ms", millis(began.elapsed())));
    run.signal("TERM")?;
    run.ended()?.expect(0)?;
    let kept = read(&data, true)?;
    outcome.violations.extend(kept.violations.iter().cloned());
    outcome
        .violations
        .extend(compared(&said, &kept, crowd.reorders()));
    outcome.violations.extend(crowd.confirmed_and_lost(&kept));
    outcome.violations.extend(crowd.answered_twice(&said));
    // When not all came, what is missing tells more than that.
    if outcome.violations.is_empty() {
        all?;
    }
    outcome.acked = said.values().map(|all| all.len() as u64).sum();
    Ok(outcome)
}

/// Says something in each private chat while the bot is there: Discord tells no bot of chats that it never saw.
fn greeted(crowd: &dyn Crowd, data: &Path) -> anyhow::Result<Said> {
    let mut said = Said::new();
    for channel in CHANNELS..CHANNELS + PRIVATE {
        let text = format!("message from {channel}");
        let (channel, id) = crowd.say(channel, &text);
        said.entry(channel).or_default().push((id, text));
    }
    eventually("all greetings are answered", || {
        let answered = said.keys().all(|channel| crowd.answers(channel) > 0);
        Ok(answered.then_some(()))
    })?;
    // What was taken in is stored in the cursors soon.
    eventually("the bot rests", || {
        Ok(counter(data, "waiting")?.filter(|n| *n == 0))
    })?;
    Ok(said)
}

fn say(crowd: &dyn Crowd, rng: &mut fastrand::Rng, n: usize, said: &mut Said) {
    // Bursts in one channel and turns between channels alike.
    let channel = if n.is_multiple_of(QUESTION_EVERY) {
        CHANNELS + rng.usize(..PRIVATE)
    } else {
        (n / 3 + n * n / 7) % CHANNELS
    };
    let text = format!("message {n}");
    let (channel, id) = crowd.say(channel, &text);
    said.entry(channel).or_default().push((id, text));
}

fn started(crowd: &dyn Crowd, data: &Path) -> anyhow::Result<Run> {
    let run = Run::start(crowd.command(data)?)?;
    serving(data)?;
    Ok(run)
}

/// Waits until some is taken in and some is under way; or all was taken in before one could look.
fn in_the_middle(data: &Path) -> anyhow::Result<()> {
    let before = counter(data, "appended")?.unwrap_or_default();
    let at_most = Instant::now() + Duration::from_secs(1);
    eventually("the bot goes on", || {
        let now = counter(data, "appended")?;
        Ok(now.filter(|n| *n > before || Instant::now() > at_most))
    })?;
    Ok(())
}

/// Waits until the running bot has taken in everything.
fn taken_in(data: &Path, left: &BotRead) -> anyhow::Result<()> {
    let before: usize = left.kept.values().map(Vec::len).sum();
    eventually("everything is appended", || {
        let now = counter(data, "appended")?.unwrap_or_default();
        Ok((before as u64 + now >= (MESSAGES + PRIVATE) as u64).then_some(()))
    })?;
    // Its answers were counted with it.
    eventually("everything is kept", || {
        let all = Run::to_end(scrollback(data, ["export", "--all"])?, b"")?.expect(0)?;
        let kept = all
            .stdout
            .lines()
            .filter(|l| l.contains("\"text\":\"message "));
        Ok((kept.count() >= MESSAGES + PRIVATE).then_some(()))
    })
}

/// What a fresh process finds.
fn read(data: &Path, verify: bool) -> anyhow::Result<BotRead> {
    let cache = CacheSpec::new(data);
    Process::start("bot-reader", &BotReaderSpec { cache, verify })?.line()
}

/// What was lost, doubled, invented or is out of order.
fn compared(said: &Said, read: &BotRead, reorders: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for channel in read.kept.keys().filter(|c| !said.contains_key(*c)) {
        wrong.push(format!("channel {channel} is none"));
    }
    let nothing = Vec::new();
    for (channel, said) in said {
        let kept = read.kept.get(channel).unwrap_or(&nothing);
        if kept == said {
            continue;
        }
        let mut places: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, message) in kept.iter().enumerate() {
            places.entry(message).or_default().push(at);
        }
        for (at, message) in said.iter().enumerate() {
            let (id, text) = message;
            match places.remove(message).as_deref() {
                None => wrong.push(format!("channel {channel}: {id} {text} is lost")),
                Some([place]) if *place == at => {}
                Some([place]) if reorders && place.abs_diff(at) <= OVERTAKEN => {}
                Some(places) => wrong.push(format!(
                    "channel {channel}: {id} {text}, said as number {at}, stands at {places:?}"
                )),
            }
        }
        for (id, text) in places.keys() {
            wrong.push(format!("channel {channel}: {id} {text} was never said"));
        }
    }
    wrong
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
