//! What the file of keys promises when the disk fails. Points are armed for a whole process, so each test runs in its own.

use std::process::Command;
use std::thread;

use super::super::{Doomed, Keyring, Sealed};
use super::*;

const HERE: &[u8] = b"x";

/// True in the process that runs only this test, which the first call starts.
fn alone(test: &str) -> bool {
    const ALONE: &str = "SCROLLBACK_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let name = format!("keyring::file::tests::{test}");
    let ran = Command::new(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(said.contains("1 passed"), "{said}");
    false
}

struct Keys {
    dir: tempfile::TempDir,
    master: MasterKey,
    keyring: Keyring,
    sealed: Vec<Sealed>,
}

impl Keys {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let master = MasterKey::generate();
        Self {
            keyring: Keyring::open(&dir.path().join("keys"), &master).unwrap(),
            dir,
            master,
            sealed: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    fn seal(&mut self, owner: u128) {
        let sealed = self.keyring.seal((owner, None), HERE, b"text").unwrap();
        self.sealed.push(sealed);
    }

    /// Everything opens with the file that stands there.
    fn holds_all(&self) {
        let keyring = Keyring::open(&self.path(), &self.master).unwrap();
        for sealed in &self.sealed {
            assert!(keyring.unseal(HERE, sealed).unwrap().is_some());
        }
    }

    fn inode(&self) -> u64 {
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(self.path()).unwrap())
    }
}

#[test]
fn a_file_whose_fsync_failed_is_not_fsynced_again_but_written_anew() {
    if !alone("a_file_whose_fsync_failed_is_not_fsynced_again_but_written_anew") {
        return;
    }
    let mut keys = Keys::new();
    keys.seal(1);
    let before = keys.inode();
    fail::cfg("keys.sync", "1*return").unwrap();
    fail::cfg("keys.create", "return").unwrap();
    for _ in 0..3 {
        keys.keyring.sync().unwrap_err();
        assert_eq!(keys.keyring.durable(), 1);
        let refused = keys.keyring.seal((2, None), HERE, b"text").unwrap_err();
        assert!(refused.is_outage(), "{refused}");
    }
    fail::remove("keys.create");
    keys.seal(2);
    keys.keyring.sync().unwrap();
    assert_ne!(keys.inode(), before);
    keys.holds_all();
}

#[test]
fn a_file_that_lost_its_name_gets_no_key_any_more() {
    if !alone("a_file_that_lost_its_name_gets_no_key_any_more") {
        return;
    }
    let mut keys = Keys::new();
    keys.seal(1);
    let none = Doomed {
        session: 99,
        author: None,
        below: 1,
    };
    for (owner, point) in [(2, "keys.rename"), (3, "keys.dir-sync")] {
        fail::cfg(point, "return").unwrap();
        keys.keyring.destroy(&[none], 1).unwrap_err();
        keys.keyring.sync().unwrap_err();
        keys.keyring.seal((owner, None), HERE, b"text").unwrap_err();
        fail::remove(point);
        keys.seal(owner);
        keys.keyring.sync().unwrap();
        keys.holds_all();
    }
}

#[test]
fn a_half_written_key_that_cannot_be_cut_off_ends_its_file() {
    if !alone("a_half_written_key_that_cannot_be_cut_off_ends_its_file") {
        return;
    }
    let mut keys = Keys::new();
    keys.seal(1);
    // Neither written to nor cut.
    keys.keyring.file.lock().file = File::open(keys.path()).unwrap();
    let torn = OpenOptions::new().append(true).open(keys.path());
    torn.unwrap().write_all(&[7; RECORD / 2]).unwrap();
    let refused = keys.keyring.seal((2, None), HERE, b"text").unwrap_err();
    assert!(refused.is_outage(), "{refused}");
    keys.seal(2);
    keys.seal(3);
    keys.keyring.sync().unwrap();
    keys.holds_all();
}

#[test]
fn a_hung_fsync_keeps_nobody_from_sealing_and_a_hung_new_file_only_new_keys() {
    if !alone("a_hung_fsync_keeps_nobody_from_sealing_and_a_hung_new_file_only_new_keys") {
        return;
    }
    let mut keys = Keys::new();
    keys.seal(1);
    let keyring = &keys.keyring;
    let seal = |owner| keyring.seal((owner, None), HERE, b"text");
    thread::scope(|s| {
        fail::cfg("keys.sync", "pause").unwrap();
        let hung = s.spawn(|| keyring.sync());
        while keyring.syncing.try_lock().is_some() {
            thread::yield_now();
        }
        let sealed = [seal(1).unwrap(), seal(2).unwrap()];
        assert!(keyring.unseal(HERE, &sealed[1]).unwrap().is_some());
        assert!(keyring.durable() <= sealed[0].key);
        fail::remove("keys.sync");
        hung.join().unwrap().unwrap();
    });
    thread::scope(|s| {
        fail::cfg("keys.sync", "pause").unwrap();
        let hung = s.spawn(|| keyring.rotate(&MasterKey::generate()));
        while keyring.file.try_lock().is_some() {
            thread::yield_now();
        }
        let sealed = seal(2).unwrap();
        assert!(keyring.unseal(HERE, &sealed).unwrap().is_some());
        assert!(seal(3).unwrap_err().is_outage());
        fail::remove("keys.sync");
        hung.join().unwrap().unwrap();
    });
    seal(3).unwrap();
}
