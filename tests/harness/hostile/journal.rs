//! A journal's segments: any bytes replay, and of damaged ones exactly the sound frames.

use bytes::Bytes;
use scrollback::key::Address;
use scrollback::message::EntryId;
use scrollback::testing::formats::{self, Found};

use super::record::sealed;

/// Replays `data` as it is, and the frames and damages that it tells of.
pub fn journal(data: &[u8]) {
    any_bytes(data);
    told(data);
}

/// An id that no frame in a corpus has.
const FIRST: EntryId = EntryId(0x5ADD_1E00_0000_0000_0000_0000_5ADD_1E00);

fn any_bytes(segment: &[u8]) {
    let Ok((found, damaged)) = formats::replay(segment) else {
        return;
    };
    assert!(damaged <= segment.len());
    let mut ids: Vec<u128> = found.iter().map(|f| f.id.0).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), found.len(), "an entry is there twice");
    // Whatever comes behind it, a sound frame is found, and makes no difference to what comes.
    let frame = formats::append(&Address::from_text("x/1"), FIRST, 1, &sound(b"first"));
    let more = formats::replay(&[&frame, segment].concat());
    let more = more.map(|(found, _)| found).unwrap_or_default();
    let (first, behind) = more.split_first().unzip();
    assert_eq!(first.map(|l| l.id), Some(FIRST));
    assert_eq!(behind, Some(&found[..]));
}

/// A record as far as a journal looks: a sound head.
fn sound(text: &[u8]) -> Bytes {
    sealed(b'E', 42, text).into()
}

/// Up to here a frame and its record tell how long they are.
const LENGTHS: usize = 12 + 29 + 4 + 18;

/// Frames as `data` tells them, three bytes each: what, of which entry, and what happens to it.
fn told(data: &[u8]) {
    let (mut segment, mut expected, mut damaged) = (Vec::new(), Vec::new(), 0);
    let mut open_damage = 0;
    for (n, step) in data.chunks_exact(3).take(200).enumerate() {
        let &[what, id, harm] = step else { return };
        let (id, epoch) = (EntryId(u128::from(id % 16)), n as u64);
        let session = Address::from_text(&format!("x/{}", what / 8));
        let quoted = data.get(n..n + usize::from(harm)).unwrap_or_default();
        let record = sound(quoted);
        let mut frame = match what % 8 {
            0..5 => formats::append(&session, id, epoch, &record),
            5..7 => formats::placed(id, epoch),
            _ => formats::abort(id),
        };
        if harm % 4 == 3 {
            let at = usize::from(harm) % frame.len();
            // What stands in a damaged frame is not read, unless the damage hides how long it is; and not the
            // version in the magic: that is told apart elsewhere.
            let hidden = at < LENGTHS && quoted.windows(4).any(|w| w == b"SBJ1");
            if let Some(byte) = frame.get_mut(at).filter(|_| at != 3 && !hidden) {
                *byte ^= 0x80;
                open_damage += frame.len();
                segment.extend_from_slice(&frame);
                continue;
            }
        }
        damaged += std::mem::take(&mut open_damage);
        segment.extend_from_slice(&frame);
        let session = session.as_str().to_owned();
        expect(
            &mut expected,
            what % 8,
            Found {
                session,
                id,
                epoch,
                record,
            },
        );
    }
    let wanted: Vec<Found> = expected
        .into_iter()
        .filter_map(|(_, found)| found)
        .collect();
    let replayed = formats::replay(&segment).ok();
    assert_eq!(replayed, Some((wanted, damaged)));
}

fn expect(expected: &mut Vec<(EntryId, Option<Found>)>, what: u8, found: Found) {
    let place = expected.iter_mut().find(|(id, _)| *id == found.id);
    match (what, place) {
        (0..5, Some((_, place))) => *place = Some(found),
        (0..5, None) => expected.push((found.id, Some(found))),
        (5..7, Some((_, Some(place)))) => place.epoch = found.epoch,
        (7.., Some((_, place))) => *place = None,
        _ => {}
    }
}
