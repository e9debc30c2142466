//! What the file of keys promises by itself.

use super::*;

const SESSION: u128 = 7;
const ANN: Option<u128> = Some(1);
const BOB: Option<u128> = Some(2);

fn open(path: &Path, master: &MasterKey) -> Keyring {
    Keyring::open(path, master).unwrap()
}

/// Something sealed for each of so many owners.
fn sealed_by(keyring: &Keyring, owners: u128) -> Vec<Sealed> {
    let seal = |n| keyring.seal((n, None), b"x", b"text").unwrap();
    (0..owners).map(seal).collect()
}

const fn all_of(author: Option<u128>) -> Doomed {
    Doomed {
        session: SESSION,
        author,
        below: u64::MAX,
    }
}

#[test]
fn what_was_sealed_opens_after_a_restart_with_the_same_master_key_and_place_only() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys"), MasterKey::generate());
    let keyring = open(&path, &master);
    assert!(!keyring.existed());
    let sealed = keyring.seal((SESSION, ANN), b"here", b"text").unwrap();
    keyring.sync().unwrap();
    drop(keyring);
    let keyring = open(&path, &master);
    assert!(keyring.existed());
    let opened = keyring.unseal(b"here", &sealed).unwrap();
    assert_eq!(opened.unwrap(), b"text");
    keyring.unseal(b"there", &sealed).unwrap_err();
    let other = Keyring::open(&path, &MasterKey::generate()).unwrap_err();
    assert!(matches!(other, Error::Config(_)), "{other}");
}

#[test]
fn every_flipped_bit_of_what_was_sealed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = open(&dir.path().join("keys"), &MasterKey::generate());
    let sealed = keyring.seal((SESSION, None), b"here", b"text").unwrap();
    for bit in 0..sealed.bytes.len() * 8 {
        let mut bytes = sealed.bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let bad = Sealed {
            bytes: bytes.into(),
            ..sealed
        };
        keyring.unseal(b"here", &bad).unwrap_err();
    }
    let unknown = Sealed { key: 99, ..sealed };
    keyring.unseal(b"here", &unknown).unwrap_err();
}

#[test]
fn a_destroyed_key_opens_nothing_any_more_and_its_number_is_never_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys"), MasterKey::generate());
    let keyring = open(&path, &master);
    let seal = |keyring: &Keyring, author| keyring.seal((SESSION, author), b"x", b"text").unwrap();
    let (of_ann, of_bob) = (seal(&keyring, ANN), seal(&keyring, BOB));
    keyring.destroy(&[all_of(ANN)], 1).unwrap();
    let again = seal(&keyring, ANN);
    assert!(again.key > of_bob.key);
    drop(keyring);
    for keyring in [open(&path, &master), open(&path, &master)] {
        assert_eq!(keyring.forgets(), 1);
        assert!(keyring.unseal(b"x", &of_ann).unwrap().is_none());
        assert!(keyring.is_destroyed(&of_ann) && !keyring.is_destroyed(&of_bob));
        assert!(keyring.unseal(b"x", &of_bob).unwrap().is_some());
        assert!(keyring.unseal(b"x", &again).unwrap().is_some());
    }
    let keyring = open(&path, &master);
    keyring.destroy(&[all_of(None)], 2).unwrap();
    assert!(keyring.is_empty());
    let file = std::fs::read(&path).unwrap();
    assert!(file.len() < 64, "destroyed keys are not in the file");
}

#[test]
fn a_rotation_leaves_what_was_sealed_readable_with_the_new_master_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let (old, new) = (MasterKey::generate(), MasterKey::generate());
    let keyring = open(&path, &old);
    let before = keyring.seal((SESSION, ANN), b"x", b"before").unwrap();
    keyring.rotate(&new).unwrap();
    let after = keyring.seal((SESSION, BOB), b"x", b"after").unwrap();
    drop(keyring);
    Keyring::open(&path, &old).unwrap_err();
    let keyring = open(&path, &new);
    assert_eq!(keyring.unseal(b"x", &before).unwrap().unwrap(), b"before");
    assert_eq!(keyring.unseal(b"x", &after).unwrap().unwrap(), b"after");
}

#[test]
fn a_torn_end_is_cut_off_and_damage_before_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys"), MasterKey::generate());
    let keyring = open(&path, &master);
    let sealed = sealed_by(&keyring, 3);
    drop(keyring);
    let whole = std::fs::read(&path).unwrap();
    for cut in 1..60 {
        std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        let keyring = open(&path, &master);
        assert!(keyring.unseal(b"x", &sealed[1]).unwrap().is_some());
        let left = std::fs::read(&path).unwrap();
        assert_eq!(left.len(), whole.len() - cut, "who only reads cuts nothing");
        keyring.seal((9, None), b"x", b"text").unwrap();
        drop(keyring);
        assert_eq!(open(&path, &master).len(), 3);
    }
    for at in [0, 5, 20, 40, 60, 160] {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let refused = Keyring::open(&path, &master).unwrap_err();
        assert!(matches!(refused, Error::Config(_)), "byte {at}: {refused}");
        assert_eq!(std::fs::read(&path).unwrap(), bad, "it is left as it was");
    }
}

#[test]
fn a_file_written_anew_that_lost_keys_is_refused_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys"), MasterKey::generate());
    let keyring = open(&path, &master);
    let sealed = sealed_by(&keyring, 3);
    keyring.rotate(&master).unwrap();
    drop(keyring);
    let whole = std::fs::read(&path).unwrap();
    for cut in (1..300).step_by(13) {
        let bad = &whole[..whole.len() - cut];
        std::fs::write(&path, bad).unwrap();
        let refused = Keyring::open(&path, &master).unwrap_err().to_string();
        assert!(refused.contains("put the newest copy"), "{cut}: {refused}");
        assert_eq!(std::fs::read(&path).unwrap(), bad);
    }
    for at in whole.len() - 117..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        Keyring::open(&path, &master).unwrap_err();
    }
    std::fs::write(&path, &whole).unwrap();
    let keyring = open(&path, &master);
    assert!(
        sealed
            .iter()
            .all(|s| keyring.unseal(b"x", s).unwrap().is_some())
    );
}

#[test]
fn a_file_without_a_count_of_its_keys_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys"), MasterKey::generate());
    let keyring = open(&path, &master);
    let sealed = keyring.seal((1, None), b"x", b"text").unwrap();
    drop(keyring);
    let whole = std::fs::read(&path).unwrap();
    let mut old = b"SBK1".to_vec();
    old.extend_from_slice(&whole[4..28]);
    old.extend_from_slice(&crc32fast::hash(&old).to_be_bytes());
    old.extend_from_slice(&whole[40..]);
    std::fs::write(&path, &old).unwrap();
    let keyring = open(&path, &master);
    assert!(keyring.unseal(b"x", &sealed).unwrap().is_some());
    keyring.rotate(&master).unwrap();
    drop(keyring);
    assert!(std::fs::read(&path).unwrap().starts_with(b"SBK2"));
    let keyring = open(&path, &master);
    assert!(keyring.unseal(b"x", &sealed).unwrap().is_some());
}

#[test]
fn a_torn_end_of_several_keys_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys"), MasterKey::generate());
    let keyring = open(&path, &master);
    let sealed = sealed_by(&keyring, 4);
    drop(keyring);
    let mut torn = std::fs::read(&path).unwrap();
    let (whole, record) = (torn.len(), (torn.len() - 40) / 4);
    torn[whole - 2 * record..].fill(0);
    std::fs::write(&path, &torn).unwrap();
    let keyring = open(&path, &master);
    assert_eq!(keyring.len(), 2);
    assert!(keyring.unseal(b"x", &sealed[1]).unwrap().is_some());
    assert!(keyring.unseal(b"x", &sealed[2]).unwrap().is_none());
}

#[test]
fn a_number_whose_key_a_power_cut_took_reads_as_gone_and_is_never_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys"), MasterKey::generate());
    let mut lost = Vec::new();
    for round in 0..3 {
        let keyring = open(&path, &master);
        let kept = keyring.seal((round * 10_000, None), b"x", b"text").unwrap();
        keyring.sync().unwrap();
        let durable = std::fs::read(&path).unwrap();
        for owner in 1..u128::from(BLOCK) / 3 {
            let owner = round * 10_000 + owner;
            lost.push(keyring.seal((owner, None), b"x", b"text").unwrap());
        }
        let told = keyring.durable();
        assert!((kept.key + 1..=lost.last().unwrap().key).contains(&told));
        drop(keyring);
        std::fs::write(&path, &durable).unwrap();
        let keyring = open(&path, &master);
        assert_eq!(keyring.durable(), told, "it knows of all that was durable");
        assert!(keyring.unseal(b"x", &kept).unwrap().is_some());
        let again = keyring
            .seal((round * 10_000 + 1, None), b"x", b"text")
            .unwrap();
        assert!(lost.iter().all(|lost| lost.key < again.key));
        for lost in &lost {
            assert!(keyring.unseal(b"x", lost).unwrap().is_none());
        }
    }
}

#[test]
fn numbers_go_on_beyond_what_is_reserved_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys"), MasterKey::generate());
    let keyring = open(&path, &master);
    let many = u128::from(BLOCK) * 5 / 2;
    let sealed: Vec<_> = (0..many)
        .map(|n| keyring.seal((n, None), b"x", b"text").unwrap())
        .collect();
    assert!(keyring.durable() > BLOCK, "they are reserved durably");
    drop(keyring);
    let keyring = open(&path, &master);
    assert_eq!(keyring.len(), sealed.len());
    assert!(
        sealed
            .iter()
            .all(|s| keyring.unseal(b"x", s).unwrap().is_some())
    );
}

#[test]
fn a_late_destruction_takes_nothing_that_was_sealed_after_the_forget() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys"), MasterKey::generate());
    let keyring = open(&path, &master);
    let seal = |keyring: &Keyring, author| keyring.seal((SESSION, author), b"x", b"text").unwrap();
    let (of_ann, of_bob) = (seal(&keyring, ANN), seal(&keyring, BOB));
    let below = keyring.retire(SESSION, ANN);
    assert!(keyring.is_destroyed(&of_ann) && !keyring.is_destroyed(&of_bob));
    assert!(keyring.unseal(b"x", &of_ann).unwrap().is_some());
    let since = seal(&keyring, ANN);
    assert!(since.key >= below && seal(&keyring, BOB).key == of_bob.key);
    drop(keyring);
    // Of two keys of one owner the newer one seals, also after a restart.
    let keyring = open(&path, &master);
    assert_eq!(seal(&keyring, ANN).key, since.key);
    let doomed = Doomed {
        below,
        ..all_of(ANN)
    };
    keyring.destroy(&[doomed], 1).unwrap();
    assert!(keyring.unseal(b"x", &of_ann).unwrap().is_none());
    assert!(keyring.unseal(b"x", &since).unwrap().is_some());
    assert_eq!(seal(&keyring, ANN).key, since.key);
}
